"""Marks that travel: tags, notes, rejections and signatures. Pins are each cache's own.

Of two marks of one name the later one counts. That a mark was taken off does not
travel: whoever has it keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from motools.cache import marks as local
from motools.cache.cache import Cache
from motools.cache.trust import check_trusted
from motools.remotes.index import in_parts
from motools.remotes.remote import Remote
from motools.remotes.segments import Marked

Marks: TypeAlias = Mapping[str, Mapping[str, tuple[str, float]]]
"""Key to name to value, and when it was made (seconds since 1970)."""


def marked(cache: Cache) -> set[str]:
    """The keys with marks that travel."""
    rows = cache.database.read("SELECT DISTINCT key FROM marks WHERE name <> ?", (local.PIN,))
    return {key for (key,) in rows}


def of_cache(cache: Cache, keys: Iterable[str]) -> Marks:
    """The marks of some keys that travel."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for part in in_parts(keys):
        for key, name, value, made_at in cache.database.read(
            "SELECT key, name, value, made_at FROM marks "
            f"WHERE key IN ({','.join('?' * len(part))}) AND name <> ? ORDER BY key, name",
            [*part, local.PIN],
        ):
            found.setdefault(key, {})[name] = value, made_at
    return found


def later(these: Marks, those: Marks) -> Marks:
    """Those of ``these`` that are not in ``those``, or later than there."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for key, marks in these.items():
        known = those.get(key, {})
        for name, (value, made_at) in marks.items():
            if name not in known or (known[name][0] != value and known[name][1] < made_at):
                found.setdefault(key, {})[name] = value, made_at
    return found


def rows_of(marks: Marks) -> Iterator[Marked]:
    """What a segment says of marks."""
    for key, named in sorted(marks.items()):
        rows = tuple((name, value, made_at) for name, (value, made_at) in sorted(named.items()))
        yield Marked(key, rows)


def take(cache: Cache, remote: Remote, keys: Iterable[str]) -> int:
    """Have the marks of a remote here, of keys that this cache has; returns how many came."""
    there = remote.index.marks(keys)
    new = later(there, of_cache(cache, there))
    if not new:
        return 0
    with cache.database.write() as transaction:
        count = sum(
            local.arrive(transaction, key, name, value, made_at)
            for key, named in new.items()
            for name, (value, made_at) in named.items()
            if name != local.PIN
        )
    cache.documents.flush()
    return count


def refuse_untrusted(cache: Cache, remote: Remote, rows: Sequence[tuple[Any, ...]]) -> None:
    """Where the settings name whom to trust, refuse what none of them vouches for.

    Raises:
        UntrustedError: it names the key, and who signed.
        CorruptDocumentError: a row is not what was committed.
    """
    if trusted := cache.settings.trusted_keys:
        marks = remote.index.marks({row[0] for row in rows})
        for row in rows:
            said = {name: value for name, (value, _) in marks.get(row[0], {}).items()}
            check_trusted(row, said, trusted)
