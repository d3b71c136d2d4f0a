"""The one way from a step to its result, for every task."""

from __future__ import annotations

from typing import Any, TypeVar

from motools.cache import Action, Cache, Entry, RunContext
from motools.cache.current import Place, cache_at
from motools.errors import RejectedError
from motools.steps import alive
from motools.steps.options import RunOptions
from motools.steps.reasons import reason
from motools.steps.step import AsyncStep, Step
from motools.steps.wait import claim_when_free
from motools.stopping import stoppable
from motools.tasks.witness import Witness
from motools.upkeep.automatic import after_commit

R = TypeVar("R")


def perform(step: Step[R], cache: Place = None, *, refresh: bool = False) -> tuple[R, bool]:
    """The result of a step, from the cache or by running it, and whether it was a hit.

    Args:
        step: what is wanted.
        cache: where to look and to keep; the current one by default.
        refresh: run although there is an entry.
    """
    store = cache_at(cache)
    action = step.action(store)
    # Around all that it waits for: an interrupt between two waits ends it, too.
    with Witness(action, store) as witness, stoppable():
        if refresh:
            _say_stale(store, action, witness)

        def run(context: RunContext) -> Any:
            witness.miss(reason(step, action, store))
            return step.run(context)

        entry = store.get_or_run(
            action,
            run,
            refresh=refresh,
            report=witness.report,
            provenance=witness.provenance,
            timeout=_patience(step),
        )
        return _result(step, entry, witness, store)


async def perform_async(
    step: AsyncStep[R], cache: Place = None, *, refresh: bool = False
) -> tuple[R, bool]:
    """Like :func:`perform`; waits for other runners without blocking the event loop."""
    store = cache_at(cache)
    action = step.action(store)
    with Witness(action, store) as witness:
        if refresh:
            _say_stale(store, action, witness)
        claim = await claim_when_free(
            store,
            action,
            refresh=refresh,
            report=witness.report,
            provenance=witness.provenance,
        )
        if isinstance(claim, Entry):
            return _result(step, claim, witness, store)
        with claim:
            witness.miss(reason(step, action, store))
            value = await step.run(claim.context)
            # Not awaited: a cancellation half way would lose what was just paid for.
            entry = claim.commit(value)
        return _result(step, entry, witness, store)


def _patience(step: object) -> float | None:
    """Seconds to wait for another runner, for the steps that have options."""
    options = getattr(step, "options", None)
    return options.timeout if isinstance(options, RunOptions) else None


def _say_stale(store: Cache, action: Action, witness: Witness) -> None:
    try:
        [entry] = store.look_up([action])
    except RejectedError:
        return  # it said so when it was asked for; nobody needs to be told that it is old, too
    if entry is not None:
        witness.stale(entry)


def _result(
    step: Step[R] | AsyncStep[R], entry: Entry, witness: Witness, store: Cache
) -> tuple[R, bool]:
    if entry.hit and entry.remote is not None:
        entry = alive.is_there(store, entry)
    value = step.decode(entry)
    witness.done(entry)
    if not entry.hit:
        after_commit(store)
    return value, entry.hit
