"""Accepting: what of a remote's entries may come here.

Documents are held against their keys and, where the settings name whom to trust,
each result against its signatures. A result that is refused stands in nobody's
way: not in that of the key's other generations, nor of another result for the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from motools.cache.arrival import parse
from motools.cache.cache import Cache
from motools.cache.trust import check_trusted
from motools.errors import CacheError, CorruptDocumentError, UntrustedError
from motools.remotes import marks
from motools.remotes.remote import Remote

Row: TypeAlias = tuple[Any, ...]
"""The columns of one generation."""


@dataclass(frozen=True)
class Accepted:
    """What of a key may come.

    Attributes:
        key: the key.
        rows: a row for each generation that may.
        refused: why others may not.
    """

    key: str
    rows: tuple[Row, ...]
    refused: tuple[CacheError, ...]


def accepted(
    cache: Cache, remote: Remote, keys: list[str], *, without: Container[tuple[str, int]] = ()
) -> Iterator[Accepted]:
    """What of some keys may come, in their order; a key that is not there is left out.

    Args:
        cache: where it goes.
        remote: where it is; its index as last read.
        keys: which; perhaps a thousand.
        without: keys and generations that are not wanted.
    """
    found: dict[str, dict[int, list[Row]]] = {}
    damaged: dict[str, CacheError] = {}
    for key, document in remote.index.documents(keys):
        generations = found.setdefault(key, {})
        try:
            for row in parse(document, key):
                generations.setdefault(row[1], []).append(row)
        except CorruptDocumentError as problem:
            damaged[key] = CorruptDocumentError(f"{problem} ({remote.url})")
    trusted = cache.settings.trusted_keys
    signed = marks.names(remote.index, found) if trusted else {}
    for key in (key for key in keys if key in found):
        rows: list[Row] = []
        refused: list[CacheError] = []
        for generation, variants in sorted(found[key].items()):
            if (key, generation) in without:
                continue
            good, why = variants, list[CacheError]()
            if trusted:
                good, why = _vouched_for(variants, signed.get(key, ()), trusted)
            if good:
                rows.append(_first(good))
            else:
                refused += why
        if not rows and not refused and key in damaged:
            refused.append(damaged[key])  # else another segment has a good document
        yield Accepted(key, tuple(rows), tuple(refused))


def acceptable(cache: Cache, remote: Remote, keys: Iterable[str]) -> set[tuple[str, int, str]]:
    """Key, number and checksum of each result of some keys that might come.

    What a segment says that it has is not among them if no document there is of it.

    Args:
        cache: where it would go.
        remote: where it is; its index as last read.
        keys: which.
    """
    trusted = cache.settings.trusted_keys
    signed = marks.names(remote.index, keys) if trusted else {}
    found: set[tuple[str, int, str]] = set()
    for key, document in remote.index.documents(keys):
        try:
            rows = parse(document, key)
        except CorruptDocumentError:
            continue
        if trusted:
            rows, _ = _vouched_for(rows, signed.get(key, ()), trusted)
        found.update((row[0], row[1], row[8]) for row in rows)
    return found


def _vouched_for(
    variants: list[Row], signed: Iterable[str], trusted: dict[str, str]
) -> tuple[list[Row], list[CacheError]]:
    good: list[Row] = []
    why: list[CacheError] = []
    for row in variants:
        try:
            check_trusted(row, signed, trusted)
            good.append(row)
        except (UntrustedError, CorruptDocumentError) as problem:
            why.append(problem)
    return good, why


def _first(variants: list[Row]) -> Row:
    """The first result stays, unless a later document has its bytes and it has not."""
    chosen = variants[0]
    for row in variants[1:]:
        if chosen[8] == row[8] and chosen[9] == "released":
            chosen = row
    return chosen
