"""The train step: a model from a dataset, a base model and a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import Dataset, Model
from motools.cache.action import Action
from motools.digest import SHORT, Canonical, canonical_json, hash_bytes
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
class Resolved:
    """The part of an action that trainings share which differ in dataset and replicate alone.

    Attributes:
        base_model: digest of the base model.
        config: every value that decides the result.
        backend: who does it, as it stands in a key.
    """

    base_model: str
    config: Canonical
    backend: Canonical


@dataclass(frozen=True)
class Train:
    """Fine-tune a model.

    Attributes:
        dataset: what to learn from; uploaded when there is something to train.
        config: what to do.
        backend: who does it, by name.
        options: how to run.
        replicate: which of several independent repeats.
        resolved: what the config comes to, if that was found out just now for another step.
    """

    dataset: Dataset
    config: FineTuneConfig
    backend: str = "local"
    options: RunOptions = field(default_factory=RunOptions)
    replicate: int = 0
    resolved: Resolved | None = field(default=None, compare=False, repr=False)

    def action(self, cache: Cache) -> Action:
        """The dataset, the base model and every value that decides the result.

        Raises:
            DatasetError: a row is not JSON.
            BackendError: the backend is unknown or cannot honour a field.
        """
        return self._action(cache, self.resolved or self.resolve(self.identify(cache)))

    def _action(self, cache: Cache, resolved: Resolved) -> Action:
        return Action(
            kind=KIND,
            inputs={
                "dataset": str(self.dataset.identify(cache.memo).digest),
                "base_model": resolved.base_model,
            },
            config=resolved.config,
            backend=resolved.backend,
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
        if self._action(cache, self.resolve(base)).key != context.key:
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
            digest=model_digest(entry, self.resolved),
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

    def resolve(self, base: BaseModel) -> Resolved:
        """What the config comes to, on a base model.

        Raises:
            BackendError: the backend is unknown or cannot honour a field.
        """
        backend = registry.backend(self.backend)
        return Resolved(
            base.digest,
            Canonical(backend.resolve(self.config, base)),
            Canonical(backend.identity()),
        )


def model_digest(entry: Entry, resolved: Resolved | None = None) -> str:
    """What stands for a trained model in a key: its bytes and its base's, not how it was made.

    Args:
        entry: of the training.
        resolved: the part of its action that is read here, where it is at hand.
    """
    if entry.remote is not None:
        return entry.remote.digest
    config: Mapping[str, Any]
    if resolved is not None:
        base_model, config = resolved.base_model, resolved.config
    else:
        base_model, config = entry.action["inputs"]["base_model"], entry.action["config"]
    parts: dict[str, Any] = {"base_model": base_model, "files": entry.tree}
    if config.get("quantization"):
        # The adapter does not say it, but it is put on a base that is quantised.
        parts["quantization"] = {name: config[name] for name in ("quantization", "dtype")}
    return hash_bytes(canonical_json(parts)).hex
