"""The evaluate step: a model's scores on an Inspect task."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import Evaluation, Model
from motools.cache import logs
from motools.cache.action import Action
from motools.errors import BackendError
from motools.evals.config import PROVIDER_RECIPE, EvalConfig
from motools.evals.identity import TaskIdentity, identify
from motools.evals.runner import EvaluationJob, run
from motools.steps.options import RunOptions
from motools.steps.progress import Progress
from motools.training import registry
from motools.training.local.kept import DIRECTORY
from motools.training.local.whole import CONFIG

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

KIND: Final = "eval"


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model.

    Attributes:
        model: a base model or a fine-tuned one.
        config: which task, on which samples, with which generation settings.
        options: how to run.
        replicate: which of several independent repeats.
    """

    model: Model
    config: EvalConfig
    options: RunOptions = field(default_factory=RunOptions)
    replicate: int = 0

    def action(self, cache: Cache) -> Action:
        """The model and all that the task does.

        Raises:
            EvaluationError: the task cannot be found, made or pinned.
            BackendError: the base model cannot be found or pinned.
        """
        return Action(
            kind=KIND,
            inputs={"model": self._model_digest(cache)},
            config=dict(self._identity(cache).material),
            backend={"name": "inspect", "recipe": PROVIDER_RECIPE},
            replicate=self.replicate,
        )

    def run(self, context: RunContext) -> Any:
        """Run the task in a worker; its log becomes the entry's file."""
        identity = self._identity(context.cache)
        context.label(model_id=self.model.id, task_id=identity.name, backend="inspect")

        progress = Progress(context, f"{identity.name} on {self.model}")

        def on_event(event: Mapping[str, Any]) -> None:
            progress(event["event"], **{n: v for n, v in event.items() if n != "event"})

        with self._spec(context) as model:
            result = run(
                EvaluationJob(
                    config=self.config,
                    identity=identity,
                    model=model,
                    directory=context.directory,
                    scratch=context.scratch,
                    base_dir=self.options.base_dir,
                    equivalent=context.cache.settings.equivalent,
                    on_event=on_event,
                    lock_fds=context.lock_fds,
                )
            )
        context.provenance.update(
            task=self.config.task,
            model=str(self.model),
            usage=result.usage,
            seconds=result.seconds,
            tags=list(self.options.tags),
        )
        return {**result.value, "task": identity.name}

    def decode(self, entry: Entry) -> Evaluation:
        """The scores, with a link to the log that Inspect's viewer finds."""
        value = entry.value
        return Evaluation(
            key=entry.key,
            task=value["task"],
            model=self.model.id,
            scores=value["scores"],
            stderr=value["stderr"],
            samples=value["samples"],
            log_file=str(logs.link(entry) or ""),
            log_digest=entry.tree,
        )

    def _identity(self, cache: Cache) -> TaskIdentity:
        return identify(
            self.config,
            cache.memo,
            self.options.base_dir,
            equivalent=cache.settings.equivalent,
        )

    def _model_digest(self, cache: Cache) -> str:
        if self.model.digest is not None:
            return self.model.digest
        local = registry.backend("local")
        return local.identify(self.model.base_model, cache.memo.digest_file).digest

    @contextmanager
    def _spec(self, context: RunContext) -> Iterator[dict[str, Any]]:
        """What a worker loads the model from."""
        model, cache, planned = self.model, context.cache, context.action.inputs["model"]
        if model.remote is not None:
            raise BackendError(
                f"{model} lives at {model.remote.provider}; models at a provider cannot be "
                "evaluated yet"
            )
        base = registry.backend("local").identify(model.base_model, cache.memo.digest_file)
        spec: dict[str, Any] = {"base": base.spec, "adapter": None, "name": str(model)}
        if model.key is None:
            if base.digest != planned:
                raise BackendError(f"{model} changed since it was planned: run it again")
            yield spec
            return
        trained = cache.entry(model.key)
        if trained.action["inputs"]["base_model"] != base.digest:
            raise BackendError(
                f"{model} was trained on other files than {model.base_model!r} has now: put the "
                "base model back as it was, or fine-tune again on this one"
            )
        prefix = "" if model.step is None else f"{DIRECTORY}/{model.step}/"
        if not any(name.startswith(prefix) for name in trained.files):
            kept = trained.value.get("checkpoints", [])
            raise BackendError(f"{model}: no checkpoint was kept at that step; kept are {kept}")
        with tempfile.TemporaryDirectory(prefix="model-", dir=context.scratch.parent) as place:
            files = trained.link(place) / prefix
            if f"{prefix}{CONFIG}" in trained.files:  # all weights were trained: it has no base
                yield {**spec, "base": _whole(trained, files, prefix)}
            else:
                yield {**spec, "adapter": str(files)}


def _whole(trained: Entry, files: Path, prefix: str) -> dict[str, Any]:
    """The spec of a model that is a base model itself."""
    rows = [row for row in trained.file_rows if row[0].startswith(prefix)]
    manifest = {row[0].removeprefix(prefix): row[1:3] for row in rows}
    # Without a prefix, those of checkpoints are among them.
    manifest = {name: row for name, row in manifest.items() if "/" not in name}
    return {"kind": "directory", "path": str(files), "files": manifest}
