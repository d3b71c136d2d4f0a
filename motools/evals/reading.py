"""Reading Inspect's logs, also where an event loop is running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample, EvalSampleSummary
    from inspect_ai.model import ChatMessage

P = ParamSpec("P")
T = TypeVar("T")

_FORMAT: Final = "eval"
"""Said, because blobs have no endings to tell it by."""


def read_log(path: Path) -> EvalLog:
    """The log, with its samples."""
    from inspect_ai.log import read_eval_log

    return _outside_loop(read_eval_log, str(path), format=_FORMAT)


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """What was asked and answered, one sample in memory at a time, in the task's order.

    Each has ``id``, ``epoch``, ``input``, ``target``, ``output`` and ``scores``.
    """
    from inspect_ai.log import read_eval_log_sample

    for summary in _summaries(path):
        yield _plain(
            _outside_loop(
                read_eval_log_sample, str(path), summary.id, summary.epoch, format=_FORMAT
            )
        )


@dataclass(frozen=True)
class ScoredSample:
    """What a sample was and how it was scored.

    Attributes:
        id: the sample's.
        epoch: from 1.
        input: what was asked, as Inspect's summary has it: without images, long texts cut.
        target: what was wanted, likewise.
        scores: scorer to value.
    """

    id: int | str
    epoch: int
    input: str
    target: str | list[str]
    scores: Mapping[str, Any]


def read_scores(path: Path) -> Iterator[ScoredSample]:
    """How every sample was scored, from the summaries alone: quick for large logs."""
    for summary in _summaries(path):
        scores = {name: score.value for name, score in (summary.scores or {}).items()}
        yield ScoredSample(summary.id, summary.epoch, _text(summary.input), summary.target, scores)


def _summaries(path: Path) -> list[EvalSampleSummary]:
    """Epoch by epoch in the order of the task's dataset; the log has them as they ended."""
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    header = _outside_loop(read_eval_log, str(path), header_only=True, format=_FORMAT)
    order = {name: number for number, name in enumerate(header.eval.dataset.sample_ids or [])}
    found = _outside_loop(read_eval_log_sample_summaries, str(path), format=_FORMAT)
    return sorted(found, key=lambda one: (one.epoch, order.get(one.id, len(order))))


def _plain(sample: EvalSample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "epoch": sample.epoch,
        "input": _text(sample.input),
        "target": sample.target,
        "output": sample.output.completion,
        "scores": {name: score.value for name, score in (sample.scores or {}).items()},
    }


def _text(asked: str | list[ChatMessage]) -> str:
    if isinstance(asked, str):
        return asked
    return "\n\n".join(f"{message.role}: {message.text}" for message in asked)


def _outside_loop(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of Inspect's that starts an event loop, where one may be running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return read(*args, **kwargs)
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(read(*args, **kwargs))
        except BaseException as problem:  # noqa: BLE001  (raised by result() below)
            outcome.set_exception(problem)

    threading.Thread(target=work).start()
    return outcome.result()
