"""Why a piece of work is a hit or a miss, in full: ``motools cache explain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from motools.cache.explain import Difference, Neighbours, compare
from motools.steps.advice import advise
from motools.steps.findings import Finding, Reader
from motools.steps.subject import Subject

if TYPE_CHECKING:
    from motools.artifacts import Dataset
    from motools.cache import Cache, Entry

_NEAREST: Final = 3


@dataclass(frozen=True)
class Near:
    """An entry that an action was compared with.

    Attributes:
        entry: the entry.
        differences: the fields of the key material that differ.
    """

    entry: Entry
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Account:
    """Why an action is a hit or a miss.

    Attributes:
        subject: the action, and its entry if it has one.
        nearest: the other entries of its kind that differ in the fewest fields.
        findings: what differs from the first of these, and what that comes to.
        advice: what to do about it.
    """

    subject: Subject
    nearest: tuple[Near, ...]
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]


def account(
    cache: Cache, subject: Subject, other: Entry | None = None, given: Dataset | None = None
) -> Account:
    """Hold an action against the entries of a cache.

    Args:
        cache: where they are.
        subject: the action.
        other: the entry to compare with; by default the nearest other one.
        given: the action's dataset, which may not be in the cache yet.

    Raises:
        CorruptDocumentError: what was kept of a digest is damaged.
    """
    wanted = subject.material
    if other is not None:
        nearest = [Near(other, compare(wanted, other.action))]
    else:
        neighbours = Neighbours(cache.index, wanted["kind"], but=subject.key)
        nearest = [Near(*each) for each in neighbours.several(wanted, _NEAREST)]
    if not nearest:
        return Account(subject, (), (), ())
    reader = Reader(cache, given)
    findings = tuple(map(reader.read, nearest[0].differences))
    advice = advise(findings, nearest[0].entry)
    return Account(subject, tuple(nearest), findings, tuple(advice))
