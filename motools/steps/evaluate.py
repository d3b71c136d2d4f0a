"""The evaluate step: a model's scores on an Inspect task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import Evaluation, Model, RemoteRef
from motools.cache import logs
from motools.cache.action import Action
from motools.cache.current import cache_at
from motools.cache.entry import PAID_TO
from motools.digest import Canonical
from motools.errors import BackendError
from motools.evals import reached
from motools.evals.config import PROVIDER_RECIPE, EvalConfig, is_local
from motools.evals.identity import TaskIdentity, identify
from motools.evals.runner import LOG, EvaluationJob, run
from motools.steps import prices
from motools.steps.alive import require_there
from motools.steps.limits import EVALUATIONS, slot
from motools.steps.models import loadable
from motools.steps.options import RunOptions
from motools.steps.progress import Progress
from motools.steps.providers import provider_of
from motools.training import registry
from motools.training.names import MOTOOLS_SERVER
from motools.training.protocol import BaseModel

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

KIND: Final = "eval"

_SERVICE: Final = "motools-provider"
"""What Inspect calls the provider of a model under evaluation; it reads two variables named so."""

_BASE_URL: Final = "MOTOOLS_PROVIDER_BASE_URL"
_API_KEY: Final = "MOTOOLS_PROVIDER_API_KEY"

_BACKEND: Final = Canonical({"name": "inspect", "recipe": PROVIDER_RECIPE})


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model.

    Attributes:
        model: a base model or a fine-tuned one.
        config: which task, on which samples, with which generation settings.
        options: how to run.
        replicate: which of several independent repeats.
        identity: what the task is, if that was found out just now for another step.
    """

    model: Model
    config: EvalConfig
    options: RunOptions = field(default_factory=RunOptions)
    replicate: int = 0
    identity: TaskIdentity | None = field(default=None, compare=False, repr=False)

    def knowing(self, identity: TaskIdentity) -> Evaluate:
        """The same, with what was found out."""
        return Evaluate(self.model, self.config, self.options, self.replicate, identity)

    def action(self, cache: Cache) -> Action:
        """The model and all that the task does.

        Raises:
            EvaluationError: the task cannot be found, made or pinned.
            BackendError: the base model cannot be found or pinned.
        """
        return Action(
            kind=KIND,
            inputs={"model": self._model_digest(cache)},
            config=(self.identity or self.identify(cache)).material,
            backend=_BACKEND,
            replicate=self.replicate,
        )

    def run(self, context: RunContext) -> Any:
        """Run the task in a worker; its log becomes the entry's file."""
        # What was planned, not what the task is by now: the worker requires the same.
        identity = TaskIdentity(context.action.config)
        context.label(model_id=self.model.id, task_id=identity.name, backend="inspect")

        progress = Progress(context, f"{identity.name} on {self.model}")

        def on_event(event: Mapping[str, Any]) -> None:
            progress(event["event"], **{n: v for n, v in event.items() if n != "event"})

        if self._model_digest(context.cache) != context.action.inputs["model"]:
            raise BackendError(f"{self.model} changed since it was planned: run it again")
        with ExitStack() as held:
            locks = held.enter_context(slot(context, EVALUATIONS))
            model = held.enter_context(self._reached(context))
            roles = {
                role: {**held.enter_context(self._judge(role, context)), "digest": digest}
                for role, digest in self._local_roles(context.cache).items()
            }
            result = run(
                EvaluationJob(
                    config=self.config,
                    identity=identity,
                    model=model,
                    local_roles=roles,
                    directory=context.directory,
                    scratch=context.scratch,
                    base_dir=self.options.base_dir,
                    equivalent=context.cache.settings.equivalent,
                    on_event=on_event,
                    lock_fds=(*context.lock_fds, *locks),
                    replicate=self.replicate,
                    environment=model.pop("environment", {}),
                )
            )
        spent = prices.of_answers(
            result.usage, context.cache.settings.prices, self._paid(context.cache, result.usage)
        )
        context.cost = spent.cost
        if spent.paid_to:
            context.label(**{PAID_TO: " ".join(spent.paid_to)})
        context.provenance.update(
            task=self.config.task,
            model=str(self.model),
            usage=result.usage,
            seconds=result.seconds,
            tags=list(self.options.tags),
        )
        return {**result.value, "task": identity.name}

    def decode(self, entry: Entry) -> Evaluation:
        """The scores, with a copy of the log that Inspect's viewer finds."""
        return evaluation_of(entry, self.model.id)

    def identify(self, cache: Cache) -> TaskIdentity:
        """What the task is now.

        Raises:
            EvaluationError: it cannot be found, made or pinned.
        """
        identity = identify(
            self.config,
            cache.memo,
            self.options.base_dir,
            equivalent=cache.settings.equivalent,
            local_roles=self._local_roles(cache),
        )
        cache.texts.keep(identity.texts)
        return identity

    def _model_digest(self, cache: Cache) -> str:
        if self.model.digest is not None:
            return self.model.digest
        if self._is_at_api:
            return reached.identity(self.model.base_model, self.config.version)
        return _base(self.model.base_model, cache).digest

    @property
    def _is_at_api(self) -> bool:
        return self.model.key is None and reached.is_reached(self.model.base_model)

    def _local_roles(self, cache: Cache) -> dict[str, str]:
        """The digests of the models of this machine that play a role."""
        roles = self.config.roles.items()
        return {role: _base(name, cache).digest for role, name in roles if is_local(name)}

    @contextmanager
    def _reached(self, context: RunContext) -> Iterator[dict[str, Any]]:
        """The model as the runner takes it."""
        if self.model.remote is not None:
            yield self._at_provider(context, self.model.remote)
            return
        if self._is_at_api:
            yield {"provider": self.model.base_model}
            return
        with loadable(self.model, context.cache, context.scratch.parent) as model:
            yield {**model, "digest": context.action.inputs["model"]}

    def _at_provider(self, context: RunContext, remote: RemoteRef) -> dict[str, Any]:
        cache, first = context.cache, None
        if self.model.key is not None:
            trained = cache.entry(self.model.key)
            require_there(cache, trained)
            first = trained.labels.get("backend")
        endpoint = provider_of(remote, cache.settings, first).endpoint()
        variables = {_BASE_URL: endpoint.base_url, _API_KEY: endpoint.api_key}
        return {
            "provider": f"openai-api/{_SERVICE}/{remote.id}",
            "environment": {**endpoint.environment, **variables},
        }

    def _paid(self, cache: Cache, asked: Iterable[str]) -> dict[str, str]:
        """Those of some models that are at APIs, to what their prices are listed as."""
        found = {name: name for name in asked if reached.is_reached(name)}
        if (remote := self.model.remote) is not None:
            own = f"openai-api/{_SERVICE}/{remote.id}"
            found.pop(own, None)
            if not remote.provider.startswith(MOTOOLS_SERVER):
                trained = None if self.model.key is None else cache.entry(self.model.key)
                found[own] = (trained.labels.get("backend") if trained else None) or "openai"
        return found

    def _judge(self, role: str, context: RunContext) -> AbstractContextManager[dict[str, Any]]:
        return loadable(Model.base(self.config.roles[role]), context.cache)


def _base(name: str, cache: Cache) -> BaseModel:
    return registry.backend("local").identify(name, cache.memo)


def asked_at_apis(model: Model | None, config: EvalConfig) -> list[str]:
    """The models at APIs that an evaluation asks.

    Args:
        model: the one that is evaluated; None: a tuned one of this machine.
        config: with its roles and judges.
    """
    names = [*config.roles.values()]
    if model is not None and model.key is None:
        names.insert(0, model.base_model)
    found = [name for name in names if reached.is_reached(name)]
    if model is not None and model.remote is not None:
        found.insert(0, model.remote.id)
    return list(dict.fromkeys(found))


def evaluation_of(entry: Entry, model: str | None = None) -> Evaluation:
    """What an entry of this kind holds.

    Args:
        entry: of an evaluation.
        model: the model's id; by default what the entry is labelled with.
    """
    value = entry.value
    return Evaluation(
        key=entry.key,
        task=value["task"],
        model=entry.labels.get("model_id", "") if model is None else model,
        scores=value["scores"],
        stderr=value["stderr"],
        num_samples=value["samples"],
        log_file=str(logs.copy(entry) or ""),
        log_digest=entry.tree,
        cache=str(entry.root),
    )


def log_of(evaluation: Evaluation) -> Path:
    """Inspect's log of an evaluation, checked to be as it was kept.

    Raises:
        KeyNotFoundError: the evaluation was cleared.
        ReleasedError: the log's bytes were pruned.
        CorruptBlobError: they were altered.
    """
    return cache_at(evaluation.cache).entry(evaluation.key).file(LOG, hashed=True)
