"""The store in a bucket: S3, or a server that speaks it.

Credentials are those that AWS's own tools would use: from the environment, a
profile, or the machine's role. None is a setting, none is written anywhere.
"""

# ruff: noqa: D102 - the methods of every store are described by `Store`
from __future__ import annotations

import math
import os
import uuid
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from motools.cache.file_system import FsspecStore, reached
from motools.configs import unknown_name
from motools.errors import SettingsError

SCHEME: Final = "s3://"

_OPTIONS: Final = {"endpoint": "endpoint_url", "profile": "profile", "region": "region_name"}
_PART: Final = 16 << 20
_PARTS_AT_ONCE: Final = 4
_MOST_PARTS: Final = 10_000
ATTEMPTS: Final = 4
"""How often a request is sent that fails in a way that may pass."""

_STAMP: Final = "motools-upload"


def file_system(options: Mapping[str, str]) -> Any:
    """An s3fs that shows at once what others do, and gives up in seconds, not in a minute.

    Args:
        options: ``endpoint``, ``profile``, ``region``, as in the settings.

    Raises:
        SettingsError: an option has another name.
    """
    import s3fs

    for name in options:
        if name not in _OPTIONS:
            raise SettingsError(unknown_name(f"s3: {name}", name, list(_OPTIONS)))
    given = {_OPTIONS[name]: value for name, value in options.items() if value}
    region = {"region_name": given.pop("region_name")} if "region_name" in given else {}
    found = s3fs.S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        client_kwargs=region,
        config_kwargs={
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "max_pool_connections": 64,
            "read_timeout": 60,
        },
        **given,
    )
    found.retries = 2  # above those of botocore: for bodies that broke off
    return found


@cache
def shared(process: int, options: tuple[tuple[str, str], ...]) -> Any:  # noqa: ARG001
    """The one file system with these options that a process has: to make one takes 0.3 s."""
    return file_system(dict(options))


class S3Store(FsspecStore):
    """A folder of a bucket.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/folder``.
        options: as of :func:`file_system`.

    Raises:
        SettingsError: the URL is not such a one, or an option is unknown.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if not url.startswith(SCHEME) or not parts.netloc or "@" in parts.netloc or parts.query:
            raise SettingsError(f"store is not of the form {SCHEME}bucket/folder")
        super().__init__(lambda: shared(os.getpid(), tuple(sorted(options.items()))), url)

    def upload(self, name: str, path: Path) -> None:
        # In parts when large. An upload whose last answer was lost is told by its stamp: to
        # complete it again is refused, and what is under the name could be another's.
        stamp = uuid.uuid4().hex
        size = path.stat().st_size
        with reached(f"cannot write {self._at(name)}"):
            try:
                self.fs.put_file(
                    os.fspath(path), self._at(name), Metadata={_STAMP: stamp},
                    chunksize=max(_PART, math.ceil(size / _MOST_PARTS)),
                    max_concurrency=_PARTS_AT_ONCE,
                )  # fmt: skip
            except Exception:
                if self._stamp(name) != stamp:
                    raise

    def _get(self, name: str, target: Path) -> None:
        get = partial(self.fs.get_file, self._at(name), os.fspath(target), chunksize=_PART)
        try:
            get(max_concurrency=_PARTS_AT_ONCE)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception:  # noqa: BLE001 - s3fs takes up what broke off only in one piece
            get(max_concurrency=1)

    def create(self, name: str, data: bytes) -> bytes:
        """Publish bytes under a name that nobody has yet; returns what is there afterwards."""
        with reached(f"cannot write {self._at(name)}"):
            try:
                self.fs.pipe_file(self._at(name), data, mode="create")
            except Exception:
                # Refused because another was first, or this one was and the answer was lost.
                found = self.read(name)
                if found is None:
                    raise
                return found
        return data

    def _stamp(self, name: str) -> str | None:
        try:
            return str(self.fs.metadata(self._at(name)).get(_STAMP))
        except FileNotFoundError:
            return None
