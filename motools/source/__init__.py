"""Source digests of functions: what they and all that they reach say, not how it is laid out.

A digest covers the normalised source of the function and of every function,
class and constant of one's own that it can reach, with the values of its
defaults and of what it captured. Packages enter by the version of their
distribution, the standard library not at all, so that a digest is the same on
every Python version; motools stays out too, because its recipe numbers say when
its own work changes. What source cannot vouch for (files, the environment,
names looked up at run time, globals that change) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, Final

from motools.digest import canonical_json, hash_bytes
from motools.source.objects import name_of
from motools.source.reach import SCHEMA, Walk

__all__ = ["SourceDigest", "describe"]


@dataclass(frozen=True)
class SourceDigest:
    """What a function's source comes to.

    Attributes:
        digest: 64 hexadecimal characters; the only part that belongs in a key.
        parts: qualified name of each function, class and constant reached -> its
            own digest; compare two of these to name what changed.
        packages: distribution -> version of every package reached.
    """

    digest: str
    parts: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)


_KNOWN: Final[dict[int, tuple[Walk, SourceDigest]]] = {}
_MOST: Final = 4096
_NONE: Final[Mapping[str, Sequence[Sequence[str]]]] = {}


def describe(
    obj: Any,
    *,
    version: str | None = None,
    equivalent: Mapping[str, Sequence[Sequence[str]]] = _NONE,
) -> SourceDigest:
    """The source digest of a function, class, method, partial or callable instance.

    Args:
        obj: what to describe. Describing a function again costs microseconds, and
            a global, default or captured value that has changed meanwhile is seen.
        version: describes it by its qualified name and this text alone.
        equivalent: distribution -> classes of versions that count as the first of
            their class, as in ``{"numpy": [["2.1.0", "2.1.1"]]}``.

    Raises:
        SourceError: source is out of reach or cannot be pinned; the message names
            the function and the line, and ``version=`` as the way out.
    """
    if version is not None:
        name = name_of(obj)
        material = canonical_json({"schema": SCHEMA, "name": name, "version": version})
        return SourceDigest(hash_bytes(material).hex, {name: version})
    known = _KNOWN.get(id(obj))
    if known is None or not known[0].watch.holds():
        known = _walked(obj)
    walk, described = known
    if not equivalent:
        return described
    versions = {
        name: next((same[0] for same in equivalent.get(name, ()) if found in same), found)
        for name, found in walk.packages.items()
    }
    return replace(described, digest=walk.digest(versions))


def _walked(obj: Any) -> tuple[Walk, SourceDigest]:
    walk = Walk(obj)
    parts = dict(sorted(walk.parts.items()))
    known = walk, SourceDigest(walk.digest(walk.packages), parts, walk.packages)
    if isinstance(obj, (FunctionType, type)):
        if len(_KNOWN) >= _MOST:  # functions made in a loop
            _KNOWN.clear()
        # The walk keeps the object alive, so its id stays its own.
        _KNOWN[id(obj)] = known
    return known
