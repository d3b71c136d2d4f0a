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

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from types import FunctionType
from typing import Any, Final

from motools.digest import canonical_json, hash_bytes
from motools.source.objects import name_of
from motools.source.reach import SCHEMA, Walk
from motools.source.stated import stated
from motools.source.text import Text

__all__ = ["SourceDigest", "Text", "describe", "in_plain_sight", "representative"]


@dataclass(frozen=True)
class SourceDigest:
    """What a function's source comes to.

    Attributes:
        digest: 64 hexadecimal characters; the only part that belongs in a key.
        parts: qualified name of each function, class and constant reached -> its
            own digest; compare two of these to name what changed.
        packages: distribution -> version of every package reached, as it is hashed.
        texts: the lines of those parts whose file is within reach.
    """

    digest: str
    parts: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Text] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it but the digest, for whoever has to say later what changed."""
        parts = {
            _without_place(name): {
                "digest": digest,
                **(asdict(self.texts[name]) if name in self.texts else {}),
            }
            for name, digest in self.parts.items()
        }
        return {"parts": parts, "packages": dict(self.packages)}


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
        version: describes it by its qualified name and this text, with what it was
            bound to and the plain values that it captured.
        equivalent: distribution -> classes of versions that count as the first of
            their class, as in ``{"numpy": [["2.1.0", "2.1.1"]]}``.

    Raises:
        SourceError: source is out of reach or cannot be pinned; the message names
            the function and the line, and ``version=`` as the way out.
    """
    if version is not None:
        material = canonical_json({"schema": SCHEMA, **stated(obj, version)})
        return SourceDigest(hash_bytes(material).hex, {name_of(obj): version})
    known = _KNOWN.get(id(obj))
    if known is None or not known[0].watch.holds():
        known = _walked(obj)
    walk, described = known
    if not equivalent:
        return described
    versions = {n: representative(n, found, equivalent) for n, found in walk.packages.items()}
    return replace(described, digest=walk.digest(versions), packages=versions)


def in_plain_sight(obj: Any, digest: str, lines: str) -> SourceDigest:
    """What is shown of code that nothing but its own lines stands for.

    Args:
        obj: the function or class.
        digest: of its lines.
        lines: as they stand in its file.
    """
    unwrapped = inspect.unwrap(obj)
    text = Text(inspect.getfile(unwrapped), inspect.getsourcelines(unwrapped)[1], lines)
    return SourceDigest(digest, {name_of(obj): digest}, texts={name_of(obj): text})


def representative(
    distribution: str, version: str, equivalent: Mapping[str, Sequence[Sequence[str]]]
) -> str:
    """The version that stands for this one: the first of the class it is in, or itself.

    Args:
        distribution: whose version it is; spelled as on any index.
        version: the one that is installed.
        equivalent: as for :func:`describe`.
    """
    wanted = _canonical(distribution)
    groups = [g for name, each in equivalent.items() if _canonical(name) == wanted for g in each]
    return next((group[0] for group in groups if version in group), version)


def _without_place(name: str) -> str:
    """A part's name, where its module is called by its path, as Inspect calls files of tasks."""
    path, _, rest = name.rpartition(".py.")
    return f"{PurePath(path).name}.{rest}" if path else name


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()  # as PEP 503 compares names


def _walked(obj: Any) -> tuple[Walk, SourceDigest]:
    walk = Walk(obj)
    parts = dict(sorted(walk.parts.items()))
    known = walk, SourceDigest(walk.digest(walk.packages), parts, walk.packages, walk.texts)
    if isinstance(obj, (FunctionType, type)):
        if len(_KNOWN) >= _MOST:  # functions made in a loop
            _KNOWN.clear()
        # The walk keeps the object alive, so its id stays its own.
        _KNOWN[id(obj)] = known
    return known
