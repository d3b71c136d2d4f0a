"""Reading Inspect's logs, also where an event loop is running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

P = ParamSpec("P")
T = TypeVar("T")

_FORMAT: Final = "eval"
"""Said, because blobs have no endings to tell it by."""


def read_log(path: Path) -> EvalLog:
    """The log, with its samples."""
    from inspect_ai.log import read_eval_log

    return _outside_loop(read_eval_log, str(path), format=_FORMAT)


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """What was asked and answered, one sample in memory at a time.

    Each has ``id``, ``epoch``, ``input``, ``target``, ``output`` and ``scores``.
    """
    from inspect_ai.log import read_eval_log_sample, read_eval_log_sample_summaries

    for summary in _outside_loop(read_eval_log_sample_summaries, str(path), format=_FORMAT):
        yield _plain(
            _outside_loop(
                read_eval_log_sample, str(path), summary.id, summary.epoch, format=_FORMAT
            )
        )


def _plain(sample: EvalSample) -> dict[str, Any]:
    asked = sample.input
    if not isinstance(asked, str):
        asked = "\n\n".join(f"{message.role}: {message.text}" for message in asked)
    return {
        "id": sample.id,
        "epoch": sample.epoch,
        "input": asked,
        "target": sample.target,
        "output": sample.output.completion,
        "scores": {name: score.value for name, score in (sample.scores or {}).items()},
    }


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
