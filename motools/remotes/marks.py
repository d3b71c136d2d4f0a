"""Marks that travel: tags, notes, rejections and signatures. Pins are each cache's own.

Of what was said under one name the latest counts, be it that a mark was taken off.
What somebody without a right to it says is as if it had not been said: signatures
are never taken off, and where the settings name whom to trust, a rejection and its
withdrawal count if one of those signed them. Nor does it count what cannot have been
said when it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from motools.cache import marks as local
from motools.cache.cache import Cache
from motools.cache.database import Transaction
from motools.cache.rejection import honoured
from motools.cache.trust import SIGNATURE
from motools.remotes.index import Index, in_parts
from motools.remotes.remote import Remote
from motools.remotes.segments import Marked, Said

Marks: TypeAlias = Mapping[str, Mapping[str, tuple[str | None, float]]]
"""Key to name to value, or None: taken off, and when that was said (seconds since 1970)."""


def marked(cache: Cache) -> set[str]:
    """The keys of which something was said that travels."""
    rows = cache.database.read(
        "SELECT key FROM marks WHERE name <> ? UNION SELECT key FROM taken_off WHERE name <> ?",
        (local.PIN, local.PIN),
    )
    return {key for (key,) in rows}


def of_cache(cache: Cache, keys: Iterable[str]) -> Marks:
    """What is said here of some keys, and travels."""
    found: dict[str, dict[str, tuple[str | None, float]]] = {}
    for part in in_parts(keys):
        places = ",".join("?" * len(part))
        for key, name, value, made_at in cache.database.read(
            f"SELECT key, name, value, made_at FROM marks WHERE key IN ({places}) "
            f"UNION ALL SELECT key, name, NULL, made_at FROM taken_off WHERE key IN ({places}) "
            "ORDER BY key, name",
            [*part, *part],
        ):
            if name != local.PIN and local.believable(made_at):
                found.setdefault(key, {})[name] = value, made_at
    return found


def of_remote(index: Index, keys: Iterable[str], trusted: Mapping[str, str]) -> Marks:
    """What is said of some keys in a remote, as far as it counts.

    Args:
        index: of the remote.
        keys: which.
        trusted: name to public key, as in the settings; empty: everybody is.
    """
    found: dict[str, dict[str, tuple[str | None, float]]] = {}
    for key, said in _said(index, keys).items():
        for name, value, made_at in said:
            if _counts(key, name, value, made_at, trusted):
                found.setdefault(key, {})[name] = value, made_at
    return found


def names(index: Index, keys: Iterable[str]) -> dict[str, set[str]]:
    """Key to the names of its marks in a remote, whoever made them."""
    said = of_remote(index, keys, {})
    return {
        key: {name for name, (value, _) in marks.items() if value is not None}
        for key, marks in said.items()
    }


def unsent(here: Marks, index: Index) -> Iterator[Marked]:
    """What a segment has to say so that a remote says what is said here."""
    there = _said(index, here)
    for key, marks in sorted(here.items()):
        known: dict[str, list[tuple[str | None, float]]] = {}
        for name, value, made_at in there.get(key, ()):
            known.setdefault(name, []).append((value, made_at))
        rows = tuple(
            (name, value, made_at)
            for name, (value, made_at) in sorted(marks.items())
            if _is_news(name, value, made_at, known.get(name, []))
        )
        if rows:
            yield Marked(key, rows)


def kept(index: Index) -> Iterator[Marked]:
    """What must stay in a remote: the latest of each name, and each rejection.

    Whose rejections count is for every reader to say.
    """
    for key, said in sorted(_said(index, index.marked()).items()):
        own = [row for row in said if not row[0].startswith(SIGNATURE) or row[1] == ""]
        latest = {row[0]: row for row in own}
        rows = [*latest.values(), *(row for row in own if row[0] == local.REJECTED)]
        if rows:
            yield Marked(key, tuple(dict.fromkeys(rows)))


def news(cache: Cache, remote: Remote, keys: Iterable[str]) -> list[tuple[Any, ...]]:
    """What a remote says of some keys, and was not said here: for :func:`say`."""
    there = of_remote(remote.index, keys, cache.settings.trusted_keys)
    here = of_cache(cache, there)
    return [
        (key, name, value, made_at)
        for key, marks in there.items()
        for name, (value, made_at) in marks.items()
        if name not in here.get(key, {}) or here[key][name][1] < made_at
    ]


def say(transaction: Transaction, news: Iterable[tuple[Any, ...]]) -> int:
    """Have it said here, too; returns how much was news.

    In the transaction in which entries come, so that a rejected one is never served.
    """
    return sum(local.arrive(transaction, *row) for row in news)


def take(cache: Cache, remote: Remote, keys: Iterable[str]) -> int:
    """Have what a remote says of keys that this cache has said here; returns how much was news."""
    if not (found := news(cache, remote, keys)):
        return 0
    with cache.database.write() as transaction:
        count = say(transaction, found)
    cache.documents.flush()
    return count


def _said(index: Index, keys: Iterable[str]) -> dict[str, list[Said]]:
    """What is said of some keys in a remote that can have been said."""
    return {
        key: [row for row in rows if local.believable(row[2]) and "\0" not in f"{row[0]}{row[1]}"]
        for key, rows in index.marks(keys).items()
    }


def _is_news(
    name: str, value: str | None, made_at: float, known: list[tuple[str | None, float]]
) -> bool:
    if name == local.REJECTED:  # a later one may be of somebody whom nobody trusts
        return (value, made_at) not in known
    if name.startswith(SIGNATURE):
        return all(value != "" for value, _ in known)
    return not known or (known[-1][0] != value and known[-1][1] < made_at)


def _counts(
    key: str, name: str, value: str | None, made_at: float, trusted: Mapping[str, str]
) -> bool:
    if name == local.PIN:
        return False
    if name.startswith(SIGNATURE):
        return value == ""
    return name != local.REJECTED or honoured(key, value, made_at, trusted)
