"""A client that pays for a training at a server, and dies, or is stopped, on the way.

Each case has an account of its own at the server: all that it lists was submitted by
that case. The rows are the same for all, so that the server trains once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motools.artifacts import Dataset
from motools.cache import Cache
from motools.errors import SubmissionUnsettledError
from motools.settings import Settings
from motools.steps.options import RunOptions
from motools.steps.train import Train
from motools.training import registry
from motools.training.config import FineTuneConfig
from tests.cache.hosts import second_host
from tests.cache.steps import watched
from tests.faulty import Proxy
from tests.server.running import Running, rows, running

VISIBILITY = 0.4
"""Seconds after which the server, which is behind no cache, has everything in its lists."""

LEASE = 2.0
TOKENS = {f"case-{number}": secrets.token_hex(16) for number in range(1000)}

CALLS = ("connect", "fdatasync", "fsync", "pwrite64", "recvfrom", "rename", "sendto")
"""System calls that change the database, the store, or what the server knows."""

DONE, UNSETTLED, FAILED = 0, 3, 4
"""How a client ended: with the model; with a stop that names the key; with another error."""


@contextlib.contextmanager
def provider(place: Path) -> Iterator[Running]:
    """A server with an account for each case."""
    tokens = place / "tokens.toml"
    tokens.touch(0o600)
    tokens.write_text("".join(f'{name} = "{token}"\n' for name, token in TOKENS.items()))
    with running(place / "server", "--tokens", str(tokens), "--jobs", "1") as server:
        yield server


@dataclass
class Counts:
    """What all cases together came to."""

    cases: int = 0
    jobs: int = 0
    stops: int = 0
    twice: list[str] = field(default_factory=list)


@dataclass
class Case:
    """One client, the cache it pays for, and its account.

    Attributes:
        server: that trains.
        url: that the client reaches it by.
        root: of the cache.
        account: at the server.
    """

    server: Running
    url: str
    root: Path
    account: str

    @property
    def token(self) -> str:
        return TOKENS[self.account]

    @property
    def variable(self) -> str:
        return "MOTOOLS_TEST_KEY"

    def settings(self) -> Settings:
        backend = {
            "base_url": self.url,
            "api_key_env": self.variable,
            "visibility_seconds": VISIBILITY,
            "timeout": 3.0,
        }
        return Settings(backends={"lab": backend}, lease_seconds=LEASE)

    def step(self, patience: float | None = None) -> Train:
        config = FineTuneConfig(base_model="tiny", epochs=1, batch_size=4)
        return Train(
            Dataset.from_rows(rows()), config, backend="lab", options=RunOptions(timeout=patience)
        )

    def pay(
        self, at: Callable[[str], None] | None = None, patience: float | None = None, host: int = 1
    ) -> None:
        """Ask for the model; the process that does has to be a child."""
        os.environ[self.variable] = self.token
        registry._made.cache_clear()
        root = self.root if host == 1 else self.root.with_name(f"{self.root.name}-2")
        cache = Cache.open(root, settings=self.settings())
        step = self.step(patience)
        action = step.action(cache)
        with watched_requests(at) if at else contextlib.nullcontext():
            cache.get_or_run(action, step.run, timeout=patience)

    def start(self, **how: Any) -> int:
        """Pay in a child; returns its process id."""
        return start(lambda: self.pay(**how))

    def run(self, **how: Any) -> int:
        """Pay in a child, to its end; returns how that was."""
        return end_of(self.start(**how))

    def traced(self, *options: str) -> int:
        """Pay in a child under strace, to its end; returns how that was."""
        reader, writer = os.pipe()

        def when_traced() -> None:
            os.close(writer)
            os.read(reader, 1)
            self.pay()

        pid = start(when_traced)
        os.close(reader)
        command = ["strace", "-f", "-qq", "-e", f"trace={','.join(CALLS)}", *options]
        with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL):
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.01)
            os.close(writer)
            return end_of(pid)

    def second_host(self) -> None:
        second_host(self.root, self.root.with_name(f"{self.root.name}-2"))

    def jobs(self) -> list[Any]:
        """Every job of the account, by the server's own word."""
        return list(self.server.client(self.token).fine_tuning.jobs.list(limit=100))

    def files(self) -> list[Any]:
        return list(self.server.client(self.token).files.list(purpose="fine-tune"))

    def settle(self, counts: Counts, uploads: int = 1) -> None:
        """Run again, as a person would, until it has the model or says that it must stop.

        Then there is one job, which has made the model that is in the cache, and one file.

        Args:
            counts: to add to.
            uploads: how many clients may have uploaded the file at the same moment: of two in
                one second the server does not say which was first.
        """
        assert self.run() == DONE, "a second try does not settle it"
        jobs = self.jobs()
        counts.cases += 1
        counts.jobs += len(jobs)
        if len(jobs) != 1:
            counts.twice.append(self.account)
        os.environ[self.variable] = self.token
        registry._made.cache_clear()
        cache = Cache.open(self.root, settings=self.settings())
        [entry] = cache.look_up([self.step().action(cache)])
        states = Counter(each.state for each in cache.attempts.of_key(entry.key if entry else ""))
        cache.close()
        assert entry is not None and entry.remote is not None
        assert [job.fine_tuned_model for job in jobs] == [entry.remote.id]
        assert states["succeeded"] == 1 and not states.keys() & {"intent", "unclear", "submitted"}
        assert 1 <= len(self.files()) <= uploads, "a file was uploaded again"
        assert not list((self.root / "jobs").iterdir()), "something is left of it"


@dataclass
class Cases:
    """Cases one after the other, against one server.

    Attributes:
        server: for all.
        place: where their caches are.
    """

    server: Running
    place: Path
    counts: Counts = field(default_factory=Counts)
    _accounts: Iterator[str] = field(default_factory=lambda: iter(TOKENS))

    def new(self, proxy: Proxy | None = None) -> Case:
        account = next(self._accounts)
        url = self.server.url if proxy is None else f"{proxy.endpoint}/v1"
        return Case(self.server, url, self.place / account, account)


@contextlib.contextmanager
def watched_requests(at: Callable[[str], None]) -> Iterator[None]:
    """Call ``at`` before and after each step of the cache and each request to the server."""
    import httpx2

    send = httpx2.Client.send

    def watched_send(self: Any, request: Any, **options: Any) -> Any:
        name = f"{request.method} {request.url.path}"
        at(f"before {name}")
        answer = send(self, request, **options)
        at(f"after {name}")
        return answer

    httpx2.Client.send = watched_send  # type: ignore[method-assign]
    try:
        with watched(at):
            yield
    finally:
        httpx2.Client.send = send  # type: ignore[method-assign]


def start(work: Callable[[], Any]) -> int:
    """Fork; the child works, and says by its exit status how it ended."""
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        work()
        status = DONE
    except SubmissionUnsettledError:
        status = UNSETTLED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def end_of(pid: int) -> int:
    """The exit status of a child, or minus the number of the signal that killed it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def signalled_at(number: int, signal_number: signal.Signals) -> Callable[[str], None]:
    """What signals the process itself at its n-th step."""
    count = itertools.count(1)

    def at(_name: str) -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal_number)

    return at
