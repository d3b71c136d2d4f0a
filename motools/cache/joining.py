"""Which cache a directory belongs to.

A cache whose store is elsewhere has a marker there too, for all its directories:
its id, and which database coordinates it. With SQLite that is the ``cache.db`` of
one directory, and the others are refused.
"""

from __future__ import annotations

import platform
import uuid
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from motools.cache.layout import DATABASE, ENTRIES, MARKER
from motools.cache.local import LocalStore
from motools.cache.marker import POSTGRESQL, SQLITE, Marker, no_cache, open_directory, record
from motools.cache.store import Store
from motools.errors import CacheUnavailableError
from motools.settings import Settings

if TYPE_CHECKING:
    from motools.cache.s3 import S3Store


@dataclass(frozen=True)
class Joined:
    """A directory and the cache that it belongs to.

    Attributes:
        marker: what is written down about the cache.
        elsewhere: where the ``cache.db`` is that coordinates it; empty: not in another directory.
    """

    marker: Marker
    elsewhere: str = ""


def store_at(root: Path, settings: Settings) -> Store:
    """The store of the settings.

    Raises:
        SettingsError: it is not the URL of one.
    """
    return _far(settings) if settings.store else LocalStore(root)


def _has_lost_its_marker(root: Path) -> bool:
    """Whether a cache is in a directory, and only the file that says so is not."""
    return (root / DATABASE).is_file() and (root / ENTRIES).is_dir()


def chosen(settings: Settings) -> str:
    """Which kind of database the settings ask for."""
    return SQLITE if not settings.database_url else POSTGRESQL


def join(root: Path, settings: Settings, *, create: bool) -> Joined:
    """Have a directory belong to the cache of the settings.

    Args:
        root: the directory.
        settings: which store, and which kind of database for a cache that is made.
        create: whether to make one where there is none.

    Raises:
        CacheNotFoundError: there is none, and ``create`` is False.
        CacheUnavailableError: the directory belongs to another cache, or that cannot be known.
    """
    if not settings.store:
        make = create or _has_lost_its_marker(root)
        new = partial(Marker, uuid.uuid4().hex, chosen(settings)) if make else None
        return Joined(_of_this_store(open_directory(root, new=new), root, settings))
    store = _far(settings)
    there = _read(store)
    if there is None and not create:
        raise no_cache(settings.store)
    # Without an id at first: of several processes that come at once, one makes the directory's
    # identity, and one directory the cache's.
    new = partial(Marker, "", chosen(settings), settings.store, uuid.uuid4().hex)
    here = _of_this_store(open_directory(root, new=new), root, settings)
    if there is None and here.id:
        there = _read(store)  # made meanwhile, or gone
    elif there is None:
        mine = replace(here, id=uuid.uuid4().hex)
        there = Marker.parse(store.create(MARKER, _shared(root, mine)), settings.store)
    if there is not None and not here.id:
        here = replace(here, id=there.id)
        record(root, here)
    if there is None or there.id != here.id:
        raise CacheUnavailableError(
            f"{root} belongs to the cache {here.id}, and at {settings.store} there is "
            f"{there.id if there else 'none'}: name another directory (--cache-dir, "
            "MOTOOLS_CACHE_DIR) or another store (MOTOOLS_STORE)"
        )
    directory, _, place = there.directory.partition(" ")
    theirs = there.coordinator == SQLITE and directory != here.directory
    return Joined(replace(here, coordinator=there.coordinator), place if theirs else "")


def record_coordinator(root: Path, marker: Marker, settings: Settings) -> None:
    """Write down that from now on the database of the settings coordinates a cache."""
    marker = replace(marker, coordinator=chosen(settings))
    record(root, marker)
    if settings.store:
        _far(settings).publish_bytes(MARKER, _shared(root, marker))


def _of_this_store(marker: Marker, root: Path, settings: Settings) -> Marker:
    if marker.store == settings.store:
        return marker
    raise CacheUnavailableError(
        f"the bytes of the cache at {root} are in {marker.store or 'its directory'}, and "
        f"MOTOOLS_STORE (store) names {settings.store or 'none'}: name that store, or another "
        "directory (--cache-dir, MOTOOLS_CACHE_DIR)"
    )


def _far(settings: Settings) -> S3Store:
    from motools.cache.s3 import S3Store

    return S3Store(settings.store, settings.s3)


def _read(store: S3Store) -> Marker | None:
    data = store.read(MARKER)
    return None if data is None else Marker.parse(data, f"{MARKER} in {store.root}")


def _shared(root: Path, marker: Marker) -> bytes:
    """The marker in the store, which says besides where the directory is, for people."""
    place = f"{marker.directory} {platform.node()}:{root}"
    return replace(marker, store="", directory=place).dump()
