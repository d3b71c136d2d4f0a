"""Invariant 8: paid work is written down first, sent once, and found again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache, Claim
from motools.cache.attempt import FAILED, LOST, REFUSED, RETIRED, SUBMITTED, SUCCEEDED, UNCLEAR
from motools.cache.journal import Job
from motools.cache.layout import journal_name
from motools.cache.reindex import reindex
from motools.errors import (
    BackendError,
    BackendUnavailableError,
    CorruptDocumentError,
    KeyNotFoundError,
    LeaseLostError,
    SubmissionRefusedError,
    SubmissionUnsettledError,
)
from motools.jobs import Stamp
from tests.cache.conftest import action, lose_the_database
from tests.cache.hosts import Clock, movable_clock, second_host
from tests.cache.provider import VISIBILITY, Provider
from tests.cache.steps import in_child, watched
from tests.postgresql import BOTH

pytestmark = BOTH

ACTION = action(kind="model")


@pytest.fixture
def clock() -> Iterator[Clock]:
    with movable_clock() as clock:
        yield clock


@pytest.fixture
def provider(tmp_path: Path, clock: Clock) -> Provider:
    return Provider(tmp_path / "provider.json", clock)


def submit(cache: Cache, provider: Provider, *, refresh: bool = False, **claim: Any) -> Job:
    """Claim, submit, and be gone before the job has ended."""
    found = cache.claim(ACTION, refresh=refresh, timeout=0, **claim)
    assert isinstance(found, Claim)
    with found:
        return found.context.submit(provider)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def states(cache: Cache) -> list[str]:
    return [each.state for each in cache.attempts.of_key(ACTION.key)]


def test_intent_then_submission_then_job_id_each_durable(cache: Cache, provider: Provider) -> None:
    steps: list[str] = []
    provider.before_send = lambda: steps.append("sent")
    with watched(steps.append):
        submit(cache, provider)
    sent = steps.index("sent")
    written = [
        n
        for n, step in enumerate(steps)
        if f"after publish_bytes ('{journal_name(ACTION.key)}'" in step
    ]
    recorded = [n for n, step in enumerate(steps) if "after run ['INSERT', 'INTO', 'jobs'" in step]
    committed = [steps.index("after COMMIT", n) for n in recorded]
    assert written[0] < recorded[0] < committed[0] < sent < written[1] < recorded[1]


def test_a_job_is_taken_up_again(cache: Cache, provider: Provider) -> None:
    first = submit(cache, provider)
    again = submit(cache, provider)
    assert (again.id, again.adopted) == (first.id, True)
    assert len(provider.jobs) == 1


def test_a_lost_answer_is_settled_once_the_job_is_listed(
    cache: Cache, provider: Provider, clock: Clock
) -> None:
    provider.fate, provider.lag = "lost", VISIBILITY
    with pytest.raises(ConnectionError):
        submit(cache, provider)
    assert states(cache) == [UNCLEAR]
    with pytest.raises(SubmissionUnsettledError, match=r"may not list it yet; run it again in 5 s"):
        submit(cache, provider)
    clock.advance(VISIBILITY + 1)
    assert submit(cache, provider).id == "job-0"
    assert (states(cache), len(provider.jobs)) == ([SUBMITTED], 1)


def test_a_submission_that_never_arrived_is_sent_again(
    cache: Cache, provider: Provider, clock: Clock
) -> None:
    provider.fate = "refused"
    with pytest.raises(ConnectionError):
        submit(cache, provider)
    clock.advance(VISIBILITY + 1)
    provider.fate = "ok"
    assert submit(cache, provider).attempt == 2
    assert (states(cache), len(provider.jobs)) == ([LOST, SUBMITTED], 1)


def test_the_visibility_bound_runs_from_when_nothing_can_be_sent_any_more(
    cache: Cache, provider: Provider, clock: Clock
) -> None:
    """Not from the intent: the submission may have been on its way for long."""
    provider.fate, provider.lag = "slow", VISIBILITY
    with pytest.raises(ConnectionError):
        submit(cache, provider)
    with pytest.raises(SubmissionUnsettledError):
        submit(cache, provider)
    clock.advance(VISIBILITY + 1)
    assert submit(cache, provider).id == "job-0"


def test_a_killed_sender_is_waited_for_from_when_its_death_is_known(
    cache: Cache, provider: Provider, clock: Clock
) -> None:
    provider.fate, provider.lag = "slow", VISIBILITY

    def die(_at: Any) -> None:
        provider.after_send = kill_myself
        submit(Cache.open(cache.root), provider)

    assert in_child(die) == -9
    clock.advance(10 * VISIBILITY)  # it died only now, long after its intent
    with pytest.raises(SubmissionUnsettledError):
        submit(cache, provider)
    assert states(cache) == [UNCLEAR]
    clock.advance(VISIBILITY + 1)
    assert submit(cache, provider).id == "job-0"
    assert len(provider.jobs) == 1


def test_a_provider_that_cannot_find_needs_a_person(
    cache: Cache, provider: Provider, clock: Clock
) -> None:
    provider.fate, provider.can_find = "lost", False
    with pytest.raises(ConnectionError):
        submit(cache, provider)
    provider.fate = "ok"
    clock.advance(1e6)
    with pytest.raises(SubmissionUnsettledError, match=r"cannot be asked.*jobs adopt.*jobs forget"):
        submit(cache, provider)
    with pytest.raises(KeyNotFoundError):
        cache.attempts.adopt(ACTION.key, 7, "job-0")
    cache.attempts.adopt(ACTION.key, 1, "job-0")
    assert submit(cache, provider).id == "job-0"
    assert len(provider.jobs) == 1


def test_forgetting_lets_it_be_sent_again(cache: Cache, provider: Provider) -> None:
    provider.fate, provider.can_find = "refused", False
    with pytest.raises(ConnectionError):
        submit(cache, provider)
    provider.fate = "ok"
    cache.attempts.forget(ACTION.key, 1, "the provider's page shows no job")
    assert submit(cache, provider).attempt == 2


def test_a_job_that_succeeded_is_not_paid_for_again(cache: Cache, provider: Provider) -> None:
    """Its holder was killed between the end of the job and the commit."""
    provider.can_find = False
    job = submit(cache, provider)
    cache.journal.end(job, SUCCEEDED, provider)
    assert submit(cache, provider).id == job.id
    assert len(provider.jobs) == 1


def make(cache: Cache, provider: Provider) -> Job:
    """Submit, and make an entry of the job."""
    found = cache.claim(ACTION, timeout=0)
    assert isinstance(found, Claim)
    with found:
        job = found.context.submit(provider)
        cache.journal.end(job, SUCCEEDED, provider)
        found.commit({"job": job.id})
    provider.spend([job.id])
    provider.refreshing = True
    return job


def test_a_refresh_pays_once_more(cache: Cache, provider: Provider) -> None:
    job = make(cache, provider)
    first = submit(cache, provider, refresh=True)
    assert submit(cache, provider, refresh=True).id == first.id != job.id
    assert len(provider.jobs) == 2


def test_a_refresh_that_died_before_its_commit_does_not_pay_again(
    cache: Cache, provider: Provider
) -> None:
    make(cache, provider)
    second = submit(cache, provider, refresh=True)
    cache.journal.end(second, SUCCEEDED, provider)
    assert submit(cache, provider, refresh=True).id == second.id
    assert len(provider.jobs) == 2


def test_a_model_that_is_gone_is_paid_for_again(cache: Cache, provider: Provider) -> None:
    job = submit(cache, provider)
    cache.journal.end(job, RETIRED, provider, note="deleted at the provider")
    provider.spend([job.id])
    provider.refreshing = True
    assert submit(cache, provider).id != job.id
    assert states(cache) == [RETIRED, SUBMITTED]


def test_a_refusal_leaves_nothing_unclear(cache: Cache, provider: Provider) -> None:
    def refuse() -> None:
        raise SubmissionRefusedError("the queue is full", after=1.0)

    provider.before_send = refuse
    with pytest.raises(SubmissionRefusedError):
        submit(cache, provider)
    assert states(cache) == [REFUSED]
    provider.before_send = lambda: None
    assert submit(cache, provider).attempt == 1
    assert states(cache) == [SUBMITTED]


def test_a_failed_job_is_tried_again(cache: Cache, provider: Provider) -> None:
    job = submit(cache, provider)
    provider.mark(job.id, usable=False)
    cache.journal.end(job, FAILED, provider, note="the file was rejected")
    assert submit(cache, provider).attempt == 2
    assert states(cache) == [FAILED, SUBMITTED]


def test_the_earliest_of_several_jobs_stays(cache: Cache, provider: Provider) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    provider.fate, provider.lag = "twice", 0.0
    job = submit(cache, provider, report=lambda *what: said.append(what))
    assert provider.live(ACTION.key) == [job.id] == ["job-0"]
    assert said == [
        (
            "simulated has job-0 and job-1 for one key: the second is not wanted, and was "
            "cancelled unless it had ended",
            {"duplicate": "job-1"},
        )
    ]


def test_a_duplicate_that_cannot_be_cancelled_is_told_of(cache: Cache, provider: Provider) -> None:
    """The job that stays is a good one, and its run goes on."""
    told: list[str] = []

    def cancel(job_id: str) -> None:
        raise BackendError(f"405, cancelling {job_id}")

    provider.fate, provider.lag, provider.cancel = "twice", 0, cancel  # type: ignore[method-assign]
    job = submit(cache, provider, report=lambda message, _: told.append(message))
    assert job.id == "job-0"
    [said] = told
    assert "job-0 and job-1 for one key" in said and "405, cancelling job-1" in said


def test_whether_a_duplicate_was_cancelled_is_asked_again(cache: Cache, provider: Provider) -> None:
    def cancel(_: str) -> None:
        raise BackendUnavailableError("no answer")

    provider.fate, provider.lag, provider.cancel = "twice", 0, cancel  # type: ignore[method-assign]
    with pytest.raises(BackendUnavailableError):
        submit(cache, provider)
    del provider.cancel
    assert submit(cache, provider).id == "job-0"
    assert provider.live(ACTION.key) == ["job-0"]


def test_a_job_that_is_to_be_replaced_does_not_stand_in_the_way(
    cache: Cache, provider: Provider
) -> None:
    """As of an entry that came from a remote: it names its job, and this journal does not."""
    provider.lag = 0.0
    provider._accept(Stamp(ACTION.key, 1), paid=True)
    provider.spend(["job-0"])
    provider.refreshing = True
    found = cache.claim(ACTION, timeout=0)
    assert isinstance(found, Claim)
    with found:
        lease = found.context.lease
        job = cache.journal.submit(lease, provider, lambda *_: None, spent={"job-0"})
    assert (job.id, provider.live(ACTION.key, refreshing=False)) == ("job-1", ["job-0", "job-1"])


def test_who_was_later_goes_on_with_the_earliest(cache: Cache, provider: Provider) -> None:
    """Another coordinator has cancelled this one's job, as it had sent one before."""
    provider.lag = 0.0
    job = submit(cache, provider)
    first = {**provider.jobs[0], "id": "theirs", "created_at": 0.0}
    provider._save([first, {**provider.jobs[0], "usable": False}])
    assert cache.journal.confirm(job, provider, lambda *_: None).id == "theirs"
    assert cache.attempts.of_key(ACTION.key)[0].job_id == "theirs"


def test_a_submission_without_a_job_is_not_passed_over(cache: Cache, provider: Provider) -> None:
    provider.can_find = False
    cache.attempts.note(ACTION.key, 1, SUBMITTED, provider.provider)
    with pytest.raises(SubmissionUnsettledError, match="cannot be asked"):
        submit(cache, provider)
    assert provider.jobs == []


def test_nothing_is_cancelled_while_it_cannot_be_told_which_is_the_earliest(
    cache: Cache, provider: Provider, clock: Clock
) -> None:
    """Two coordinators would each cancel their own, and be left with none."""
    provider.lag = VISIBILITY
    provider.after_send = lambda: provider._save(  # another coordinator's, listed already
        [
            *provider.jobs,
            {**provider.jobs[0], "id": "theirs", "visible_at": 0.0, "created_at": 1e12},
        ]
    )
    job = submit(cache, provider)
    assert provider.live(ACTION.key) == ["job-0", "theirs"]
    clock.advance(VISIBILITY + 1)
    assert submit(cache, provider).id == job.id == "job-0"
    assert provider.live(ACTION.key) == ["job-0"]


def test_nothing_is_sent_when_the_provider_cannot_be_asked(
    cache: Cache, provider: Provider
) -> None:
    def unreachable() -> None:
        raise ConnectionError("503")

    provider.before_find = unreachable
    with pytest.raises(ConnectionError):
        submit(cache, provider)
    assert (states(cache), provider.jobs) == ([], [])


def test_another_hosts_intent_is_left_alone(
    root: Path, tmp_path: Path, provider: Provider, clock: Clock
) -> None:
    """It is stopped, for all we know, and goes on to send as soon as we have sent."""
    cache = Cache.open(root)
    elsewhere = Cache.open(second_host(root, tmp_path / "second"))

    def die(_at: Any) -> None:
        provider.before_send = kill_myself
        submit(Cache.open(root), provider)

    assert in_child(die) == -9
    clock.advance(1_000)
    with pytest.raises(SubmissionUnsettledError, match=r"its sender, .* pid \d+, may still send"):
        submit(elsewhere, provider)
    with pytest.raises(SubmissionUnsettledError, match="run it again in 5 s"):
        submit(cache, provider)  # on its own host the kernel says that it is gone
    clock.advance(VISIBILITY + 1)
    assert submit(elsewhere, provider).id == "job-0"
    assert len(provider.jobs) == 1
    for opened in (cache, elsewhere):
        opened.close()


def test_an_intent_under_the_number_of_a_refused_one_is_its_own_senders(
    root: Path, tmp_path: Path, provider: Provider, clock: Clock
) -> None:
    """What this host once had refused says nothing of the other one, which may still send."""
    cache = Cache.open(root)

    def refuse() -> None:
        raise SubmissionRefusedError("the queue is full", after=1.0)

    provider.before_send = refuse
    with pytest.raises(SubmissionRefusedError):
        submit(cache, provider)
    other = second_host(root, tmp_path / "second")

    def die(_at: Any) -> None:
        provider.before_send = kill_myself
        submit(Cache.open(other), provider)

    assert in_child(die) == -9
    clock.advance(1_000)
    provider.before_send = lambda: None
    with pytest.raises(SubmissionUnsettledError, match=r"its sender, .* may still send"):
        submit(cache, provider)
    assert provider.jobs == []
    cache.close()


def test_nothing_is_sent_under_a_lease_that_was_taken_over(
    root: Path, tmp_path: Path, provider: Provider, clock: Clock
) -> None:
    cache = Cache.open(root)
    elsewhere = Cache.open(second_host(root, tmp_path / "second"))
    provider.lag = VISIBILITY

    def stop_and_be_overtaken() -> None:
        provider.before_find = lambda: None
        clock.advance(61)
        assert submit(elsewhere, provider).id == "job-0"

    provider.before_find = stop_and_be_overtaken
    with pytest.raises(LeaseLostError):
        submit(cache, provider)
    assert len(provider.jobs) == 1
    assert cache.attempts.of_key(ACTION.key)[0].job_id == "job-0"
    for opened in (cache, elsewhere):
        opened.close()


def test_the_document_knows_the_job_when_the_tables_do_not(
    cache: Cache, provider: Provider
) -> None:
    """Killed after the job's id was written to the document, before it was to the tables."""
    provider.can_find = False
    submit(cache, provider)
    with cache.database.write() as transaction:
        transaction.run("UPDATE jobs SET state = 'intent', job_id = NULL")
    assert submit(cache, provider).id == "job-0"
    with cache.database.write() as transaction:
        transaction.run("DELETE FROM jobs")
    assert submit(cache, provider).id == "job-0"
    assert len(provider.jobs) == 1


def test_the_journal_outlives_the_database(cache: Cache, provider: Provider) -> None:
    provider.can_find = False
    submit(cache, provider)
    cache.close()
    lose_the_database(cache.root)
    assert reindex(cache.root).jobs == 1
    assert submit(Cache.open(cache.root), provider).id == "job-0"


@pytest.mark.parametrize(
    ("written", "damaged"),
    [
        ("{", ""),
        ('"attempt": 1', '"attempt": "1"'),
        ('"state": "submitted"', '"state": "thought about"'),
        ('"job_id": "job-0"', '"job_id": 0'),
        ('"provider": "', '"provider": null, "was": "'),
        ('"updated_at": ', '"updated_at": 1e99, "was": '),
        ('"attempts": [', '"attempts": [1, '),
    ],
)
def test_a_damaged_journal_is_not_an_empty_one(
    cache: Cache, provider: Provider, written: str, damaged: str
) -> None:
    submit(cache, provider)
    document = cache.root / journal_name(ACTION.key)
    whole = document.read_text()
    assert written in whole
    document.chmod(0o644)
    document.write_text(whole.replace(written, damaged, 1))
    with pytest.raises(CorruptDocumentError, match=r"journal/.*remove that file"):
        submit(cache, provider)
    document.unlink()
    assert submit(cache, provider).id == "job-0"
    assert len(provider.jobs) == 1
