"""What the cache saved in a flow run, as one table in Prefect's user interface.

Also which task run asked for which key, told to the cache when the flow ends.

Tasks of one flow run may be in other threads and other processes of the
machine, so each outcome is a line appended to a file that is named after the
flow run; when the flow ends, a hook of the flow turns the file into a table.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging.loggers import flow_run_logger
from prefect.settings import get_current_settings

from motools.cache.current import cache_at
from motools.steps.subject import link_task_runs

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

    from motools.cache import Entry

ARTIFACT: Final = "motools-cache"
"""The key under which Prefect keeps the tables."""

_registering = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What became of calls of one kind.

    Attributes:
        kind: of the entries: ``dataset``, ``model``, ``eval`` or ``function``.
        hit: whether they were there already.
        count: how many.
        seconds: that making them took, whoever did.
        cost: money that making them took; None: unknown.
    """

    kind: str
    hit: bool
    count: int
    seconds: float
    cost: float | None


@dataclass(frozen=True)
class Asked:
    """Which key a task run asked for, so that `motools cache explain` finds it by the run.

    Attributes:
        cache: the directory of the cache.
        task_run_id: Prefect's id of the run.
        task_run: its name.
        key: what it asked for.
    """

    cache: str
    task_run_id: str
    task_run: str
    key: str


def summed(entries: Iterable[Entry]) -> list[Outcome]:
    """What became of calls that came to these entries."""
    alike: dict[tuple[str, bool], list[Entry]] = {}
    for entry in entries:
        alike.setdefault((entry.kind, entry.hit), []).append(entry)
    return [
        Outcome(kind, hit, len(part), sum(each.duration for each in part), _cost(part))
        for (kind, hit), part in alike.items()
    ]


def record(flow_run_id: UUID, *facts: Outcome | Asked) -> None:
    """Note what became of calls of a flow run, or which key a task run asks for."""
    path = _path(flow_run_id)
    lines = b"".join(json.dumps(asdict(fact)).encode() + b"\n" for fact in facts)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, lines)  # one write of whole lines: appends do not mix
    finally:
        os.close(descriptor)


def watch(flow: Flow[Any, Any] | None) -> None:
    """Have the table written whenever a run of this flow ends."""
    if flow is None or write_cache_table in flow.on_completion_hooks:
        return
    with _registering:
        for hooks in (
            flow.on_completion_hooks,
            flow.on_failure_hooks,
            flow.on_crashed_hooks,
            flow.on_cancellation_hooks,
        ):
            if write_cache_table not in hooks:
                hooks.append(write_cache_table)


async def write_cache_table(
    flow: Flow[Any, Any],
    flow_run: FlowRun,
    state: State[Any],  # noqa: ARG001 (a hook's parameters have these names)
) -> None:
    """Hook of a flow: say what hit and what ran, and publish the table of it."""
    facts = _take(flow_run.id)
    _link([fact for fact in facts if isinstance(fact, Asked)])
    outcomes = [fact for fact in facts if isinstance(fact, Outcome)]
    if not outcomes:
        return
    flow_run_logger(flow_run, flow).info("motools: %s", _summary(outcomes))
    async with get_client() as client:
        await client.create_artifact(
            ArtifactCreate(
                key=ARTIFACT,
                type="table",
                description=_summary(outcomes),
                data=json.dumps(_rows(outcomes)),
                flow_run_id=flow_run.id,
            )
        )


def _link(asked: list[Asked]) -> None:
    """Have task runs found by their ids and names, in the caches that they asked."""
    for cache in {each.cache for each in asked}:
        runs = [(a.task_run_id, a.task_run, a.key) for a in asked if a.cache == cache]
        link_task_runs(cache_at(cache), runs)


def _take(flow_run_id: UUID) -> list[Outcome | Asked]:
    path = _path(flow_run_id)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    path.unlink(missing_ok=True)
    facts = map(json.loads, lines)
    return [Asked(**fact) if "key" in fact else Outcome(**fact) for fact in facts]


def _rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    kinds = sorted({outcome.kind for outcome in outcomes})
    parts = [(kind, [o for o in outcomes if o.kind == kind]) for kind in kinds]
    return [_row(kind, part) for kind, part in [*parts, ("all", outcomes)]]


def _row(kind: str, outcomes: list[Outcome]) -> dict[str, Any]:
    hits = [outcome for outcome in outcomes if outcome.hit]
    ran = [outcome for outcome in outcomes if not outcome.hit]
    return {
        "kind": kind,
        "hit": sum(outcome.count for outcome in hits),
        "ran": sum(outcome.count for outcome in ran),
        "seconds saved": round(sum(outcome.seconds for outcome in hits), 3),
        "seconds spent": round(sum(outcome.seconds for outcome in ran), 3),
        "cost saved": _cost(hits),
        "cost spent": _cost(ran),
    }


def _cost(parts: Sequence[Outcome | Entry]) -> float | None:
    known = [part.cost for part in parts if part.cost is not None]
    return round(sum(known), 6) if known else None


def _summary(outcomes: list[Outcome]) -> str:
    row = _row("all", outcomes)
    money = f" and {row['cost saved']:g} in money" if row["cost saved"] else ""
    return f"{row['hit']} cached, {row['ran']} ran, saved {row['seconds saved']:.1f} s{money}"


def _path(flow_run_id: UUID) -> Path:
    return get_current_settings().home / "motools" / f"{flow_run_id}.jsonl"
