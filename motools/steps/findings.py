"""What a field that differs comes to: rows, samples, lines of source, how a model was made."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from motools.cache.explain import Difference, compare
from motools.digest import SHORT
from motools.steps.differences import compare_samples, in_rows, is_digest
from motools.steps.lineage import makers

if TYPE_CHECKING:
    from motools.artifacts import Dataset
    from motools.cache import Cache, Entry

PACKAGE: Final = "package "
"""Begins the field of a package whose version differs."""

_HUNK: Final = re.compile(r"^@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@$")


@dataclass(frozen=True)
class Change:
    """A function, class or constant whose source differs.

    Attributes:
        name: its module and qualified name.
        file: where it stands, or stood.
        line: its first line there; 0: not known.
        diff: the lines that differ, as a unified diff; empty where they are not known.
    """

    name: str
    file: str
    line: int
    diff: str

    def __str__(self) -> str:
        return f"{self.name} ({self.file}, line {self.line})" if self.line else self.name


@dataclass(frozen=True)
class Finding:
    """One field that differs, and what that comes to.

    Attributes:
        difference: the field, as it is in the two key materials.
        inside: what it stands for: rows, samples, versions, the recipe of a model.
        source: the definitions that differ, of a digest of source.
        note: why there is nothing more to show, or what else is to be known.
        maker: of an input, the entry that made the other one, whose recipe is inside.
    """

    difference: Difference
    inside: tuple[Finding, ...] = ()
    source: tuple[Change, ...] = ()
    note: str = ""
    maker: Entry | None = None


class Reader:
    """Reads from a cache what differences come to.

    Args:
        cache: where entries and texts are.
        given: a dataset that may not be in the cache yet.
    """

    def __init__(self, cache: Cache, given: Dataset | None = None) -> None:
        self._cache = cache
        self._given = given

    def read(self, difference: Difference) -> Finding:
        """One difference with what it comes to.

        Raises:
            CorruptDocumentError: a text is damaged.
        """
        found, wanted = difference.found, difference.wanted
        if not (is_digest(found) and is_digest(wanted)):
            return Finding(difference)
        if rows := tuple(in_rows(self._cache, difference, self._given)):
            return Finding(difference, tuple(map(Finding, rows)))
        finding = of_texts(self._cache, difference)
        if not finding.note:
            return finding
        makers = self._makers.get(found), self._makers.get(wanted)
        return self._of_makers(difference, *makers) if any(makers) else finding

    @cached_property
    def _makers(self) -> dict[str, Entry]:
        made = makers(self._cache.entries()).items()
        # An uploaded dataset is made from itself: its digest says nothing of how it was made.
        return {digest: e for digest, e in made if digest not in e.action["inputs"].values()}

    def _of_makers(
        self, difference: Difference, found: Entry | None, wanted: Entry | None
    ) -> Finding:
        """Two inputs that steps made, by how they were made."""
        if found is None or wanted is None:
            return Finding(difference, note=f"{_maker(found)} → {_maker(wanted)}")
        inner = tuple(map(self.read, compare(wanted.action, found.action)))
        return Finding(difference, inner, (), f"{_maker(found)} → {_maker(wanted)}", found)


def _maker(entry: Entry | None) -> str:
    return "what no entry made" if entry is None else f"{entry.kind} {entry.key[:SHORT]}"


def of_texts(cache: Cache, difference: Difference) -> Finding:
    """A difference between two digests, by what is kept of what they were made of.

    Raises:
        CorruptDocumentError: a text is damaged.
    """
    if not (is_digest(difference.found) and is_digest(difference.wanted)):
        return Finding(difference)
    found, wanted = cache.texts.read(difference.found), cache.texts.read(difference.wanted)
    if found is None or wanted is None:
        lost = [which for which, text in (("other", found), ("this", wanted)) if text is None]
        said = " and ".join(lost)
        return Finding(difference, note=f"nothing is kept of what the digest of {said} is made of")
    if "samples" in found and "samples" in wanted:
        inner = compare_samples(found["samples"], wanted["samples"])
        return Finding(difference, tuple(map(Finding, inner)))
    if "source" in found and "source" in wanted:
        return _of_source(difference, found["source"], wanted["source"])
    return Finding(difference)


def _of_source(difference: Difference, found: Any, wanted: Any) -> Finding:
    here, there = wanted["packages"], found["packages"]
    packages = tuple(
        Finding(Difference(f"{PACKAGE}{name}", here.get(name), there.get(name)))
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    )
    changes = tuple(_changes(found["parts"], wanted["parts"]))
    note = "" if packages or changes else "defaults, or values that it captured, differ"
    return Finding(difference, packages, changes, note)


def _changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Change]:
    only = found.keys() ^ wanted.keys()
    one_side = [{part["digest"] for n, part in s.items() if n in only} for s in (found, wanted)]
    renamed = set.intersection(*one_side)  # neither a name nor a file is part of a digest
    for name in sorted(found.keys() | wanted.keys()):
        here, there = wanted.get(name, {}), found.get(name, {})
        digests = {here.get("digest"), there.get("digest")}
        if len(digests) > 1 and not (name in only and digests & renamed):
            shown = here if here.get("lines") else there
            file, line = shown.get("file", ""), shown.get("line", 0)
            yield Change(name, file, line, _diff(name, there, here))


def _diff(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """A unified diff, with the numbers that the lines have in their files."""
    before, after = (str(part.get("lines", "")).splitlines() for part in (found, wanted))
    above = [max(0, part.get("line", 1) - 1) for part in (found, wanted)]

    def numbered(hunk: re.Match[str]) -> str:
        return f"@@ -{int(hunk[1]) + above[0]}{hunk[2]} +{int(hunk[3]) + above[1]}{hunk[4]} @@"

    titles = f"{name} (other)", f"{name} (this)"
    lines = difflib.unified_diff(before, after, *titles, lineterm="")
    return "\n".join(_HUNK.sub(numbered, line) for line in lines)
