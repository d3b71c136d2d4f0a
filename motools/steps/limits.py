"""Limits: how many steps of a backend run at once, wherever they are run.

A step takes its slot when it has something to run, so a hit waits for nobody.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from motools.cache.slots import Slot
from motools.configs import unknown_name
from motools.errors import SettingsError
from motools.steps.wait import until
from motools.training import registry

if TYPE_CHECKING:
    from motools.cache import RunContext

EVALUATIONS: Final = "inspect"
"""The name under which evaluations are limited."""


@contextmanager
def slot(context: RunContext, backend: str) -> Iterator[tuple[int, ...]]:
    """Hold one of a backend's slots during the block; wait for one if it has a limit.

    Args:
        context: of the run. Time spent waiting is not counted as the run's.
        backend: its name.

    Yields:
        Descriptors that a worker must inherit, so that the slot is its own, too.

    Raises:
        SettingsError: a limit is of no backend there is, or is less than 1.
        CacheUnavailableError: it cannot be known whether a slot is free.
    """
    settings = context.cache.settings
    limits = settings.limits
    _check(tuple(limits.items()), tuple(settings.backends))
    if backend not in limits:
        yield ()
        return
    taken = _wait(context, backend, limits[backend])
    try:
        yield (taken.descriptor,)
    finally:
        taken.release()


def _wait(context: RunContext, backend: str, limit: int) -> Slot:
    found: Slot | None = None
    said = False

    def free() -> bool:
        nonlocal found, said
        found = Slot.try_take(context.cache, backend, limit, context.send_report)
        if found is None and not said:
            context.report(f"waiting for one of the {limit} slots of {backend}")
            said = True
        return found is not None

    with context.waiting():
        until(free)
    assert found is not None
    return found


@functools.cache
def _check(limits: tuple[tuple[str, int], ...], named: tuple[str, ...]) -> None:
    for name, limit in limits:
        known = [*registry.names(), *named, EVALUATIONS]
        if name not in known:
            raise SettingsError(unknown_name(f"limits: {name}", name, known))
        if limit < 1:
            raise SettingsError(f"limits: {name}: {limit} is not at least 1")
