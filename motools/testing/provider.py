"""What a backend that takes jobs has to do, and what follows for whoever pays for them.

Each test submits jobs of its own, which no earlier run of it has submitted.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from motools.artifacts import Dataset, RemoteRef
from motools.cache import Cache, Entry
from motools.digest import canonical_json
from motools.errors import (
    BackendError,
    BackendUnavailableError,
    SubmissionUnsettledError,
)
from motools.jobs import SentJob, Stamp
from motools.settings import Settings
from motools.steps.train import Train
from motools.steps.upload import FILE
from motools.steps.wait import pause
from motools.testing.planning import PlanningContract
from motools.testing.wrapped import Wrapped
from motools.training import registry
from motools.training.protocol import Backend
from motools.training.provider import ENDED, JobStatus, Order, Provider

_NAME = "under-test"
_PAUSE = 0.5


class ProviderContract(PlanningContract):
    """Tests of a :class:`~motools.training.provider.Provider`.

    Attributes:
        patience: seconds in which a short training has ended.
    """

    patience: float = 600.0

    def provider(self) -> Provider:
        """A new object of the backend under test."""
        raise NotImplementedError

    def backend(self) -> Backend:
        """A new object of the backend under test."""
        return self.provider()

    # Whose jobs they are

    def test_the_account_is_part_of_the_identity(self) -> None:
        provider = self.provider()
        account = provider.account()
        assert account.provider and account.scope
        assert account.scope in canonical_json(provider.identity()).decode()

    def test_an_account_knows_nothing_of_others(self) -> None:
        provider = self.provider()
        account = provider.account()
        foreign = RemoteRef(account.provider, account.scope + "-other", "a-model")
        try:
            life = provider.alive(foreign)
        except BackendUnavailableError:
            return
        raise AssertionError(f"asked of another account, it said {life}")

    def test_a_model_that_never_was_is_not_there(self) -> None:
        provider = self.provider()
        account = provider.account()
        never = RemoteRef(account.provider, account.scope, f"never-{secrets.token_hex(8)}")
        # It may not be able to prove that it is this account.
        with suppress(BackendUnavailableError):
            assert not provider.alive(never).there

    def test_a_job_that_never_was_is_an_error(self) -> None:
        try:
            status = self.provider().poll(f"job-{secrets.token_hex(8)}")
        except BackendUnavailableError as problem:
            raise AssertionError("there is no such job, which is known") from problem
        except BackendError:
            return
        raise AssertionError(f"a job that never was is {status}")

    # What it can do

    def test_without_seeds_a_seed_is_refused(self) -> None:
        if self.provider().capabilities().seeds:
            first = self.planned(self.provider(), seed=1)
            assert canonical_json(first) != canonical_json(self.planned(self.provider(), seed=2))
            return
        with self._cache(self.provider()) as cache:
            try:
                self._step(config=self.fine_tune(seed=1)).action(cache)
            except BackendError:
                return
        raise AssertionError("it takes no seed, and yet a config with one has a key")

    def test_a_job_is_found_by_its_stamp(self) -> None:
        provider = self.provider()
        key = secrets.token_hex(32)
        job = self._submitted(provider, Stamp(key, 3))
        try:
            if provider.capabilities().finds:
                assert [(sent.id, sent.attempt) for sent in self._found(provider, key)] == [
                    (job, 3)
                ]
                assert list(provider.find(secrets.token_hex(32))) == []
        finally:
            provider.cancel(job)

    def test_a_cancelled_job_ends_and_is_of_no_use(self) -> None:
        provider = self.provider()
        key = secrets.token_hex(32)
        job = self._submitted(provider, Stamp(key, 1))
        provider.cancel(job)
        status = self._ended(provider, job)
        provider.cancel(job)  # once more does no harm
        if status.phase == "cancelled" and provider.capabilities().finds:
            assert [sent.usable for sent in self._found(provider, key)] == [False]

    # What follows

    def test_a_training_is_submitted_once(self) -> None:
        provider = self.provider()
        with self._cache(provider) as cache:
            step = self._step()
            first, second = self._made(cache, step), self._made(cache, step)
            assert not first.hit and second.hit
            assert first.remote is not None
            account = provider.account()
            assert (first.remote.provider, first.remote.scope) == (account.provider, account.scope)
            assert provider.alive(first.remote).there
            assert (first.cost is not None) or not provider.capabilities().reports_cost
            self._require_one_job(provider, first.key)

    def test_a_training_whose_holder_dies_is_taken_up_again(self) -> None:
        provider = self.provider()
        with self._cache(_Dying(provider)) as cache:
            step = self._step()
            try:
                self._made(cache, step)
            except _DiedError:
                pass
            else:
                raise AssertionError("the job was never asked after")
            entry = self._made(cache, step)
            assert entry.remote is not None
            self._require_one_job(provider, entry.key)

    def test_a_lost_answer_never_submits_twice(self) -> None:
        provider = self.provider()
        losing = _Losing(provider)
        with self._cache(losing) as cache:
            step = self._step()
            if provider.capabilities().finds:
                entry = self._made(cache, step)
                assert losing.submissions == 1
                self._require_one_job(provider, entry.key)
                return
            for expected in (BackendUnavailableError, SubmissionUnsettledError):
                try:
                    self._made(cache, step)
                except expected:
                    continue
                raise AssertionError(f"not {expected.__name__}, although nothing is known")
            assert losing.submissions == 1

    # How it is done

    @contextmanager
    def _cache(self, provider: Provider) -> Iterator[Cache]:
        registry.offer(_NAME, provider)
        with tempfile.TemporaryDirectory() as place:
            cache = Cache.open(Path(place), settings=Settings())
            try:
                yield cache
            finally:
                cache.close()

    def _step(self, **changes: Any) -> Train:
        step = Train(
            dataset=Dataset.from_rows(self.rows),
            config=self.fine_tune(),
            backend=_NAME,
            replicate=secrets.randbits(31),
        )
        return replace(step, **changes)

    def _made(self, cache: Cache, step: Train) -> Entry:
        return cache.get_or_run(step.action(cache), step.run)

    def _submitted(self, provider: Provider, stamp: Stamp) -> str:
        with self._cache(provider) as cache:
            step = self._step()
            base, action = step.identify(cache), step.action(cache)
            path = cache.root / FILE
            order = Order(
                dataset=path,
                digest=step.dataset.write(path).hex,
                config=dict(action.config),
                asked=step.config,
                base=base.spec,
                replicate=step.replicate,
            )
            return provider.submit(provider.prepare(order), stamp)

    def _found(self, provider: Provider, key: str) -> Sequence[SentJob]:
        """The jobs of a key, once they have to be listed."""
        left = provider.capabilities().visibility_seconds
        while not (found := provider.find(key)) and left > 0:
            pause(_PAUSE)
            left -= _PAUSE
        return found

    def _ended(self, provider: Provider, job: str) -> JobStatus:
        left = self.patience
        while (status := provider.poll(job)).phase not in ENDED:
            if left <= 0:
                raise AssertionError(f"{job} is {status.said} after {self.patience:.0f} s")
            wait = _PAUSE if status.after is None else status.after
            pause(wait)
            left -= wait
        return status

    def _require_one_job(self, provider: Provider, key: str) -> None:
        if provider.capabilities().finds:
            assert len([sent for sent in self._found(provider, key) if sent.usable]) == 1


class _DiedError(Exception):
    """Stands for the death of whoever waits."""


class _Dying(Wrapped):
    """Its caller dies when it first asks after a job."""

    died = False

    def poll(self, job_id: str, after: str | None = None) -> JobStatus:
        if not self.died:
            self.died = True
            raise _DiedError
        return super().poll(job_id, after)


class _Losing(Wrapped):
    """The answer to the first submission is lost."""

    submissions = 0

    def submit(self, prepared: Any, stamp: Stamp) -> str:
        job = super().submit(prepared, stamp)
        self.submissions += 1
        if self.submissions == 1:
            raise BackendUnavailableError("the connection was closed")
        return job
