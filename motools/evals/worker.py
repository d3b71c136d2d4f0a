"""The worker that runs one evaluation: ``python -m motools.evals.worker``.

Inspect runs one evaluation in a process, so each gets its own.
"""

from __future__ import annotations

import inspect
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import EvaluationError
from motools.evals.connection import Connection
from motools.evals.identity import local_name
from motools.evals.reached import addresses
from motools.evals.resuming import IDENTITY, earlier
from motools.evals.runner import LOG
from motools.worker import Emit, serve

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai._eval.task import PreviousTask
    from inspect_ai.log import EvalLog, EvalScore
    from inspect_ai.model import Model

_FLUSHES: Final = 100
"""Of finished samples to the log. Inspect's 20 would let a kill cost a twentieth of a large one."""

_SETTINGS: Final = ("temperature", "max_tokens", "top_p", "seed", "stop_seqs")
_RETRIES: Final = 5
"""Of a request to an API, with growing pauses: two minutes. Inspect's default is for ever."""

_CENTRES: Final = ("accuracy", "mean")


def main(request: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Run the evaluation and return its scores.

    Args:
        request: ``task`` (what made the identity), ``material`` (the identity
            as planned), ``identity`` (of the whole evaluation, the model included),
            ``config``, ``models``, ``local_roles``, ``directory`` and ``scratch``.
        emit: receives ``progress`` events: ``done`` of ``total`` samples.

    Raises:
        EvaluationError: the task is no longer as planned, a sample failed, or
            samples are missing; or a model is reached otherwise than was planned.
    """
    scratch = Path(request["scratch"])
    # A cache of answers that Inspect kept for another model must never be read.
    os.environ["INSPECT_CACHE_DIR"] = str(scratch / "cache")
    sys.dont_write_bytecode = True

    models = request["models"]
    local = _Local(models)
    from motools.evals.loading import load_task, prepare

    prepare()
    from inspect_ai.model import get_model

    task = load_task(request["task"]["task"], request["task"]["task_args"])
    material = request["material"]
    _require_same(task, request)
    local.offer(request["replicate"])
    _read_variables([models["evaluated"], *material.get("models", [])])
    model = get_model(models["evaluated"], memoize=False, **models["args"])
    total = material["samples"]["count"] * material["epochs"]
    logs = scratch / "logs"
    previous, finished = earlier(task, logs, request["identity"], emit)
    _report_progress(emit, total, finished)
    started = time.monotonic()
    log = _evaluate(previous or task, model, request, logs, _options(task, material))
    seconds = time.monotonic() - started
    _require_complete(log, total)
    _require_pinned_models(log, {str(model), *material.get("models", [])})
    # A copy: if the result cannot be committed, the next attempt takes all samples from here.
    shutil.copyfile(_location(log), Path(request["directory"]) / LOG)
    scores, stderr = _scores(log)
    _tell_unscored(log, material["samples"]["count"], emit)
    return {
        "scores": scores,
        "stderr": stderr,
        "samples": total,
        "usage": _usage(log),
        "seconds": seconds,
    }


def _require_same(task: Task, request: dict[str, Any]) -> None:
    from motools.digest import canonical_json
    from motools.evals.config import EvalConfig
    from motools.evals.identity import overlaid
    from motools.evals.material import describe

    planned = request["material"]
    config = EvalConfig.from_mapping(request["config"])
    found = describe(task, request["task"]).material
    material = overlaid(found, config, request["local_roles"])
    if canonical_json(material) == canonical_json(planned):
        return
    names = sorted(
        name for name in {*material, *planned} if material.get(name) != planned.get(name)
    )
    raise EvaluationError(
        f"task {task.name} changed between planning and running ({', '.join(names)}): nothing "
        "was run; run again, and if it stays so, give its random choices a seed"
    )


def _read_variables(names: Sequence[str]) -> None:
    """Read the ``.env`` that Inspect would read later, for keys of accounts.

    Raises:
        EvaluationError: a model would be asked at another address than the key says.
    """
    from inspect_ai._util.dotenv import init_dotenv

    planned = addresses(names)
    init_dotenv()
    found = addresses(names)
    for name in names:
        if planned.get(name) != found.get(name):
            raise EvaluationError(
                f"{name!r}: a file .env says that it is asked at {found.get(name)}, which is not "
                "in the key: nothing was run; put the address into the environment instead"
            )


class _Local:
    """The models of this machine. They are loaded while this process imports Inspect."""

    def __init__(self, models: dict[str, Any]) -> None:
        self._specs = models["local"]
        if self._specs:
            self._connection = Connection(models["connection"])
            self._loading = [self._connection.load(spec) for spec in self._specs.values()]

    def offer(self, replicate: int) -> None:
        """Let Inspect find them by their names, for one of several independent repeats."""
        if self._specs:
            from motools.evals.provider import offer

            for loaded in self._loading:
                loaded()
            for name, spec in self._specs.items():
                offer(self._connection, name, spec["digest"], replicate)


def _report_progress(emit: Emit, total: int, finished: int) -> None:
    from inspect_ai.hooks import Hooks, SampleEnd, hooks

    @hooks(name="motools_progress", description="Tells the holder how far the evaluation is.")
    class Progress(Hooks):
        done = finished

        async def on_sample_end(self, _: SampleEnd) -> None:
            self.done += 1
            emit({"event": "progress", "done": self.done, "total": total})

    emit({"event": "progress", "done": finished, "total": total})


def _options(task: Task, material: dict[str, Any]) -> dict[str, Any]:
    """Settings of Inspect's that the task or the user decide, or this version of it has."""
    from inspect_ai import eval as inspect_eval

    generation = material["generation"]
    options: dict[str, Any] = {name: generation[name] for name in _SETTINGS if name in generation}
    if task.config.max_retries is None:
        options["max_retries"] = _RETRIES
    if "ctl_server" in inspect.signature(inspect_eval).parameters:
        options["ctl_server"] = False
    return options


def _evaluate(
    task: Task | PreviousTask,
    model: Model,
    request: dict[str, Any],
    logs: Path,
    options: dict[str, Any],
) -> EvalLog:
    from inspect_ai import eval as inspect_eval

    selection, material = request["task"], request["material"]
    (log,) = inspect_eval(
        task,
        model=model,
        model_roles=_roles(request) or None,
        limit=selection["limit"],
        sample_id=selection["sample_ids"],
        epochs=material["epochs"],
        fail_on_error=material["fail_on_error"],
        continue_on_fail=False,
        score_on_error=False,
        retry_on_error=0,
        cache=False,
        display="none",
        log_dir=str(logs),
        log_format="eval",
        log_buffer=material["samples"]["count"] * material["epochs"] // _FLUSHES or None,
        log_level="warning",
        metadata={IDENTITY: request["identity"]},
        **options,
    )
    return log


def _roles(request: dict[str, Any]) -> dict[str, str]:
    local = {role: local_name(digest) for role, digest in request["local_roles"].items()}
    return {**request["config"]["roles"], **local}


def _require_complete(log: EvalLog, total: int) -> None:
    from inspect_ai.log import read_eval_log_sample_summaries

    failed = [one for one in read_eval_log_sample_summaries(log.location) if one.error]
    if failed:
        raise EvaluationError(
            f"{len(failed)} of {total} samples failed; sample {failed[0].id!r}: {failed[0].error} "
            f"({_where(log, failed[0])}); Inspect's log: {_location(log)}"
        )
    if log.status != "success" or log.results is None:
        message = log.error.message if log.error else "no results"
        raise EvaluationError(f"ended as {log.status}: {message}; Inspect's log: {_location(log)}")
    completed = log.results.completed_samples
    if completed != total or log.results.total_samples != total:
        raise EvaluationError(
            f"only {completed} of {total} samples were completed; Inspect's log: {_location(log)}"
        )


def _where(log: EvalLog, summary: Any) -> str:
    """The last line of the traceback that names a place in code."""
    from inspect_ai.log import read_eval_log_sample

    sample = read_eval_log_sample(log.location, summary.id, summary.epoch)
    lines = sample.error.traceback.splitlines() if sample.error else []
    places = [line.strip() for line in lines if line.strip().startswith("File ")]
    return places[-1] if places else "no traceback"


def _require_pinned_models(log: EvalLog, pinned: set[str]) -> None:
    used = set(log.stats.model_usage)
    if others := sorted(used - pinned):
        raise EvaluationError(
            f"the task used the model {others[0]}, which is not part of its identity, so the "
            "result is not kept; give it to the task as a model role or to the scorer as `model=`"
        )


def _scores(log: EvalLog) -> tuple[dict[str, float | None], dict[str, float | None]]:
    assert log.results is not None
    scores: dict[str, float | None] = {}
    errors: dict[str, float | None] = {}
    for score in log.results.scores:
        name = _name(score, log.results.scores)
        centre = next((one for one in _CENTRES if one in score.metrics), None)
        for label, metric in score.metrics.items():
            value = metric.value if math.isfinite(metric.value) else None
            if label == "stderr" and centre:
                errors[f"{name}/{centre}"] = value
            else:
                scores[f"{name}/{label}"] = value
    return scores, errors


def _name(score: EvalScore, others: Sequence[EvalScore]) -> str:
    """What a score is called: by its scorer and reducer, too, where others have its name."""
    alike = [one for one in others if one.name == score.name]
    name = score.name
    if len({one.scorer for one in alike}) > 1:  # scorers whose values have names of their own
        name = f"{score.scorer}.{name}"
    if len({one.reducer for one in alike}) > 1:
        name = f"{name}[{score.reducer}]"
    return name


def _tell_unscored(log: EvalLog, samples: int, emit: Emit) -> None:
    """Say which metrics are of fewer samples than ran: scorers may leave some unscored."""
    assert log.results is not None
    for score in log.results.scores:
        scored = score.scored_samples
        if scored is not None and scored < samples:
            name = _name(score, log.results.scores)
            emit({"event": f"{name}: {samples - scored} of {samples} samples have no score"})


def _usage(log: EvalLog) -> dict[str, dict[str, int]]:
    return {
        model: {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        for model, usage in log.stats.model_usage.items()
    }


def _location(log: EvalLog) -> str:
    return log.location.removeprefix("file://")


if __name__ == "__main__":
    serve(main)
