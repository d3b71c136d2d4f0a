"""Why a step has to run: in which fields it differs from the nearest entry."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from motools.cache.explain import Difference, Neighbours
from motools.digest import SHORT
from motools.errors import MotoolsError
from motools.steps import function
from motools.steps.differences import in_rows
from motools.steps.findings import of_texts

if TYPE_CHECKING:
    from motools.cache import Action, Cache

_SHOWN: Final = 3
_MOST_BYTES: Final = 64 * 2**20
"""Larger datasets are not compared while a step waits to run; ``motools cache explain`` does."""


def reason(
    step: Any, action: Action, cache: Cache, neighbours: Neighbours | None = None
) -> str | None:
    """Why a step's action is a miss, in a sentence.

    None for calls of functions: finding the nearest of many takes longer than
    most of them; ``motools cache explain`` tells afterwards.

    Args:
        step: what is about to run.
        action: its own.
        cache: where it is a miss.
        neighbours: the entries of its kind, where many steps are asked about.
    """
    if action.kind == function.KIND:
        return None
    try:
        if neighbours is None and cache.index.get(action.key) is not None:
            return "a refresh was asked for"
        explanation = (neighbours or cache.newest.of(action.kind)).explain(action)
        if explanation.nearest is None:
            return f"the first {action.kind} in this cache"
        differences = _detailed(cache, explanation.differences, step)
    except MotoolsError as problem:
        return f"what differs from other entries cannot be told: {problem}"
    return f"differs from {explanation.nearest.key[:SHORT]} in {_listed(differences)}"


def _detailed(cache: Cache, differences: tuple[Difference, ...], step: Any) -> list[str]:
    given = getattr(step, "dataset", None)
    if given is not None:
        given = given.identify(cache.memo)
    detailed: list[str] = []
    for difference in differences:
        rows = in_rows(cache, difference, given, _MOST_BYTES)
        inside = [str(row) for row in itertools.islice(rows, _SHOWN + 1)]
        detailed += inside or _from_texts(cache, difference) or [str(difference)]
    return detailed


def _from_texts(cache: Cache, difference: Difference) -> list[str]:
    finding = of_texts(cache, difference)
    source = [f"the source of {change}" for change in finding.source]
    return [*source, *(str(one.difference) for one in finding.inside)]


def _listed(differences: list[str]) -> str:
    shown = "; ".join(differences[:_SHOWN])
    more = len(differences) - _SHOWN
    return f"{shown}; and more" if more > 0 else shown
