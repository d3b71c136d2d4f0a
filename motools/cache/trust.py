"""Trust: who vouches for an entry (Ed25519).

A signature is a mark ``signature:<generation>:<name>:<signature>`` without a value, so
that none can take the place of another. What is signed names the key, the
generation, the checksum of the result, and the signer; the checksum binds value,
tree, files and reference, and the files bind the bytes.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache.action import key_of
from motools.cache.entry import COLUMNS, Entry, check
from motools.cache.marks import set_mark
from motools.digest import canonical_json
from motools.errors import MissingExtraError, SettingsError, UntrustedError
from motools.settings import Settings, config_directory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from motools.cache.cache import Cache

FORMAT: Final = "motools.signature/1"
SIGNATURE: Final = "signature:"
"""What the names of signatures begin with, among marks."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAMES: Final = COLUMNS.split(", ")
_BESIDES: Final = ("labels", "provenance", "created_at", "duration", "cost")
"""Columns that no checksum has, and that people choose results by."""


@dataclass(frozen=True)
class Signer:
    """A private key, and whose it is."""

    name: str
    _key: Ed25519PrivateKey = field(repr=False)

    def sign(self, row: Sequence[Any]) -> str:
        """The name of the mark that vouches for an entry's row."""
        return f"{SIGNATURE}{row[1]}:{self.name}:{self.signature(_message(row, self.name))}"

    def signature(self, message: bytes) -> str:
        """A signature of some bytes, in base64."""
        return base64.b64encode(self._key.sign(message)).decode()

    @property
    def public(self) -> str:
        """The public key, as ``trusted_keys`` in the settings has it."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()


def check_trusted(row: Sequence[Any], marks: Iterable[str], trusted: Mapping[str, str]) -> str:
    """Who vouches for an entry, of those who are trusted.

    Everything is computed anew from the row; nothing else is asked.

    Args:
        row: the entry's columns, in the order of ``entry.COLUMNS``.
        marks: the names of the marks of its key.
        trusted: name to public key, as in the settings.

    Raises:
        UntrustedError: nobody does; it names the key and who signed.
        CorruptDocumentError: the row is not what was committed.
        SettingsError: a trusted key is none.
    """
    if key_of(row[3]) != row[0]:
        raise UntrustedError(f"{row[0][:12]} is not trusted: its action's digest is not its key")
    check(row)
    signed = sorted(signatures(row[1], marks))
    for name, signature in signed:
        if name in trusted and verified(_message(row, name), name, signature, trusted):
            return name
    raise UntrustedError(_why_not(row, {name for name, _ in signed}, trusted))


def signatures(generation: int, marks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Who signed a generation, as is said, and how.

    Args:
        generation: which.
        marks: the names of the marks of its key.
    """
    prefix = f"{SIGNATURE}{generation}:"
    for mark in marks:
        if mark.startswith(prefix):
            name, _, signature = mark.removeprefix(prefix).partition(":")
            yield name, signature


def signer_of(settings: Settings) -> Signer | None:
    """Who signs what is made here; None: nobody.

    Raises:
        SettingsError: the key file is not there, is none, or others can read it.
        MissingExtraError: the library is not installed.
    """
    return load_signer(Path(settings.signing_key).expanduser()) if settings.signing_key else None


def sign(cache: Cache, entries: Iterable[Entry]) -> str:
    """Vouch for entries with the key in the settings, for all or none.

    Returns:
        As whom.

    Raises:
        SettingsError: there is no key in the settings, or it cannot be used.
        CorruptDocumentError: an entry is not what was committed.
    """
    signer = cache.signer
    if signer is None:
        raise SettingsError(
            "signing_key is not set, so nothing was signed: `motools cache keys new NAME` makes a "
            "key and says what to set"
        )
    with cache.database.write() as transaction:
        for entry in entries:
            check(entry.row)
            set_mark(transaction, entry.key, signer.sign(entry.row), "")
    cache.documents.flush()
    return signer.name


def key_path(name: str) -> Path:
    """Where the private key of a name is, outside of any cache.

    Raises:
        SettingsError: it would be no name in settings and in signatures.
    """
    _check_name(name)
    return config_directory() / "keys" / f"{name}.pem"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name for a key: use letters, digits, and any of .-_")


def load_signer(path: Path) -> Signer:
    """The private key in a file, which is named after whose it is.

    Raises:
        SettingsError: it is not there, is none, or others can read it; or its name would
            be none in signatures, which nobody could check then.
        MissingExtraError: the library is not installed.
    """
    try:
        _check_name(path.stem)
    except SettingsError as problem:
        raise SettingsError(f"signing_key: {path} is named after nobody: {problem}") from problem
    try:
        if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsError(f"signing_key: others may read {path}: run `chmod 600 {path}`")
        data = path.read_bytes()
    except OSError as problem:
        raise SettingsError(
            f"signing_key: cannot read {path}: {problem.strerror}; "
            "`motools cache keys new NAME` makes a key"
        ) from problem
    ed25519, pem = _library()
    try:
        key = pem.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as problem:
        raise SettingsError(f"signing_key: {path} holds no private key: {problem}") from problem
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SettingsError(f"signing_key: {path} holds no Ed25519 key")
    return Signer(path.stem, key)


def make_signer(path: Path) -> Signer:
    """Make a private key, in a new file that only its owner can read.

    Raises:
        SettingsError: the file is there already, or its name would be none in signatures;
            nothing was changed.
        MissingExtraError: the library is not installed.
    """
    _check_name(path.stem)
    ed25519, pem = _library()
    key = ed25519.Ed25519PrivateKey.generate()
    data = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsError(f"{path} is there already: choose another name") from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    return Signer(path.stem, key)


def _message(row: Sequence[Any], signer: str) -> bytes:
    """What is signed, in canonical form."""
    columns = dict(zip(_NAMES, row, strict=True))
    return canonical_json(
        {
            "format": FORMAT,
            "key": columns["key"],
            "generation": columns["generation"],
            "checksum": columns["checksum"],
            "besides": [columns[name] for name in _BESIDES],
            "signer": signer,
        }
    )


def verified(message: bytes, name: str, signature: str, trusted: Mapping[str, str]) -> bool:
    """Whether somebody who is trusted signed some bytes.

    Args:
        message: the bytes.
        name: whose signature it is said to be.
        signature: in base64.
        trusted: name to public key, as in the settings.

    Raises:
        SettingsError: the trusted key is none.
        MissingExtraError: the library is not installed.
    """
    ed25519, _ = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        public = base64.b64decode(trusted[name], validate=True)
        key = ed25519.Ed25519PublicKey.from_public_bytes(public)
    except ValueError as problem:
        raise SettingsError(
            f"trusted_keys.{name}: not an Ed25519 public key in base64: {problem}"
        ) from problem
    try:
        key.verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError):  # or what is no base64, as anybody may write
        return False
    return True


def _library() -> tuple[Any, Any]:
    """The parts of ``cryptography`` that are used, imported when they are."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as problem:
        raise MissingExtraError(
            "signatures need the library cryptography: pip install 'motools[signing]'"
        ) from problem
    return ed25519, serialization


def _why_not(row: Sequence[Any], signed: Collection[str], trusted: Mapping[str, str]) -> str:
    what = f"{row[2]} {row[0][:12]} (generation {row[1]}) is not trusted"
    forged = sorted(trusted.keys() & signed)
    if forged:
        return f"{what}: the signature of {', '.join(forged)} does not fit what it says"
    if signed:
        names = ", ".join(sorted(signed))
        return f"{what}: it is signed by {names}, who is not in trusted_keys of the settings"
    return f"{what}: it is not signed; `motools cache sign` signs entries where they were made"
