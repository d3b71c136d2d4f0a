"""Automatic upkeep: the budget in the settings, kept after a commit and at most once an hour."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from motools.cache.cache import Cache
from motools.errors import MotoolsError

EVERY: Final = 3_600.0
"""Seconds."""

_MEMO: Final = ("upkeep", "pruned", "")
_log: Final = logging.getLogger(__name__)
_asked: dict[Path, float] = {}


def after_commit(cache: Cache) -> None:
    """Prune if the settings have a budget and nobody has for an hour.

    A prune that fails is told in the log: what was committed is none the worse for it.
    """
    if cache.settings.budget and _is_time(cache):
        try:
            _keep(cache)
        except MotoolsError as problem:
            _log.warning("the budget of %s was not kept: %s", cache.root, problem)
        except Exception:  # noqa: BLE001 - the caller's result is committed, and is handed over
            _log.exception("the budget of %s was not kept", cache.root)


def _is_time(cache: Cache) -> bool:
    """Asked after every commit, so the tables are asked once an hour."""
    now = time.monotonic()
    if now - _asked.get(cache.root, -EVERY) < EVERY:
        return False
    _asked[cache.root] = now
    return True


def _keep(cache: Cache) -> None:
    from motools.upkeep import prune
    from motools.upkeep.listing import listing
    from motools.upkeep.policy import Policy

    policy = Policy.of_settings(cache.settings.budget)
    last = cache.memo.recall(*_MEMO)
    if last is not None and 0 <= time.time() - last < EVERY:
        return
    cache.memo.record(*_MEMO, time.time())
    pruning = prune.plan(cache, policy)
    if pruning.empty:
        return
    going = tuple(listing(pruning))
    removed = prune.execute(cache, pruning)
    for each in going:
        _log.info("to keep the budget of %s: %s", cache.root, each)
    _log.info(
        "released the files of %d entries of %s to keep its budget, %d bytes in all",
        removed.entries,
        cache.root,
        removed.bytes_freed,
    )
