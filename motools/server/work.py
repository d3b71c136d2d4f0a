"""What is done for a job: reading its file, training, and naming the result."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from motools.artifacts import Dataset
from motools.cache import Cache, Entry
from motools.cache.store import unavailable
from motools.errors import CacheUnavailableError, DatasetError
from motools.server import orders
from motools.server.errors import RequestError
from motools.server.files import RESULTS, File, Files
from motools.server.job import FAILED, WAITING, Event, Job
from motools.server.jobs import Jobs
from motools.server.models import Models, named
from motools.steps.train import Train
from motools.steps.upload import Upload
from motools.training.rows import check_rows
from motools.upkeep.automatic import after_commit

_log: Final = logging.getLogger(__name__)

_EVENTS: Final = 200
"""About how many steps of a training have an event."""

_METRICS: Final = {"step": "step", "loss": "train_loss", "learning_rate": "learning_rate"}
"""Fields of a training's reports, and OpenAI's names of them."""


@dataclass(frozen=True)
class Work:
    """Does what jobs order.

    Attributes:
        cache: where results are kept.
        files: of the callers.
        jobs: as recorded.
        models: by their names.
        save_seconds: between two checkpoints of a training.
    """

    cache: Cache
    files: Files
    jobs: Jobs
    models: Models
    save_seconds: float

    def look_up(self, job: Job) -> Entry | None:
        """What the cache has for a job; None also where the files were released: it is for use.

        Raises:
            DatasetError: its file is not one of rows.
            RequestError: the client planned another training than this comes to.
        """
        with self._rows(job) as step:
            entry = self.cache.look_up([step.action(self.cache)])[0]
        return None if entry is None or entry.released else entry

    def validate(self, job: Job) -> str:
        """Read every row of a job's file, and return the key of its training.

        Raises:
            DatasetError: a row is wrong; the message says in which line.
        """
        with (
            self._rows(job) as step,
            unavailable("cannot read the file"),
            tempfile.TemporaryDirectory(dir=self.files.uploads) as place,
        ):
            canonical = Path(place) / "dataset.jsonl"
            step.dataset.write(canonical)
            check_rows(canonical, step.config.method)
            return step.action(self.cache).key

    def train(self, job: Job) -> Entry:
        """The training of a job, done now unless the cache has it.

        Raises:
            DatasetError: a row cannot be trained on.
            StoppedError: the job was paused or cancelled, or the server ends.
        """
        with self._rows(job) as step:
            self._made(Upload(step.dataset))
            return self._made(
                step,
                report=_Reporter(self.jobs, job),
                provenance={"server": {"job": job.id, "account": job.account}},
            )

    def _made(self, step: Train | Upload, **told: Any) -> Entry:
        """What a step comes to, made again where its files were released: they are needed."""
        action = step.action(self.cache)
        kept = self.cache.look_up([action])[0]
        refresh = kept is not None and kept.released
        entry = self.cache.get_or_run(action, step.run, refresh=refresh, **told)
        if not entry.hit:
            after_commit(self.cache)
        return entry

    def succeed(self, job: Job, entry: Entry, *, hit: bool) -> None:
        """Record that a job has succeeded.

        Args:
            job: which.
            entry: that holds its model.
            hit: whether nothing was trained for this job.
        """
        message = "The job has successfully completed"
        if hit:
            message += ": the cache had the model, so nothing was trained"
        results, moved = self._results(job, entry), False
        try:
            moved = self.jobs.succeed(
                job,
                named(job.account, job.base_model, job.id, job.suffix, entry),
                results,
                Event(message),
                key=entry.key,
                hit=hit,
                trained_tokens=entry.value.get("tokens"),
            )
        finally:
            if not moved:  # it was paused or cancelled meanwhile, or the database is away
                self.files.discard(results)

    def fail(self, job: Job, message: str, code: str, param: str | None = None) -> None:
        """Record that a job has failed."""
        error = {"code": code, "message": message, "param": param}
        event = Event(f"The job failed: {message}", level="error")
        self.jobs.move(job.id, WAITING, FAILED, event, error=json.dumps(error))

    @contextmanager
    def _rows(self, job: Job) -> Iterator[Train]:
        """The step of a job. What is wrong with its file is said as its owner knows the file.

        Raises:
            RequestError: the client planned another training than this comes to.
        """
        file = self.files.get(job.account, job.training_file, "training_file")
        path = str(self.files.path(file))
        base = self.models.base(job.base_model)
        step = orders.step(Dataset(path=path), job.config, base, job.replicate, self.save_seconds)
        try:
            if job.expected_key is not None:
                check_expected(job.expected_key, step.action(self.cache).key)
            yield step
        except DatasetError as problem:
            said = str(problem)
            if problem.row is not None and said.startswith(f"row {problem.row}"):
                place = step.dataset.place_of(problem.row)
                said = place + said.removeprefix(f"row {problem.row}")
            raise DatasetError(said.replace(path, file.filename)) from problem

    def _results(self, job: Job, entry: Entry) -> File:
        """A file with the losses, as OpenAI has one for each job."""
        losses = "".join(f"{step},{loss!r}\n" for step, loss in entry.value.get("loss_curve", []))
        data = f"step,train_loss\n{losses}".encode()
        return self.files.make(job.account, "step_metrics.csv", RESULTS, data)


class _Reporter:
    """Records what a training reports as events of its job, not every step of a long one."""

    def __init__(self, records: Jobs, job: Job) -> None:
        self._records = records
        self._job = job
        self._said = 0

    def __call__(self, message: str, fields: Mapping[str, Any]) -> None:
        if "loss" in fields:
            step, steps = fields["step"], fields["steps"]
            if step != steps and step - self._said < steps / _EVENTS:
                return
            self._said = step
        try:
            self._records.tell(self._job.id, _event(message, fields))
        except CacheUnavailableError as problem:  # a training outlives what is said of it
            _log.warning("%s: %s is not recorded: %s", self._job.id, message, problem)


def check_expected(expected: str, key: str) -> None:
    """Refuse to train something else than the client planned.

    Args:
        expected: the key that it planned.
        key: what its order comes to here.

    Raises:
        RequestError: they differ.
    """
    if key != expected:
        raise RequestError(
            f"this server plans key {key[:12]} for this order, the client {expected[:12]}: the "
            "base model, the rows, the config or the recipe is another one here. Nothing was "
            "started; resolve the config again (POST /v1/motools/resolve)",
            status=409,
            param="motools.expect.key",
            code="recipe_changed",
        )


def _event(message: str, fields: Mapping[str, Any]) -> Event:
    """What a training reports, as a job's event."""
    if "loss" not in fields:
        return Event(message)
    data = {theirs: fields[ours] for ours, theirs in _METRICS.items() if ours in fields}
    text = f"Step {fields['step']}/{fields['steps']}: training loss={fields['loss']:.2f}"
    return Event(text, type="metrics", data={**data, "total_steps": fields["steps"]})
