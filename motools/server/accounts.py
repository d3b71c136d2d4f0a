"""Who may use a server: names and their tokens.

Tokens are kept as digests, in memory alone.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from motools.errors import SettingsError

VARIABLE: Final = "MOTOOLS_SERVE_TOKENS"
LOCAL: Final = "local"
"""Who calls where no tokens are needed."""

_SHORTEST: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class Accounts:
    """Names by their tokens.

    Args:
        tokens: name to token; empty: everybody is ``local``.

    Raises:
        SettingsError: a name or a token that cannot be used. No token is in the message.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        for number, (name, token) in enumerate(tokens.items(), 1):
            _check(number, name, token)
        self._digests = {name: _digest(token.encode()) for name, token in tokens.items()}
        if len(set(self._digests.values())) < len(self._digests):
            raise SettingsError("two callers have the same token: each needs one of its own")

    def __len__(self) -> int:
        return len(self._digests)

    def who(self, header: str | None) -> str | None:
        """The name of a caller, or None: it is nobody's token.

        Args:
            header: ``Authorization``. Every token is compared, each in constant time.
        """
        if not self._digests:
            return LOCAL
        scheme, _, token = (header or "").partition(" ")
        presented = _digest(token.strip().encode("utf-8", "surrogateescape"))
        found = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, presented):
                found = name
        return found if scheme.lower() == "bearer" else None


def load(path: Path | None, host: str) -> Accounts:
    """The callers that a file or the environment names.

    Args:
        path: a TOML file of lines ``name = "token"``; None: ``MOTOOLS_SERVE_TOKENS``, a TOML
            table in one line. That is removed from this process's environment, which its
            workers inherit.
        host: the address that the server listens at.

    Raises:
        SettingsError: the file is not readable by its owner alone, or there are no tokens
            although the address can be reached from other machines.
    """
    text = os.environ.pop(VARIABLE, None)
    accounts = Accounts(_tokens(path, text))
    if not accounts and (path is not None or text is not None):
        raise SettingsError(
            f'{path or VARIABLE} names no callers: write lines `name = "token"` into it, or leave '
            "it out to let in every program of this machine"
        )
    if not accounts and not is_loopback(host):
        raise SettingsError(
            f"{host} can be reached from other machines, so callers need tokens: write lines "
            f'`name = "token"` into a file, and give it with --tokens, or set {VARIABLE}'
        )
    return accounts


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _tokens(path: Path | None, text: str | None) -> dict[str, str]:
    if path is not None:
        return _parsed(_read(path), str(path))
    if text is not None:
        tokens = _parsed(f"tokens = {text}", VARIABLE)["tokens"]
        if not isinstance(tokens, dict):
            raise SettingsError(f'{VARIABLE} is no table: write {{name = "token"}}')
        return tokens
    return {}


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SettingsError(f"{path} can be read by others: chmod 600 {path}")
            return file.read()
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path}: {getattr(problem, 'strerror', 'not UTF-8')}") from None


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # What the parser says quotes the text, and with it a token.
        raise SettingsError(f'{where} is not TOML: write name = "token"') from None


def _check(number: int, name: str, token: Any) -> None:
    if not _NAME.fullmatch(name):  # it is not shown: it may be the token, in the wrong place
        raise SettingsError(
            f"the name of caller {number} is not up to 32 letters, digits, - and _, the first of "
            'them a letter or digit; a line is name = "token"'
        )
    if not isinstance(token, str) or len(token) < _SHORTEST or not token.isascii():
        raise SettingsError(
            f"the token of caller {number} is not text of at least {_SHORTEST} ASCII characters; "
            "`openssl rand -hex 24` makes one"
        )


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
