"""The train step: a model from a dataset, a base model and a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import Dataset, Model
from motools.cache.action import Action
from motools.digest import SHORT, Canonical, canonical_json, hash_bytes
from motools.errors import BackendError, DatasetError, MotoolsError
from motools.steps import alive, prices, submitted
from motools.steps.limits import slot
from motools.steps.options import RunOptions
from motools.steps.progress import Progress
from motools.steps.upload import FILE, Upload
from motools.steps.wait import until
from motools.training import registry
from motools.training.config import FineTuneConfig
from motools.training.protocol import BaseModel, TrainingJob
from motools.training.provider import Order, Provider
from motools.training.seeds import of_replicate

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
        elsewhere: whether that is a provider, and not this machine.
    """

    base_model: str
    config: Canonical
    backend: Canonical
    elsewhere: bool = False


@dataclass(frozen=True)
class Train:
    """Fine-tune a model.

    Attributes:
        dataset: what to learn from; uploaded when there is something to train.
        config: what to do.
        backend: who does it, by name.
        options: how to run.
        replicate: which of several independent repeats.
        validation: what the training is only measured on, where the backend does that.
        resolved: what the config comes to, if that was found out just now for another step.
    """

    dataset: Dataset
    config: FineTuneConfig
    backend: str = "local"
    options: RunOptions = field(default_factory=RunOptions)
    replicate: int = 0
    validation: Dataset | None = None
    resolved: Resolved | None = field(default=None, compare=False, repr=False)

    @property
    def elsewhere(self) -> bool:
        """Whether a provider trains, as far as that was found out."""
        return self.resolved is not None and self.resolved.elsewhere

    def knowing(self, resolved: Resolved, dataset: Dataset) -> Train:
        """The same, with what was found out: ``dataset`` is its own, identified."""
        return Train(
            dataset,
            self.config,
            self.backend,
            self.options,
            self.replicate,
            self.validation,
            resolved,
        )

    def action(self, cache: Cache) -> Action:
        """The dataset, the base model and every value that decides the result.

        Raises:
            DatasetError: a row is not JSON.
            BackendError: the backend is unknown or cannot honour a field.
        """
        return self._action(cache, self.resolved or self.resolve(cache, self.identify(cache)))

    def _action(self, cache: Cache, resolved: Resolved) -> Action:
        inputs = {
            "dataset": str(self.dataset.identify(cache.memo).digest),
            "base_model": resolved.base_model,
        }
        if self.validation is not None:
            inputs["validation"] = str(self.validation.identify(cache.memo).digest)
        return Action(
            kind=KIND,
            inputs=inputs,
            config=resolved.config,
            backend=resolved.backend,
            replicate=self.replicate,
        )

    def run(self, context: RunContext) -> Any:
        """Upload the dataset if it is not there yet, and train."""
        cache = context.cache
        dataset = self._uploaded(context, self.dataset)
        base = self.identify(cache)
        if self._action(cache, self.resolve(cache, base)).key != context.key:
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
        context.provenance.update(
            base.provenance,
            config=self.config.changed(),
            base_model=self.config.base_model,
            tags=list(self.options.tags),
        )
        backend = registry.backend(self.backend, cache.settings.backends)
        if registry.is_provider(backend):
            return self._elsewhere(context, backend, dataset, base)
        return self._here(context, dataset, base)

    def _uploaded(self, context: RunContext, dataset: Dataset) -> Entry:
        upload = Upload(dataset)
        return context.cache.get_or_run(
            upload.action(context.cache),
            upload.run,
            report=context.send_report,
            timeout=self.options.timeout,
        )

    def _here(self, context: RunContext, dataset: Entry, base: BaseModel) -> Any:
        def wait(holds: Callable[[], bool]) -> None:
            with context.waiting():
                until(holds)

        job = TrainingJob(
            dataset=dataset.file(FILE, hashed=True),
            config={
                **context.action.config,
                "seed": of_replicate(self.config.seed, self.replicate),
            },
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
        trainer = registry.trainer(self.backend, context.cache.settings.backends)
        try:
            with slot(context, self.backend) as held:
                job = replace(job, lock_fds=(*job.lock_fds, *held))
                result = trainer.train(job)
        except DatasetError as problem:
            raise self._placed(problem) from problem
        # Times are not part of the result: the same work again has the same value.
        metrics = dict(result.metrics)
        seconds = metrics.pop("seconds", None)
        context.provenance.update(result.provenance, seconds=seconds)
        return metrics

    def _elsewhere(
        self, context: RunContext, provider: Provider, dataset: Entry, base: BaseModel
    ) -> Any:
        order = Order(
            dataset=dataset.file(FILE, hashed=True),
            digest=str(context.action.inputs["dataset"]),
            config=dict(context.action.config),
            asked=self.config,
            base=base.spec,
            replicate=self.replicate,
            suffix=self.options.suffix,
        )
        if self.validation is not None:
            held_out = self._uploaded(context, self.validation).file(FILE, hashed=True)
            digest = str(context.action.inputs["validation"])
            order = replace(order, validation=held_out, validation_digest=digest)
        with slot(context, self.backend):
            result = submitted.train_elsewhere(context, provider, order, self.backend)
        context.remote = result.model
        alive.remember(context.cache, result.model)
        context.cost = prices.of_training(
            result, context.cache.settings.prices, self.backend, self.config.base_model
        )
        context.provenance.update(result.provenance)
        return {**result.metrics, "rows": dataset.value["rows"]}

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
        backend = registry.backend(self.backend, cache.settings.backends)
        return backend.identify(self.config.base_model, cache.memo)

    def resolve(self, cache: Cache, base: BaseModel) -> Resolved:
        """What the config comes to, on a base model.

        Raises:
            BackendError: the backend is unknown or cannot honour a field.
        """
        backend = registry.backend(self.backend, cache.settings.backends)
        if registry.is_provider(backend):
            has = self.validation is not None
            submitted.require(backend, self.backend, validation=has, seed=self.config.seed)
        elif self.validation is not None:
            raise BackendError(f"validation: backend {self.backend!r} takes no validation dataset")
        return Resolved(
            base.digest,
            Canonical(backend.resolve(self.config, base)),
            Canonical(backend.identity()),
            registry.is_provider(backend),
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
