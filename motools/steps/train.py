"""The train step: a model from a dataset, a base model and a config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import Dataset, Model
from motools.cache.action import Action
from motools.digest import SHORT, canonical_json, hash_bytes
from motools.errors import DatasetError, MotoolsError
from motools.steps.limits import slot
from motools.steps.options import RunOptions
from motools.steps.progress import Progress
from motools.steps.upload import FILE, Upload
from motools.steps.wait import until
from motools.training import registry
from motools.training.config import FineTuneConfig
from motools.training.protocol import BaseModel, TrainingJob

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

KIND: Final = "model"


@dataclass(frozen=True)
class Train:
    """Fine-tune a model.

    Attributes:
        dataset: what to learn from; uploaded when there is something to train.
        config: what to do.
        backend: who does it, by name.
        options: how to run.
        replicate: which of several independent repeats.
        base: the base model, if it was identified just now for another step.
    """

    dataset: Dataset
    config: FineTuneConfig
    backend: str = "local"
    options: RunOptions = field(default_factory=RunOptions)
    replicate: int = 0
    base: BaseModel | None = field(default=None, compare=False, repr=False)

    def action(self, cache: Cache) -> Action:
        """The dataset, the base model and every value that decides the result.

        Raises:
            DatasetError: a row is not JSON.
            BackendError: the backend is unknown or cannot honour a field.
        """
        return self._action(cache, self.base or self.identify(cache))

    def _action(self, cache: Cache, base: BaseModel) -> Action:
        backend = registry.backend(self.backend)
        return Action(
            kind=KIND,
            inputs={
                "dataset": str(self.dataset.identify(cache.memo).digest),
                "base_model": base.digest,
            },
            config=backend.resolve(self.config, base),
            backend=backend.identity(),
            replicate=self.replicate,
        )

    def run(self, context: RunContext) -> Any:
        """Upload the dataset if it is not there yet, and train."""
        cache, upload = context.cache, Upload(self.dataset)
        dataset = cache.get_or_run(
            upload.action(cache),
            upload.run,
            report=context.send_report,
            timeout=self.options.timeout,
        )
        base = self.identify(cache)
        if self._action(cache, base).key != context.key:
            raise MotoolsError(
                f"the dataset or base model of {context.key[:12]} changed since it was planned: "
                "run it again"
            )
        context.label(
            model_id=context.key,
            dataset_hash=str(context.action.inputs["dataset"]),
            base_model=self.config.base_model,
            backend=self.backend,
        )

        def wait(holds: Callable[[], bool]) -> None:
            with context.waiting():
                until(holds)

        job = TrainingJob(
            dataset=dataset.file(FILE, hashed=True),
            config=dict(context.action.config),
            base=base.spec,
            directory=context.directory,
            scratch=context.scratch,
            report=Progress(context, f"fine-tuning {self.config.base_model}"),
            wait=wait,
            lock_fds=context.lock_fds,
            save_seconds=self.options.save_seconds,
            name=context.key[:SHORT],
            devices=self.options.devices,
        )
        try:
            with slot(context, self.backend) as held:
                job = replace(job, lock_fds=(*job.lock_fds, *held))
                result = registry.backend(self.backend).train(job)
        except DatasetError as problem:
            raise self._placed(problem) from problem
        context.provenance.update(
            result.provenance,
            **base.provenance,
            config=self.config.changed(),
            base_model=self.config.base_model,
            tags=list(self.options.tags),
        )
        # Times are not part of the result: the same work again has the same value.
        metrics = dict(result.metrics)
        context.provenance["seconds"] = metrics.pop("seconds", None)
        return metrics

    def decode(self, entry: Entry) -> Model:
        """The model, wherever its weights are."""
        return Model(
            base_model=self.config.base_model,
            key=entry.key,
            digest=model_digest(entry),
            remote=entry.remote,
            cache=str(entry.root),
        )

    def _placed(self, problem: DatasetError) -> DatasetError:
        """An error in a row, with the place of the row in the user's own file."""
        if problem.row is None:
            return problem
        said = str(problem).removeprefix(f"row {problem.row}")
        return DatasetError(f"{self.dataset.place_of(problem.row)}{said}")

    def identify(self, cache: Cache) -> BaseModel:
        """The base model as it is now.

        Raises:
            BackendError: it cannot be found or pinned.
        """
        return registry.backend(self.backend).identify(self.config.base_model, cache.memo)


def model_digest(entry: Entry) -> str:
    """What stands for a trained model in a key: its bytes and its base's, not how it was made."""
    if entry.remote is not None:
        return entry.remote.digest
    parts = {"base_model": entry.action["inputs"]["base_model"], "files": entry.tree}
    config = entry.action["config"]
    if config.get("quantization"):
        # The adapter does not say it, but it is put on a base that is quantised.
        parts["quantization"] = {name: config[name] for name in ("quantization", "dtype")}
    return hash_bytes(canonical_json(parts)).hex
