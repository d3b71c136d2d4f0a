"""Which database coordinates a cache."""

from __future__ import annotations

from pathlib import Path

from motools.cache.database import Database
from motools.cache.documents import Documents
from motools.cache.joining import Joined, chosen, record_coordinator, store_at
from motools.cache.layout import DATABASE, QUARANTINE
from motools.cache.marker import SQLITE
from motools.cache.mounts import check_shared
from motools.cache.sqlite import SQLite
from motools.cache.store import Store
from motools.cache.use import alone
from motools.errors import CacheUnavailableError, SettingsError
from motools.settings import Settings


def coordinator(root: Path, cache_id: str, settings: Settings) -> Database:
    """The database of a cache, not connected yet.

    Raises:
        SettingsError: the URL is not one, or psycopg is not installed.
        CacheUnavailableError: the directory is where that database cannot coordinate.
    """
    if not settings.database_url:
        return SQLite(root / DATABASE)
    try:
        from motools.cache.postgresql import PostgreSQL
    except ImportError as problem:
        raise SettingsError(
            f"database_url needs the PostgreSQL driver ({problem}): pip install 'motools[postgres]'"
        ) from problem
    check_shared(root)
    return PostgreSQL(settings.database_url, cache_id)


def require_chosen(root: Path, joined: Joined, settings: Settings) -> None:
    """Refuse a cache that another database coordinates: two would each run what the other runs.

    Raises:
        CacheUnavailableError: it says how to go on.
    """
    coordinator = joined.marker.coordinator
    if coordinator == chosen(settings) and not joined.elsewhere:
        return
    if joined.elsewhere:
        problem = (
            f"the cache.db at {joined.elsewhere} coordinates the cache in {settings.store}. "
            "Several directories can share it once MOTOOLS_DATABASE_URL (database_url) names a "
            "PostgreSQL"
        )
    elif coordinator == SQLITE:
        problem = (
            f"cache.db coordinates the cache at {root}, and MOTOOLS_DATABASE_URL (database_url) "
            "names PostgreSQL"
        )
    else:
        problem = (
            f"PostgreSQL coordinates the cache at {root}: set MOTOOLS_DATABASE_URL (database_url) "
            "to the one that its other users have"
        )
    raise CacheUnavailableError(
        f"{problem}. To change over, end all that use it, then run `motools cache reindex`"
    )


def hand_over(root: Path, joined: Joined, settings: Settings) -> None:
    """Make the database of the settings the coordinator; its tables are still to be made.

    Raises:
        CacheUnavailableError: other processes use the cache.
    """
    quarantine = root / QUARANTINE
    with alone(root):
        following = coordinator(root, joined.marker.id, settings)
        if following.facts():  # of an earlier time, and behind the documents
            following.set_aside(quarantine)
        if joined.marker.coordinator == SQLITE and chosen(settings) != SQLITE:
            _leave(SQLite(root / DATABASE), store_at(root, settings), quarantine)
        record_coordinator(root, joined.marker, settings)


def _leave(database: SQLite, store: Store, quarantine: Path) -> None:
    if database.facts():
        Documents(store, database).flush()
        database.set_aside(quarantine)
