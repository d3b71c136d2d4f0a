"""What a provider is: a backend that takes jobs, and keeps the models it makes.

Every method is short and returns at once; waiting is done elsewhere. A method that
cannot know its answer raises :class:`~motools.errors.BackendUnavailableError`: no
answer is never taken for "there is none".

What motools guarantees depends on what a provider can do, which it says in its
:class:`Capabilities`. Where jobs can be found by their stamp, a key is paid for once
whenever its submitter dies. Where they cannot, a submission whose answer was lost
stops with an error until a person has looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from motools.artifacts import RemoteRef
from motools.jobs import SentJob, Stamp
from motools.training.config import FineTuneConfig
from motools.training.protocol import Backend

Phase: TypeAlias = Literal["waiting", "running", "paused", "succeeded", "failed", "cancelled"]
"""Where a job is. A provider's own word that means none of these is ``waiting``."""

ENDED: frozenset[Phase] = frozenset({"succeeded", "failed", "cancelled"})
"""The phases after which there is no other."""


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do.

    Attributes:
        finds: jobs can be listed by the stamp they were submitted with.
        visibility_seconds: how long after a submission a list may still lack it.
        seeds: a job takes a seed. Without it, a config that has one is refused.
        validates: a job takes a second file, which it is only measured on.
        reports_cost: the result says what it cost; else that is reckoned from what
            was trained on and the prices in the settings.
    """

    finds: bool = False
    visibility_seconds: float = 60.0
    seeds: bool = False
    validates: bool = False
    reports_cost: bool = False


@dataclass(frozen=True)
class Account:
    """Whose jobs and models a provider is asked about.

    Attributes:
        provider: who it is, the same for everybody who reaches it.
        scope: the account there; ids of jobs and models mean nothing without it.
    """

    provider: str
    scope: str


@dataclass(frozen=True)
class Order:
    """A training that is to be submitted.

    Attributes:
        dataset: JSON lines in canonical form, one row each.
        digest: of the dataset, in hex: what an upload of it can be recognised by.
        config: what :meth:`Backend.resolve` returned.
        asked: what the user gave, which that was made of.
        base: the ``spec`` of the base model.
        validation: rows that the job is only measured on, as ``dataset``.
        validation_digest: of these.
        replicate: which of several independent repeats.
        suffix: a name for people; decides nothing about the model.
    """

    dataset: Path
    digest: str
    config: Mapping[str, Any]
    asked: FineTuneConfig
    base: Mapping[str, Any]
    validation: Path | None = None
    validation_digest: str | None = None
    replicate: int = 0
    suffix: str | None = None


@dataclass(frozen=True)
class JobEvent:
    """Something that happened in a job.

    Attributes:
        id: the provider's; events are asked for after one of these.
        message: a sentence.
        fields: numbers in it, as in a report: ``step``, ``steps``, ``loss``.
    """

    id: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobStatus:
    """How a job is.

    Attributes:
        phase: where it is.
        said: the provider's own word for that.
        error: why it failed, in the provider's words.
        events: what happened since the event that was asked from, in order.
        after: seconds until it should be asked again, where the provider says so.
    """

    phase: Phase
    said: str
    error: str = ""
    events: tuple[JobEvent, ...] = ()
    after: float | None = None


@dataclass(frozen=True)
class JobResult:
    """What a job that has succeeded came to.

    Attributes:
        model: where the model lives.
        metrics: JSON, the same for the same work again: ``trained_tokens``, ``loss``.
        provenance: JSON that is recorded but not part of the result.
        cost: money, where the provider reports it.
    """

    model: RemoteRef
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    cost: float | None = None


@dataclass(frozen=True)
class Life:
    """Whether a model is there.

    Attributes:
        there: False: it was retired or deleted, and will not come back.
        expires_at: when it will be retired, in seconds since 1970; None: not known.
    """

    there: bool
    expires_at: float | None = None


@dataclass(frozen=True)
class JobDescription:
    """What a job was told to do, as far as its provider says.

    Attributes:
        base_model: by the name that :meth:`Backend.identify` takes.
        config: values by the names that :meth:`Backend.resolve` gives them; what the provider
            does not say is left out. Where the provider chose, this may be what it chose.
        dataset: digest of the rows that it learns from, or a file that has them; None: not
            known.
        validation: the same of rows that it is only measured on; None: there are none, or
            they are not known.
        key: of its stamp; None: motools did not submit it.
    """

    base_model: str
    config: Mapping[str, Any]
    dataset: str | Path | None
    validation: str | Path | None = None
    key: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where models of a provider answer, in OpenAI's protocol.

    Attributes:
        base_url: without credentials.
        api_key: of the account; never logged or recorded.
        environment: further variables that OpenAI's SDK reads.
    """

    base_url: str
    api_key: str = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Provider(Backend, Protocol):
    """A backend that takes jobs.

    Its :meth:`Backend.identity` has the account in it: the same config at another
    account is other work.
    """

    def capabilities(self) -> Capabilities:
        """What it can do. May ask the provider who it is."""

    def account(self) -> Account:
        """Who is asked, and as whom.

        Raises:
            BackendError: it cannot be told which account this is.
            BackendUnavailableError: the provider cannot be reached.
        """

    def prepare(self, order: Order) -> Any:
        """Do what submitting needs and what costs nothing to do twice: upload the dataset.

        An upload that is there already is used again.

        Returns:
            What :meth:`submit` takes.

        Raises:
            SubmissionRefusedError: trying again is of no use, as when a quota is used up.
            BackendError: the provider does not take it.
            BackendUnavailableError: it cannot be reached.
        """

    def submit(self, prepared: Any, stamp: Stamp) -> str:
        """Send one request, without any retry, that makes a job; returns the job's id.

        The job carries the stamp, so that :meth:`find` finds it.

        Raises:
            SubmissionRefusedError: the provider said that it did not take it.
            BackendUnavailableError: it may have taken it.
        """

    def find(self, key: str) -> Sequence[SentJob]:
        """Every job stamped with this key, whatever became of it.

        Raises:
            BackendUnavailableError: it cannot be known.
        """

    def poll(self, job_id: str, after: str | None = None) -> JobStatus:
        """How a job is.

        Args:
            job_id: which.
            after: the last event that is known; None: none is.

        Raises:
            BackendError: there is no such job in this account.
            BackendUnavailableError: it cannot be known now.
        """

    def cancel(self, job_id: str) -> None:
        """End a job; one that has ended is left as it is.

        Raises:
            BackendUnavailableError: it cannot be known whether it was.
        """

    def result(self, job_id: str) -> JobResult:
        """What a job that has succeeded came to.

        Raises:
            BackendError: the job has not succeeded.
            BackendUnavailableError: it cannot be known.
        """

    def alive(self, model: RemoteRef) -> Life:
        """Whether a model of this account is there.

        Raises:
            BackendUnavailableError: it cannot be known; an account that is not proved to be
                the model's own cannot know.
        """

    def endpoint(self) -> Endpoint:
        """Where its models answer.

        Raises:
            BackendError: they cannot be asked.
        """


@runtime_checkable
class Describes(Protocol):
    """A provider that can say what a job was told; without it, none can be adopted by hand."""

    def describe(self, job_id: str, place: Path) -> JobDescription:
        """What a job was told to do.

        Args:
            job_id: any of the account, whoever submitted it.
            place: an empty directory, for files that have rows.

        Raises:
            BackendError: there is no such job in this account.
            BackendUnavailableError: it cannot be known.
        """


@runtime_checkable
class Proves(Protocol):
    """A provider whose "there is no such job" may be another account's; others are believed."""

    def lacks(self, job_id: str) -> bool:
        """Whether a job is proved not to be in this account.

        Raises:
            BackendUnavailableError: it cannot be known now.
        """
