"""The remotes that a cache knows by name: ``remotes.json`` in its directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from motools.cache.layout import TMP
from motools.cache.store import unavailable
from motools.errors import RemoteError

FILE: Final = "remotes.json"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SLIPPED: Final = re.compile(r"([a-z][a-z0-9+.-]+):/*([^/].*)")

_WITH_USERS: Final = frozenset(
    {"abfs", "abfss", "adl", "az", "ftp", "hdfs", "sftp", "smb", "ssh", "wasb", "wasbs", "webhdfs"}
)
"""Where what stands before an ``@`` is a user or a container; elsewhere it may be a token."""


@dataclass(frozen=True)
class Registry:
    """The remotes of a cache.

    Attributes:
        urls: name to URL.
        default: the name of the one that is used where none is named; None: there is none.
    """

    urls: dict[str, str]
    default: str | None = None

    @classmethod
    def of(cls, root: Path) -> Registry:
        """The registry of the cache in a directory.

        Raises:
            RemoteError: the file is damaged.
        """
        path = root / FILE
        with unavailable(f"cannot read {path}"):
            try:
                facts = json.loads(path.read_text())
                return cls({str(n): str(u) for n, u in facts["urls"].items()}, facts["default"])
            except FileNotFoundError:
                return cls({})
            except (ValueError, KeyError, TypeError, AttributeError) as problem:
                raise RemoteError(
                    f"{path} is damaged ({problem!r}): delete it and add the remotes again"
                ) from problem
        raise AssertionError

    def url(self, name: str | None) -> tuple[str, str]:
        """Name and URL of a remote; None: of the default.

        Raises:
            RemoteError: there is none of that name, or no default.
        """
        wanted = name or self.default
        if wanted is None:
            raise RemoteError(
                "no remote is named and there is no default: "
                "`motools cache remote add NAME URL` makes one"
            )
        if wanted not in self.urls:
            known = ", ".join(sorted(self.urls)) or "none"
            raise RemoteError(f"there is no remote {wanted!r}; known: {known}")
        return wanted, self.urls[wanted]

    def write(self, root: Path) -> None:
        """Put the registry in place of the one that is there."""
        path, temporary = root / FILE, root / TMP / f"{uuid.uuid4().hex}.json"
        with unavailable(f"cannot write {path}"):
            facts = {"default": self.default, "urls": self.urls}
            temporary.write_text(json.dumps(facts, indent=1) + "\n")
            temporary.replace(path)


def add(root: Path, name: str, url: str) -> str:
    """Enter a remote; the first one is the default. Returns its URL as entered.

    Raises:
        RemoteError: as :func:`checked` says.
    """
    with _edited(root) as known:
        whole = checked(known, name, url)
        replace(known, urls={**known.urls, name: whole}, default=known.default or name).write(root)
    return whole


def checked(known: Registry, name: str, url: str) -> str:
    """The URL of a remote that may be entered, as it is kept; nothing is changed.

    Raises:
        RemoteError: the name is taken or is none, or the URL is none or holds a password.
    """
    if not _NAME.fullmatch(name):
        raise RemoteError(f"{name!r} is no name: use letters, digits, '-', '_' and '.'")
    whole = checked_url(url)
    if known.urls.get(name, whole) != whole:
        raise RemoteError(
            f"{name} is {known.urls[name]} already: `motools cache remote remove {name}` first, "
            "or choose another name"
        )
    return whole


def remove(root: Path, name: str) -> None:
    """Take a remote out of the registry; what is there stays.

    Raises:
        RemoteError: there is none of that name.
    """
    with _edited(root) as known:
        known.url(name)
        urls = {each: url for each, url in known.urls.items() if each != name}
        Registry(urls, None if known.default == name else known.default).write(root)


def set_default(root: Path, name: str) -> None:
    """Have a remote used where none is named.

    Raises:
        RemoteError: there is none of that name.
    """
    with _edited(root) as known:
        known.url(name)
        replace(known, default=name).write(root)


def checked_url(url: str) -> str:
    """A URL as it is kept; a path becomes an absolute one.

    Raises:
        RemoteError: it holds a password, which would be readable in the cache, or is none.
    """
    if not url.strip():
        raise RemoteError("the URL is empty: give the place a path or a URL")
    if "://" not in url:
        if slipped := _SLIPPED.match(url):
            raise RemoteError(
                f"{url} is neither a URL nor a path: write {slipped[1]}://{slipped[2]}, or ./{url}"
            )
        return os.fspath(Path(url).expanduser().absolute())
    scheme, _, rest = url.partition("://")
    if not rest.strip("/") or (scheme in ("file", "local") and not rest.startswith("/")):
        raise RemoteError(f"{url} names no place: write {scheme}://{_EXAMPLES.get(scheme, '…')}")
    if _secret(scheme, rest) or "::" in url or "?" in rest or "#" in rest:
        raise RemoteError(
            f"{scheme.rpartition('::')[2]}://…: a remote's URL is kept in the cache and shown, so "
            "it must hold no password, no options and no other URL. Credentials are taken from "
            "where the storage's own tools take them: environment variables, profiles, or the "
            "machine"
        )
    return url.rstrip("/")


_EXAMPLES: Final = {"s3": "bucket/folder", "file": "/path", "local": "/path"}


def _secret(scheme: str, rest: str) -> bool:
    """Whether what follows the scheme holds a password, or may."""
    authority, _, path = rest.partition("/")
    user, at, _ = authority.rpartition("@")
    if at:
        return ":" in user or scheme.lower() not in _WITH_USERS
    # A password with a slash in it; digits are a port.
    _, colon, after = authority.partition(":")
    return "@" in path and bool(colon) and not after.isdigit()


@contextlib.contextmanager
def _edited(root: Path) -> Iterator[Registry]:
    """The registry, while nobody else edits it."""
    with unavailable(f"cannot edit {root / FILE}"), (root / TMP / "remotes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Registry.of(root)
