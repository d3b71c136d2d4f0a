"""The backend ``openai``: fine-tuning jobs at an API that speaks OpenAI's protocol."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import RemoteRef
from motools.configs import unknown_name
from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import BackendError, BackendUnavailableError, SettingsError
from motools.jobs import SentJob, Stamp
from motools.memo import Memo
from motools.training.config import FineTuneConfig
from motools.training.names import is_dated
from motools.training.openai import extension, recipe
from motools.training.openai.account import Service, find_out, same_account
from motools.training.openai.asking import (
    PAGE,
    asking,
    asking_besides,
    checked,
    client_of,
    every,
    submitting,
)
from motools.training.openai.files import downloaded, preferences, uploaded
from motools.training.openai.losses import losses
from motools.training.openai.models import life_of
from motools.training.openai.options import Options
from motools.training.openai.status import (
    ATTEMPT,
    KEY,
    epochs_of,
    sent_of,
    stamp_of,
    status_of,
)
from motools.training.protocol import BaseModel
from motools.training.provider import (
    Account,
    Capabilities,
    Endpoint,
    JobDescription,
    JobEvent,
    JobResult,
    JobStatus,
    Life,
    Order,
)

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Model
    from openai.types.fine_tuning import FineTuningJob

_SEEN_LATE: Final = {"server": 10.0}
"""By how an account is known, how long after a submission a list may lack it."""

_LATE: Final = 120.0

_NO_EVENTS: Final = "no-events"
"""Id of the event that says that there are none."""


class OpenAIBackend:
    """Fine-tuning through an API.

    Args:
        options: see :class:`.options.Options`.

    Raises:
        SettingsError: an option is wrong.
    """

    def __init__(self, **options: Any) -> None:
        known = [each.name for each in dataclasses.fields(Options)]
        for name in options:
            if name not in known:
                raise SettingsError(unknown_name(name, name, known))
        self._options = Options(**options)
        self._clients: dict[int, OpenAI] = {}

    # Planning

    def identity(self) -> dict[str, Value]:
        """``openai``, the recipe number, and the account."""
        account = self.account()
        scope: dict[str, Value] = {"provider": account.provider, "account": account.scope}
        return {"name": "openai", "recipe": recipe.RECIPE, "scope": scope}

    def identify(self, name: str, memo: Memo) -> BaseModel:  # noqa: ARG002
        """A dated snapshot or a fine-tuned model, or what a motools server says it is."""
        if self._service.is_motools:
            said = extension.told(self._model(name))
            if not isinstance(said.get("digest"), str):
                raise BackendError(f"{self._host} does not train {name!r}")
            return BaseModel(name, said["digest"], {"model": name})
        if not is_dated(name):
            raise BackendError(
                f"{name!r} is a name that can come to mean another model; name a dated snapshot, "
                "as in 'gpt-4.1-mini-2025-04-14'"
            )
        parts: dict[str, Value] = {"provider": self.account().provider, "model": name}
        return BaseModel(name, hash_bytes(canonical_json(parts)).hex, {"model": name})

    def resolve(
        self,
        config: FineTuneConfig,
        base: BaseModel,  # noqa: ARG002
    ) -> dict[str, Value]:
        """The hyperparameters that are sent; of a motools server, what it says it will use."""
        if not self._service.is_motools:
            return recipe.resolve(config)
        return extension.as_hashed(extension.resolved(self._client, self._host, config))

    # Jobs

    def capabilities(self) -> Capabilities:
        """As the settings say, else as is known of OpenAI and of motools servers."""
        given, service = self._options, self._service
        known = self._options.is_openai or service.is_motools
        late = given.visibility_seconds
        return Capabilities(
            finds=known if given.finds is None else given.finds,
            visibility_seconds=_SEEN_LATE.get(service.proof, _LATE) if late is None else late,
            seeds=True,
            validates=not service.is_motools,
        )

    def account(self) -> Account:
        """The organization and project, or the id of a server and the name of the caller there."""
        return self._service.account

    def prepare(self, order: Order) -> dict[str, Any]:
        """Upload the dataset, and put the request together."""
        written = None
        if not self._service.is_motools and order.config["method"] == "dpo":
            written = preferences
        request: dict[str, Any] = {"model": order.base["model"]}
        request["training_file"] = uploaded(
            self._client, self._host, order.dataset, order.digest, written
        )
        if order.validation is not None and order.validation_digest is not None:
            request["validation_file"] = uploaded(
                self._client, self._host, order.validation, order.validation_digest, written
            )
        if order.suffix is not None:
            request["suffix"] = order.suffix
        if not self._service.is_motools:
            return request | recipe.request(order.config)
        wanted = {"dataset": order.digest, "replicate": order.replicate}
        now = extension.resolved(self._client, self._host, order.asked, **wanted)
        if extension.as_hashed(now) != dict(order.config):
            raise BackendError(f"{self._host} would train otherwise than was planned: run it again")
        said = {
            "config": extension.asked(order.asked),
            "replicate": order.replicate,
            "expect": {"key": now["key"]},
        }
        return request | {"seed": order.asked.seed, "extra_body": {extension.FIELD: said}}

    def submit(self, prepared: Mapping[str, Any], stamp: Stamp) -> str:
        """Create the job: one request, whatever comes of it."""
        once = self._client.with_options(max_retries=0)
        metadata = {KEY: stamp.key, ATTEMPT: str(stamp.attempt)}
        with submitting(self._host):
            job = once.fine_tuning.jobs.create(**prepared, metadata=metadata)
        job_id = getattr(job, "id", None)  # whatever was answered, the SDK makes a job of it
        if not isinstance(job_id, str) or not job_id:
            raise BackendUnavailableError(f"{self._host} answered, but not with a job")
        return job_id

    def find(self, key: str) -> list[SentJob]:
        """The jobs with this key in their metadata, held against it once more here."""
        what = f"looking for jobs of {key[:12]}"
        with asking(self._host, what):
            first = self._client.fine_tuning.jobs.list(limit=PAGE, metadata={KEY: key})
            jobs: list[FineTuningJob] = list(every(first, self._host, PAGE))
        return [
            sent_of(checked(job, self._host, what, status=str, created_at=(int, float)))
            for job in jobs
            if stamp_of(job).get(KEY) == key
        ]

    def poll(self, job_id: str, after: str | None = None) -> JobStatus:
        """How a job is, with the events since the last one that is known."""
        job = self._job(job_id)
        try:
            with asking_besides(self._host, f"events of {job_id}"):
                # The newest come first.
                page = self._client.fine_tuning.jobs.list_events(job_id, limit=PAGE)
                newest = every(page, self._host, PAGE)
                events = list(takewhile(lambda event: event.id != after, newest))
        except BackendUnavailableError:
            raise
        except BackendError as problem:  # it gives none, which is said once
            said = JobEvent(_NO_EVENTS, f"there are no events: {problem}")
            return dataclasses.replace(
                status_of(job, ()), events=() if after == _NO_EVENTS else (said,)
            )
        return status_of(job, reversed(events))

    def lacks(self, job_id: str) -> bool:
        """Whether a job is proved not to be in this account: any gateway says 404."""
        import openai

        try:
            with asking(self._host, job_id):
                self._client.fine_tuning.jobs.retrieve(job_id)
        except BackendUnavailableError:
            raise
        except BackendError as problem:
            answer = problem.__context__
            if not isinstance(answer, openai.NotFoundError):
                return False
            headers = answer.response.headers
            return same_account(self._client, self._options, self._service, headers)
        return False

    def cancel(self, job_id: str) -> None:
        """Cancel a job, unless it has ended."""
        try:
            with asking(self._host, f"cancelling {job_id}"):
                job = self._client.fine_tuning.jobs.cancel(job_id)
        except BackendUnavailableError:
            raise
        except BackendError:
            if self._job(job_id).status in ("succeeded", "failed", "cancelled"):
                return
            raise
        checked(job, self._host, f"cancelling {job_id}", id=str)

    def result(self, job_id: str) -> JobResult:
        """The model of a job that has succeeded."""
        job = self._job(job_id)
        if job.fine_tuned_model is None:
            raise BackendError(f"{job_id} at {self._host} has made no model: it is {job.status}")
        account, trained = self.account(), job.trained_tokens
        missing: list[str] = []
        metrics: dict[str, Any] = {
            "trained_tokens": trained if isinstance(trained, int) else None,
            "epochs": epochs_of(job),
        }
        for file_id in job.result_files or ():
            try:
                with asking_besides(self._host, f"losses of {job_id}"):
                    metrics |= losses(self._client.files.content(file_id).read())
            except BackendUnavailableError:
                raise
            except BackendError as problem:  # they are of interest, and no part of the model
                missing.append(str(problem))
        return JobResult(
            model=RemoteRef(account.provider, account.scope, job.fine_tuned_model),
            metrics={name: value for name, value in metrics.items() if value is not None},
            provenance={
                "finished_at": job.finished_at,
                "submitted_at": job.created_at,
                "training_file": job.training_file,
                **({"without_losses": missing} if missing else {}),
            },
        )

    def describe(self, job_id: str, place: Path) -> JobDescription:
        """What a job was told; of one at a motools server only what its stamp vouches for."""
        job = checked(self._job(job_id), self._host, job_id, model=str)
        config = {"seed": job.seed} if self._service.is_motools else recipe.described(job)
        prefers = not self._service.is_motools and config["method"] == "dpo"

        def rows(file_id: str | None) -> str | Path | None:
            if file_id is None:
                return None
            return downloaded(self._client, self._host, file_id, place, prefers=prefers)

        return JobDescription(
            base_model=job.model,
            config=config,
            dataset=rows(job.training_file),
            validation=rows(job.validation_file),
            key=stamp_of(job).get(KEY),
        )

    # Models

    def alive(self, model: RemoteRef) -> Life:
        """Whether a model is listed, and until when."""
        account = self.account()
        if (model.provider, model.scope) != (account.provider, account.scope):
            raise BackendUnavailableError(
                f"{model.id} belongs to {model.scope} at {model.provider}, and {self._host} was "
                f"asked as {account.scope}: it cannot know"
            )
        return life_of(self._client, self._options, self._service, model.id)

    def endpoint(self) -> Endpoint:
        """Where its models are asked, with the key of the account."""
        environment = {
            "OPENAI_ORG_ID": self._options.organization,
            "OPENAI_PROJECT_ID": self._options.project,
        }
        given = {name: value for name, value in environment.items() if value}
        return Endpoint(self._options.base_url, self._options.api_key(), given)

    @property
    def _host(self) -> str:
        return self._options.host

    @property
    def _client(self) -> OpenAI:
        """One of this process alone.

        On a connection that a fork has from its parent, each would read the other's answers.
        """
        process = os.getpid()
        if process not in self._clients:
            self._clients[process] = client_of(self._options)
        return self._clients[process]

    @cached_property
    def _service(self) -> Service:
        return find_out(self._client, self._options)

    def _job(self, job_id: str) -> FineTuningJob:
        with asking(self._host, job_id):
            job = self._client.fine_tuning.jobs.retrieve(job_id)
        return checked(job, self._host, job_id, id=str, status=str)

    def _model(self, name: str) -> Model:
        with asking(self._host, name):
            return self._client.models.retrieve(name)
