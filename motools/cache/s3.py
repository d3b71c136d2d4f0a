"""The store in a bucket: S3, or a server that speaks it.

Credentials are those that AWS's own tools would use: from the environment, a
profile, or the machine's role. None is a setting, none is written anywhere.
"""

# ruff: noqa: D102 - the methods of every store are described by `Store`
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from motools.cache.networked import NetworkedStore
from motools.cache.store import Unfinished, unavailable
from motools.configs import unknown_name
from motools.errors import CacheUnavailableError, SettingsError
from motools.s3 import Bucket, S3Error, Upload, find, multipart

SCHEME: Final = "s3://"

_OPTIONS: Final = ("endpoint", "profile", "region")
_IN_PARTS: Final = 32 << 20
"""Bytes from which on a file is sent in parts."""

_COPIED_WHOLE: Final = 5 << 30


class S3Store(NetworkedStore):
    """A folder of a bucket.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/folder``.
        options: ``endpoint``, ``profile``, ``region``, as in the settings.

    Attributes:
        root: bucket and folder, for people.

    Raises:
        SettingsError: the URL is not such a one, or an option is unknown.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if not url.startswith(SCHEME) or not parts.netloc or "@" in parts.netloc or parts.query:
            raise SettingsError(f"store is not of the form {SCHEME}bucket/folder")
        for name in options:
            if name not in _OPTIONS:
                raise SettingsError(unknown_name(f"s3: {name}", name, list(_OPTIONS)))
        self._name, self._folder = parts.netloc, parts.path.strip("/")
        self.root = f"{self._name}/{self._folder}".rstrip("/")
        self._options = dict(options)

    @cached_property
    def bucket(self) -> Bucket:
        """What requests are made of. Nothing of it crosses a fork."""
        return Bucket(self._name, find(**self._options))

    def upload(self, name: str, path: Path) -> None:
        with self._reached("write", name):
            with unavailable(f"cannot read {path}"):
                data = path.read_bytes() if path.stat().st_size < _IN_PARTS else None
            if data is None:
                multipart.send(self.bucket, self._key(name), path)
            else:
                self.bucket.write(self._key(name), data)

    def publish_bytes(self, name: str, data: bytes) -> None:
        with self._reached("write", name):
            self.bucket.write(self._key(name), data)

    def create(self, name: str, data: bytes) -> bytes:
        """Publish bytes under a name that nobody has yet; returns what is there afterwards."""
        with self._reached("write", name):
            try:
                self.bucket.create(self._key(name), data)
            except S3Error:
                # Refused because another was first, or this one was and the answer was lost.
                found = self.bucket.read(self._key(name))
                if found is None:
                    raise
                return found
        return data

    def size(self, name: str) -> int | None:
        with self._reached("look at", name):
            found = self.bucket.look(self._key(name))
        return None if found is None else found.size

    def modified(self, name: str) -> float | None:
        with self._reached("look at", name):
            found = self.bucket.look(self._key(name))
        return None if found is None else found.modified

    def read(self, name: str) -> bytes | None:
        with self._reached("read", name):
            return self.bucket.read(self._key(name))

    def read_range(self, name: str, start: int, length: int) -> bytes | None:
        with self._reached("read", name):
            return self.bucket.read(self._key(name), start, length)

    def stream(self, name: str, start: int = 0, *, ahead: int = 4) -> Iterator[bytes] | None:
        with self._reached("read", name):
            found = self.bucket.stream(self._key(name), start, ahead)
        return None if found is None else self._explained(name, found)

    def _explained(self, name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._reached("read", name):
            yield from pieces

    def move(self, name: str, to: str) -> bool:
        with self._reached("move", name):
            found = self.bucket.look(self._key(name))
            if found is None:
                return False
            if found.size < _COPIED_WHOLE:
                there = self.bucket.copy(self._key(name), self._key(to))
            else:
                there = multipart.copy(self.bucket, self._key(name), self._key(to), found.size)
            if there:
                self.bucket.remove(self._key(name))
        return there

    def remove(self, name: str) -> bool:
        with self._reached("delete", name):
            if self.bucket.look(self._key(name)) is None:  # of that, S3 says that it was deleted
                return False
            self.bucket.remove(self._key(name))
        return True

    def names(
        self, prefix: str, *, but: Collection[str] = frozenset()
    ) -> Iterator[tuple[str, int]]:
        start = len(self._key(""))
        with self._reached("list", prefix):
            for item in self.bucket.items(self._key(f"{prefix}/" if prefix else "")):
                name = item.name[start:]
                if not name.endswith("/") and name not in but:  # what some make of a folder
                    yield name, item.size

    def unfinished(self, folders: Sequence[str]) -> Iterator[Unfinished]:
        start = len(self._key(""))
        for folder in folders:
            with self._reached("list uploads to", folder):
                for upload in multipart.uploads(self.bucket, self._key(f"{folder}/")):
                    size = multipart.stored(self.bucket, upload)
                    yield Unfinished(upload.key[start:], upload.id, upload.started, size)

    def abandon(self, unfinished: Unfinished) -> bool:
        key = self._key(unfinished.name)
        with self._reached("end an upload to", unfinished.name):
            upload = Upload(key, unfinished.id, unfinished.started)
            return multipart.abandon(self.bucket, upload)

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name

    @contextmanager
    def _reached(self, doing: str, name: str) -> Iterator[None]:
        """Say what could not be done, why, and what to do.

        Raises:
            CacheUnavailableError: all of that.
        """
        try:
            yield
        except S3Error as problem:
            what = f"cannot {doing} {SCHEME}{self.root}/{name}"
            raise CacheUnavailableError(f"{what}: {problem}; {_hint(problem)}") from problem


def _hint(problem: S3Error) -> str:
    if problem.code == "NoSuchBucket":
        return "make the bucket, or name another (store, s3.endpoint)"
    if problem.code == "RequestTimeTooSkewed":
        return "set this machine's clock"
    if problem.code in ("ExpiredToken", "TokenRefreshRequired"):
        return "the credentials have run out: log in again, and run it again"
    if problem.status in (401, 403) or problem.code == "NoCredentials":
        return (
            "see that the credentials (AWS_PROFILE, s3.profile, AWS_ACCESS_KEY_ID) are the right "
            "ones and may list, read, write and delete there"
        )
    return "see that the server runs and can be reached (s3.endpoint), then run it again"
