"""A remote: a place at a URL, and what is known of it here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from motools.cache.cache import Cache
from motools.cache.file_system import FsspecStore
from motools.cache.local import LocalStore
from motools.cache.store import Store, unavailable
from motools.errors import (
    CacheUnavailableError,
    CacheVersionError,
    CorruptDocumentError,
    RemoteError,
)
from motools.remotes import registry
from motools.remotes.index import Index
from motools.remotes.layout import FORMAT, MARKER, TMP
from motools.remotes.registry import Registry

FOLDER: Final = "remotes"
"""Where a cache keeps what it has read of remotes' indexes."""

_LOCAL: Final = ("file://", "local://")
_S3: Final = "s3://"


@dataclass(frozen=True)
class Remote:
    """A remote that can be reached.

    Attributes:
        name: what the cache calls it.
        url: where it is.
        id: its identity, made once.
        store: its named bytes.
        index: what it holds.
        connections: how many objects are sent or fetched at once.
        new: whether its place was made a remote just now.
    """

    name: str
    url: str
    id: str
    store: Store
    index: Index
    connections: int
    new: bool = False

    def refresh(self) -> None:
        """Have the index say what the remote has now.

        Raises:
            RemoteError: the remote is no longer there: that is not the same as an empty one.
            CacheUnavailableError: it cannot be reached, or refuses.
            CorruptDocumentError: a segment of its index is damaged.
        """
        if _id(self.store, self.url) != self.id:
            raise RemoteError(f"at {self.url} is another remote now: start again")
        with _segments_of(self.url):
            self.index.refresh()

    @contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads for its connections; when the block raises, what has not begun is dropped."""
        pool = ThreadPoolExecutor(self.connections)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def open_remote(cache: Cache, name: str | None = None, *, damaged: bool = False) -> Remote:
    """A remote in a cache's registry, with its index as it is now.

    Args:
        cache: whose registry.
        name: of the remote; None: that of the settings, or the default.
        damaged: even if segments of its index are, of which nothing is known then.

    Raises:
        RemoteError: it is not in the registry, or there is no remote at its place.
        CacheUnavailableError: it cannot be reached, or refuses.
        CorruptDocumentError: a segment of its index is damaged.
        CacheVersionError: it was made by a newer motools.
    """
    name, url = Registry.of(cache.root).url(name or cache.settings.remote or None)
    with _segments_of(url):
        return found_remote(cache, name, open_store(url, cache.settings.s3), url, damaged=damaged)
    raise AssertionError


def held(cache: Cache, digests: Iterable[str]) -> set[str]:
    """Which of some blobs are in one of a cache's remotes.

    Raises:
        CacheUnavailableError: a remote that might have one cannot be reached, or refuses.
        RemoteError: there is no remote at its place.
    """
    found: set[str] = set()
    wanted = set(digests)
    for name in Registry.of(cache.root).urls:
        if wanted - found:
            frames = open_remote(cache, name).index.frames(wanted - found)
            found |= {frame.digest for frame in frames}
    return found


def add_remote(cache: Cache, name: str, url: str) -> Remote:
    """Enter a place into a cache's registry; it is made a remote if it is none.

    Raises:
        RemoteError: the name is taken, or the URL holds a password or names no place
            outside the cache; nothing was made.
        CacheUnavailableError: the place cannot be reached, or refuses.
    """
    whole = registry.checked(Registry.of(cache.root), name, url)
    store = open_store(whole, cache.settings.s3)
    if isinstance(store, _Folder) and store.root.resolve().is_relative_to(cache.root.resolve()):
        raise RemoteError(f"{whole} is in the cache itself: choose a place outside it")
    new = store.read(MARKER) is None
    if new:
        make_marker(store)
    with _segments_of(whole):
        remote = found_remote(cache, name, store, whole)
    registry.add(cache.root, name, whole)
    return replace(remote, new=new)


def make_marker(store: Store) -> None:
    """Make a place a remote. Of two makers, the later one wins: read back which that was."""
    facts = {"id": uuid.uuid4().hex, "format": FORMAT}
    store.publish_bytes(MARKER, json.dumps(facts).encode() + b"\n")


def found_remote(
    cache: Cache,
    name: str,
    store: Store,
    url: str,
    *,
    directory: Path | None = None,
    damaged: bool = False,
) -> Remote:
    """The remote in a store, with its index as it is now; else as :func:`open_remote`.

    Args:
        cache: for whom.
        name: what it is called.
        store: where it is.
        url: what people call that.
        directory: where what is read of its index is kept; None: in the cache.
        damaged: even if segments of its index are.
    """
    found = _id(store, url)
    connections = cache.settings.remote_connections
    index = Index(directory or cache.root / FOLDER / found, store, connections)
    index.refresh((lambda _: None) if damaged else None)
    return Remote(name, url, found, store, index, connections)


def open_store(url: str, s3: Mapping[str, str] = MappingProxyType({})) -> Store:
    """The named bytes at a URL of any file system that fsspec knows, or at a path.

    Args:
        url: of the place, or its path.
        s3: how buckets are reached, as in the settings.

    Raises:
        RemoteError: fsspec does not know such URLs, or a library for them is missing.
    """
    scheme = next((scheme for scheme in _LOCAL if url.startswith(scheme)), "")
    if scheme or "://" not in url:
        # Unlike fsspec's, these files survive a power cut.
        return _Folder(Path(url.removeprefix(scheme)))
    if url.startswith(_S3):
        from motools.cache.s3 import S3Store

        return S3Store(url, s3)
    from fsspec.core import url_to_fs

    options = {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        _, path = url_to_fs(url, **options)
        return FsspecStore(lambda: url_to_fs(url, **options)[0], path)
    except (ValueError, ImportError, TypeError) as problem:  # it wants options that no URL has
        raise RemoteError(f"cannot open {url}: {problem}") from problem


class _Folder(LocalStore):
    """A directory that is made when something is written to it, and not by looking."""

    def publish_bytes(self, name: str, data: bytes) -> None:
        with unavailable(f"cannot make {self.root}"):
            (self.root / TMP).mkdir(parents=True, exist_ok=True)
        super().publish_bytes(name, data)


@contextmanager
def _segments_of(url: str) -> Iterator[None]:
    """Say of a segment that cannot be read where it is, and the way out."""
    try:
        yield
    except CorruptDocumentError as problem:
        raise CorruptDocumentError(unreadable(url, problem)) from problem
    except CacheVersionError as problem:
        raise CacheVersionError(f"in {url}: {problem}") from problem


def unreadable(url: str, problem: CorruptDocumentError) -> str:
    """What is wrong with a segment of the remote at a URL, and what to do."""
    return (
        f"{url.rstrip('/')}/{problem}. What it says is unknown, so nothing goes on. Run it again; "
        "if it stays so, delete that object, and run `motools cache push` in the caches that have "
        "what it described. `motools cache verify --remote` names all that are damaged"
    )


def _id(store: Store, url: str) -> str:
    data = store.read(MARKER)
    if data is None:
        raise RemoteError(
            f"there is no remote at {url}: is the disk mounted, the bucket the right one? "
            "`motools cache remote add` makes one"
        )
    return _parsed(data, url)


def _parsed(data: bytes, url: str) -> str:
    try:
        facts: Any = json.loads(data)
        version, found = int(facts["format"]), uuid.UUID(str(facts["id"])).hex
    except (ValueError, KeyError, TypeError) as problem:
        raise CacheUnavailableError(f"{url}/{MARKER} is damaged: {problem!r}") from problem
    if version > FORMAT:
        raise CacheVersionError(
            f"{url} has format {version}, this motools knows {FORMAT}: "
            "upgrade motools (pip install -U motools)"
        )
    return found
