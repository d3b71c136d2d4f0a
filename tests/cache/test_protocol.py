"""The protocol as a state machine: the real coordinator, a simulated provider, any order of events.

Two hosts share one coordinator; their kernel locks do not meet. Runs are
claimed, paid for, committed, refreshed, abandoned, overtaken, and killed at any
step (in a forked process, by SIGKILL); the provider loses answers, lags, sends
twice, fails; entries are cleared, undeleted and purged in between; the database
is lost and made again.

``MOTOOLS_TEST_EXAMPLES=2000`` searches longer, with fresh randomness.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from motools.cache import Cache, Claim, Entry, removal
from motools.cache.attempt import FAILED, SUCCEEDED
from motools.cache.documents import Problem
from motools.cache.entry import COLUMNS
from motools.cache.journal import Job
from motools.cache.undelete import undelete
from motools.errors import (
    KeyNotFoundError,
    LeaseLostError,
    LeaseTimeoutError,
    SubmissionUnsettledError,
)
from motools.settings import Settings
from tests.cache.conftest import MEMORY, action, lose_the_database
from tests.cache.hosts import movable_clock, second_host
from tests.cache.provider import VISIBILITY, Provider
from tests.cache.steps import in_child
from tests.postgresql import Server
from tests.s3 import Bucket

ACTIONS = {name: action(name, kind="model") for name in ("one", "two")}
LEASE = 60.0

keys = st.sampled_from(sorted(ACTIONS))
hosts = st.sampled_from(["a", "b"])
seldom = st.sampled_from([True, False, False, False])
picks = st.integers(0, 3)
fates = st.sampled_from(["ok", "ok", "lost", "slow", "refused", "twice"])
lags = st.sampled_from([0.0, VISIBILITY])


@dataclass
class Running:
    """A claim that is held."""

    claim: Claim
    refresh: bool
    job: Job | None = None

    @property
    def token(self) -> int:
        return self.claim.context.lease.token


@dataclass
class Made:
    """A generation that was committed."""

    number: int
    value: Any
    live: bool = True


def write_files(directory: Path, job_id: str) -> None:
    (directory / "weights").write_text(f"weights of {job_id}")
    (directory / "shared").write_text("the same in every entry")


class Protocol(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._clock = movable_clock()
        self.clock = self._clock.__enter__()
        self.folder = Path(tempfile.mkdtemp(prefix="protocol-", dir=MEMORY))
        self.roots = {"a": self.folder / "a"}
        self.roots["b"] = second_host(self.roots["a"], self.folder / "b")
        self.caches = {host: self.open(host) for host in self.roots}
        self.provider = Provider(self.folder / "provider.json", self.clock)
        self.running: dict[tuple[str, str], Running] = {}
        self.made: dict[str, list[Made]] = {name: [] for name in ACTIONS}
        self.tokens: dict[str, int] = {}
        self.plan: removal.RemovalPlan | None = None

    def open(self, host: str) -> Cache:
        return Cache.open(self.roots[host], settings=Settings.load(lease_seconds=LEASE))

    # Running

    @rule(name=keys, host=hosts, refresh=seldom)
    def claim(self, name: str, host: str, refresh: bool) -> None:
        before = self.newest(name)
        blocked = self.blocked(name, host)
        try:
            found = self.caches[host].claim(ACTIONS[name], refresh=refresh, timeout=0)
        except LeaseTimeoutError as problem:
            assert blocked, problem
            event("waited for another runner")
            return
        if isinstance(found, Entry):
            assert before is not None and not refresh
            return
        assert not blocked, "two runners of one key"
        assert refresh or before is None
        self.running[name, host] = Running(found, refresh)

    @rule(name=keys, host=hosts, refresh=seldom, fate=fates, lag=lags, stopped=seldom, ended=seldom)
    def run(
        self, name: str, host: str, refresh: bool, fate: str, lag: float, stopped: bool, ended: bool
    ) -> None:
        """What most runs do, so that chance need not put it together."""
        self.claim(name, host, refresh)
        if (name, host) in self.running:
            pick = sorted(self.running).index((name, host))
            self.submit(pick, fate, lag, stopped)
            if ended:
                self.finish(pick)
            elif fate != "ok":
                self.abandon(pick)

    @precondition(lambda self: self.running)
    @rule(pick=picks, fate=fates, lag=lags, stopped=seldom)
    def submit(self, pick: int, fate: str, lag: float, stopped: bool) -> None:
        name, host = self.picked(pick)
        running = self.running[name, host]
        if running.job is not None:
            return
        if stopped:
            self.provider.before_find = lambda: self.overtaken_while_stopped(name, host, lag)
        self.provider.fate, self.provider.lag = fate, lag
        self.provider.refreshing = running.refresh
        if running.refresh:
            self.spend(self.caches[host], name)
        try:
            running.job = running.claim.context.submit(self.provider)
        except ConnectionError:
            assert fate in ("lost", "slow", "refused")
            event("lost the answer")
        except SubmissionUnsettledError:
            event("refused to submit: unsettled")
        except LeaseLostError:
            assert self.overtaken(name, running)
            event("refused to submit: overtaken")
        finally:
            self.provider.before_find = lambda: None

    @precondition(lambda self: self.running)
    @rule(pick=picks, lag=lags)
    def overtake(self, pick: int, lag: float) -> None:
        self.overtaken_while_stopped(*self.picked(pick), lag)

    def overtaken_while_stopped(self, name: str, host: str, lag: float) -> None:
        """While one host is stopped, the other one runs the key."""
        self.provider.before_find = lambda: None
        self.clock.advance(LEASE + 1)
        other = "b" if host == "a" else "a"
        self.claim(name, other, refresh=False)
        if (name, other) in self.running:
            self.submit(sorted(self.running).index((name, other)), "ok", lag, False)

    @precondition(lambda self: self.running)
    @rule(pick=picks)
    def finish(self, pick: int) -> None:
        name, host = self.picked(pick)
        running = self.running[name, host]
        if running.job is None:
            return
        journal = self.caches[host].journal
        self.clock.advance(VISIBILITY + 1)
        job = running.claim.context.confirm(running.job, self.provider)
        usable = [sent.id for sent in self.provider.find(ACTIONS[name].key) if sent.usable]
        if job.id not in usable:
            journal.end(job, FAILED, self.provider)
            self.running.pop((name, host)).claim.abandon()
            return
        assert len(self.provider.live(ACTIONS[name].key)) <= 1, "two live jobs after settling"
        journal.end(job, SUCCEEDED, self.provider)
        del self.running[name, host]
        overtaken = self.overtaken(name, running)
        with running.claim as claim:
            write_files(claim.context.directory, job.id)
            if overtaken:
                event("refused to commit: overtaken")
                with pytest.raises(LeaseLostError):
                    claim.commit({"job": job.id})
                return
            entry = claim.commit({"job": job.id})
        self.made[name].append(Made(entry.generation, {"job": job.id}))
        event("committed")

    @precondition(lambda self: self.running)
    @rule(pick=picks)
    def abandon(self, pick: int) -> None:
        self.running.pop(self.picked(pick)).claim.abandon()

    def picked(self, pick: int) -> tuple[str, str]:
        return sorted(self.running)[pick % len(self.running)]

    @rule(name=keys)
    def job_fails_at_provider(self, name: str) -> None:
        for job_id in self.provider.live(ACTIONS[name].key):
            self.provider.mark(job_id, usable=False)

    @rule(
        name=keys,
        host=hosts,
        refresh=seldom,
        fate=st.sampled_from(["ok", "ok", "lost"]),
        die_at=st.integers(1, 90),
    )
    def run_and_die(self, name: str, host: str, refresh: bool, fate: str, die_at: int) -> None:
        self.provider.fate, self.provider.lag = fate, VISIBILITY
        self.provider.refreshing = refresh

        def work(at: Any) -> None:
            self.provider.before_send = lambda: at("before the submission arrives")
            self.provider.after_send = lambda: at("after the submission arrived")
            cache = self.open(host)
            try:
                found = cache.claim(ACTIONS[name], refresh=refresh, timeout=0)
                if isinstance(found, Entry):
                    return
                if refresh:
                    self.spend(cache, name)
                with found as claim:
                    job = claim.context.submit(self.provider)
                    cache.journal.end(job, SUCCEEDED, self.provider)
                    write_files(claim.context.directory, job.id)
                    claim.commit({"job": job.id})
            except (LeaseTimeoutError, ConnectionError, SubmissionUnsettledError):
                pass

        self.close()  # what a killed process had in memory is not ours to lose
        assert in_child(work, die_at) in (0, -9)
        known = {made.number for made in self.made[name]}
        for number, value in self.rows("SELECT generation, value FROM entries WHERE key = ?", name):
            if number not in known:
                job_id = value.removeprefix('{"job":"').removesuffix('"}')
                assert job_id in [job["id"] for job in self.provider.jobs]
                self.made[name].append(Made(number, {"job": job_id}))
                event("committed by a process that was killed")

    # Time, and what else people do

    @rule(seconds=st.sampled_from([1.0, VISIBILITY + 1, LEASE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(host=hosts)
    def reopen(self, host: str) -> None:
        if not any(holder == host for _, holder in self.running):
            self.caches[host].close()
            self.caches[host] = self.open(host)

    @rule(name=keys, host=hosts, files=st.booleans())
    def plan_to_clear(self, name: str, host: str, files: bool) -> None:
        cache = self.caches[host]
        chosen = [entry for entry in cache.entries() if entry.key == ACTIONS[name].key]
        self.plan = removal.plan(cache, chosen, files=files)

    @rule(name=keys, host=hosts)
    def clear(self, name: str, host: str) -> None:
        if self.plan is None:
            self.plan_to_clear(name, host, files=True)
        assert self.plan is not None
        removal.execute(self.caches[host], self.plan)
        for entry in self.plan.entries:
            for made in self.made[self.name(entry.key)]:
                made.live = made.live and made.number > entry.generation
        self.plan = None

    @rule(name=keys, host=hosts)
    def undelete(self, name: str, host: str) -> None:
        gone = [made for made in self.made[name] if not made.live]
        if not gone:
            with pytest.raises(KeyNotFoundError):
                undelete(self.caches[host], [ACTIONS[name].key])
            return
        undelete(self.caches[host], [ACTIONS[name].key])
        for made in gone:
            made.live = True

    @rule(host=hosts)
    def purge(self, host: str) -> None:
        removal.purge(self.caches[host], before=4e9)
        self.plan = None
        for name, made in self.made.items():
            self.made[name] = [one for one in made if one.live]

    @precondition(lambda self: not self.running)
    @rule()
    def lose_the_database(self) -> None:
        self.caches["a"].flush()  # until then, the row of a killed process is the only one
        self.close()
        lose_the_database(self.roots["a"])
        self.tokens.clear()
        self.caches = {host: self.open(host) for host in self.roots}

    # What always holds

    @invariant()
    def entries_are_what_was_committed(self) -> None:
        for host, cache in self.caches.items():
            for name, found in zip(ACTIONS, cache.look_up(list(ACTIONS.values())), strict=True):
                made = self.newest(name)
                assert (found is None) == (made is None), (host, name)
                if found is None or made is None:
                    continue
                assert (found.generation, found.value) == (made.number, made.value)
                assert found.files["weights"].read_text() == f"weights of {made.value['job']}"
                assert found.files["shared"].read_text() == "the same in every entry"

    @invariant()
    def tokens_only_rise(self) -> None:
        tokens = dict(self.caches["a"].database.read("SELECT key, token FROM leases"))
        assert all(tokens[key] >= token for key, token in self.tokens.items())
        self.tokens = tokens

    @invariant()
    def documents_are_the_rows(self) -> None:
        cache = self.caches["a"]
        if cache.database.read("SELECT 1 FROM outbox LIMIT 1"):
            return  # a process died before its document was written: at the next open it is
        documents: list[tuple[Any, ...]] = []
        for found in cache.documents.entries():
            assert not isinstance(found, Problem), found
            documents += found
        assert sorted(documents) == sorted(self.all_rows(cache))

    def teardown(self) -> None:
        try:
            while self.running:
                self.abandon(0)
            self.settle()
            self.reindex_elsewhere()
        finally:
            self.close()
            self._clock.__exit__(None, None, None)
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        """However it went, each key comes to one result, with one live job and no hand's help."""
        for name, wanted in ACTIONS.items():
            self.provider.fate, self.provider.lag = "ok", 0.0
            self.provider.refreshing = False
            for host in ("a", "b", "a", "b"):
                self.clock.advance(LEASE + VISIBILITY)
                try:
                    found = self.caches[host].claim(wanted, timeout=0)
                    if isinstance(found, Claim):
                        self.running[name, host] = Running(found, refresh=False)
                        self.running[name, host].job = found.context.submit(self.provider)
                        self.finish(0)
                except SubmissionUnsettledError:
                    self.abandon(0)
            assert self.newest(name) is not None
            assert self.caches["a"].look_up([wanted])[0] is not None

    def reindex_elsewhere(self) -> None:
        self.caches["a"].flush()
        rows = sorted(self.all_rows(self.caches["a"]))
        self.close()
        shutil.copytree(self.roots["a"], self.folder / "copy")
        for path in (self.folder / "copy").glob("cache.db*"):
            path.unlink()
        (self.folder / "copy" / "motools.json").unlink()  # or else it has the same tables
        copy = Cache.open(self.folder / "copy")
        assert sorted(self.all_rows(copy)) == rows
        copy.close()

    # The model

    def newest(self, name: str) -> Made | None:
        return max((m for m in self.made[name] if m.live), key=lambda m: m.number, default=None)

    def overtaken(self, name: str, running: Running) -> bool:
        ((token,),) = self.rows("SELECT token FROM leases WHERE key = ?", name)
        return bool(token > running.token)

    def blocked(self, name: str, host: str) -> bool:
        """Whether the host's own lock is held, or another host's lease has not expired."""
        if (name, host) in self.running:
            return True
        domain = self.caches[host].attempts.domain
        rows = self.rows("SELECT holder, domain, expires_at FROM leases WHERE key = ?", name)
        return any(h is not None and d != domain and t > self.clock() for h, d, t in rows)

    def name(self, key: str) -> str:
        return next(name for name, wanted in ACTIONS.items() if wanted.key == key)

    def spend(self, cache: Cache, name: str) -> None:
        """What was made into an entry is to be replaced; what only succeeded is not."""
        made = cache.index.generations(ACTIONS[name].key)
        self.provider.spend(entry.provenance["job"] for entry in made)

    def rows(self, sql: str, name: str) -> list[Any]:
        return self.caches["a"].database.read(sql, (ACTIONS[name].key,))

    def all_rows(self, cache: Cache) -> list[tuple[Any, ...]]:
        return cache.database.read(f"SELECT {COLUMNS} FROM entries")

    def close(self) -> None:
        for cache in self.caches.values():
            cache.database.close()


class ProtocolOnPostgreSQL(Protocol):
    """The same; that its tables are made again and again takes long."""


class ProtocolInABucket(Protocol):
    """The same, with the bytes in a bucket."""

    bucket: ClassVar[Bucket]

    def __init__(self) -> None:
        os.environ["MOTOOLS_STORE"] = f"{self.bucket.url}/{uuid.uuid4()}"
        super().__init__()


_EXAMPLES = os.environ.get("MOTOOLS_TEST_EXAMPLES")

for machine, examples in (
    (Protocol, 60),
    (ProtocolOnPostgreSQL, 20),
    (ProtocolInABucket, 6),
):
    machine.TestCase.settings = settings(
        max_examples=int(_EXAMPLES or examples),
        stateful_step_count=30,
        derandomize=_EXAMPLES is None,
        phases={Phase.generate},  # to shrink takes minutes
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


class TestProtocol(Protocol.TestCase):  # type: ignore[misc,valid-type]
    """A run, in any order of events, is paid for once and is never lost or altered."""


class TestProtocolOnPostgreSQL(ProtocolOnPostgreSQL.TestCase):  # type: ignore[misc,valid-type]
    """It is, too, where PostgreSQL coordinates."""

    @pytest.fixture(autouse=True)
    def use_postgresql(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MOTOOLS_DATABASE_URL", server.url)


class TestProtocolInABucket(ProtocolInABucket.TestCase):  # type: ignore[misc,valid-type]
    """And where the bytes are in a bucket, too."""

    @pytest.fixture(autouse=True)
    def use_bucket(self, server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MOTOOLS_DATABASE_URL", server.url)
        monkeypatch.setenv("MOTOOLS_STORE", bucket.url)  # so that it is gone afterwards
        ProtocolInABucket.bucket = bucket
