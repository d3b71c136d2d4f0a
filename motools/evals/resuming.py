"""Going on with an evaluation that did not come to its end, inside a worker process.

Inspect flushes finished samples to its log every few samples. The log of an
evaluation that failed or was killed stays where it is; the next run of the same
evaluation hands it back to Inspect, which runs what is missing or failed.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.worker import Emit

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai._eval.task import PreviousTask

IDENTITY: Final = "motools"
"""Name of the metadata of a log that says which evaluation it is of."""

_UNREADABLE: Final = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def earlier(task: Task, logs: Path, identity: str, emit: Emit) -> tuple[PreviousTask | None, int]:
    """The attempt at an evaluation that came furthest, and how many of its samples are finished.

    That need not be the newest: one that goes on takes over samples one by one, and may be
    killed before it has all.

    Args:
        task: the task, made anew.
        logs: directory of the logs of attempts.
        identity: stands for all that decides the result.
        emit: told which log is taken up, and which are not because they are damaged.
    """
    from inspect_ai.log import list_eval_logs, read_eval_log

    found, most = None, 0
    for info in list_eval_logs(str(logs), recursive=False) if logs.is_dir() else ():
        name = Path(info.name).name
        if (damage := _damage(Path(info.name.removeprefix("file://")))) is not None:
            emit({"event": f"the log of an earlier attempt, {name}, is not used: {damage}"})
            continue
        log = read_eval_log(info, header_only=True)
        if (log.eval.metadata or {}).get(IDENTITY) != identity:
            continue
        if (finished := _finished(info)) > most:
            found, most = (log, info), finished
    if found is None:
        return None, 0
    emit({"event": f"going on with {most} samples of an earlier attempt"})
    return _previous(task, *found), most


def _previous(task: Task, log: Any, info: Any) -> PreviousTask:
    from inspect_ai._eval.loader import resolve_task_sandbox
    from inspect_ai._eval.task import PreviousTask

    return PreviousTask(
        id=log.eval.task_id,
        task=task,
        task_args={},
        model=None,
        model_roles=None,
        sandbox=resolve_task_sandbox(task, None),
        log=log,
        log_info=info,
    )


def _damage(log: Path) -> str | None:
    """What is wrong with the bytes of a log; None if nothing is. Every checksum is looked at."""
    try:
        with zipfile.ZipFile(log) as archive:
            broken = archive.testzip()
    except Exception as problem:
        if isinstance(problem, _UNREADABLE) or type(problem).__name__ == "ZstdError":
            return f"{type(problem).__name__}: {problem}"
        raise
    return f"{broken} is damaged" if broken else None


def _finished(info: Any) -> int:
    from inspect_ai.log import read_eval_log_sample_summaries

    return sum(one.error is None for one in read_eval_log_sample_summaries(info))
