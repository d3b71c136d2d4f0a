"""Many processes, killed and stopped ones, forks, threads and workers: one run per key."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.dialects.postgresql.psycopg

import motools.cache.schema
from motools.cache import Cache, Claim, Entry, RunContext
from motools.cache.lease import LOCK, JobLock
from motools.errors import (
    CacheUnavailableError,
    LeaseLostError,
    LeaseTimeoutError,
    SubmissionUnsettledError,
)
from motools.settings import Settings
from tests.cache.conftest import Runs, action
from tests.cache.hosts import movable_clock, second_host
from tests.cache.provider import VISIBILITY, Provider
from tests.cache.steps import in_child, watched
from tests.postgresql import BOTH
from tests.processes import is_alive
from tests.s3 import EVERYWHERE

ACTION = action()

# Imported before any fork, or else each child takes a second for it.
assert motools.cache.schema
assert sqlalchemy.dialects.postgresql.psycopg
OpenCache = Callable[..., Cache]
LEASE = 4.0  # seconds; busy cores must not make a living holder silent for so long


@contextmanager
def python(script: str, *arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """A fresh interpreter that runs a script; it has printed its first line."""
    head = "import os, signal, sys, time\nfrom pathlib import Path\n"
    head += "from motools.cache import Action, Cache\n"
    head += f"action = Action('function', {{}}, {dict(ACTION.config)}, {dict(ACTION.backend)})\n"
    process = subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), process.stderr and process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


RUN_UNTIL_TOLD = """
def run(context):
    (context.directory / "file").write_text("made by the child")
    print("running", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    return "made by the child"

print(Cache.open(sys.argv[1]).get_or_run(action, run).value, flush=True)
"""


def counted(path: Path) -> Callable[[RunContext], Any]:
    """A run that leaves a line in a file, so that runs of all processes are counted."""

    def run(context: RunContext) -> Any:
        with path.open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        (context.directory / "file").write_text("result")
        return "result"

    return run


@EVERYWHERE
def test_32_processes_run_an_action_once(in_memory: Path, tmp_path: Path) -> None:
    """Invariant 7, on a cache that they also have to make first."""
    root = in_memory / "cache"
    start, log = tmp_path / "start", tmp_path / "runs"
    children = []
    for _ in range(32):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                while not start.exists():
                    time.sleep(0.001)
                entry = Cache.open(root).get_or_run(ACTION, counted(log))
                status = 0 if entry.files["file"].read_text() == entry.value else 2
            finally:
                os._exit(status)
        children.append(pid)
    start.touch()
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert statuses == [0] * 32
    assert len(log.read_text().splitlines()) == 1
    assert not list((root / "jobs").iterdir())


@BOTH
def test_16_threads_run_an_action_once(cache: Cache, tmp_path: Path) -> None:
    """Invariant 7, in one process."""
    log, entries = tmp_path / "runs", []
    barrier = threading.Barrier(16)

    def ask() -> None:
        barrier.wait()
        entries.append(cache.get_or_run(ACTION, counted(log)))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.value for entry in entries] == ["result"] * 16
    assert sum(not entry.hit for entry in entries) == 1
    assert len(log.read_text().splitlines()) == 1


def steps_of(work: Callable[[], None]) -> list[str]:
    """The names of the steps that some work goes through."""
    names: list[str] = []
    with watched(names.append):
        work()
    return names


@EVERYWHERE
def test_killed_at_every_step(
    in_memory: Path, coordinator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariants 1, 2, 7 and 8: whatever step a holder dies at, the next one takes over at once.

    Every step of a paid run is tried: the job is paid for once, the files are
    right, and nothing but the provider's visibility bound is waited for.
    """
    with movable_clock() as clock:
        provider = Provider(in_memory / "provider", clock)

        def run(context: RunContext) -> Any:
            job = context.submit(provider)
            (context.directory / "weights").write_text(f"weights of {job.id}")
            context.cache.journal.end(job, "succeeded", provider)
            return job.id

        store = os.environ.get("MOTOOLS_STORE")
        names = steps_of(lambda: run_once(in_memory / "rehearsal", run))
        assert 40 < len(names) < 200
        # To make the tables in PostgreSQL takes long: some of the steps, the end among them.
        apart = {"sqlite": 1, "postgresql": 7}.get(coordinator, 13)
        for step in range(len(names), 0, -apart):
            root = in_memory / f"{step}"
            if store:
                monkeypatch.setenv("MOTOOLS_STORE", f"{store}/{step}")
            provider.path = in_memory / f"{step}.json"
            assert in_child(lambda _at, r=root: run_once(r, run), die_at=step) == -signal.SIGKILL
            cache = Cache.open(root)
            entry = finish(cache, run, clock.advance)
            assert entry.value == "job-0", names[step - 1]
            assert entry.files["weights"].read_text() == "weights of job-0"
            assert len(provider.jobs) == 1
            assert not list((root / "jobs").iterdir()), names[step - 1]
            assert cache.entry(entry.key).generation == 1
            cache.database.close()


def run_once(root: Path, run: Callable[[RunContext], Any]) -> None:
    Cache.open(root).get_or_run(ACTION, run, timeout=0)


def finish(
    cache: Cache, run: Callable[[RunContext], Any], advance: Callable[[float], None]
) -> Entry:
    try:
        return cache.get_or_run(ACTION, run, timeout=0)
    except SubmissionUnsettledError:
        advance(VISIBILITY + 1)
        return cache.get_or_run(ACTION, run, timeout=0)


@BOTH
def test_killed_while_running(open_cache: OpenCache, root: Path, tmp_path: Path) -> None:
    """Invariant 7: no wait for a lease to expire when the kernel says that its holder is gone."""
    with python(RUN_UNTIL_TOLD, root, tmp_path / "never") as child:
        cache, runs = open_cache(), Runs()
        with pytest.raises(LeaseTimeoutError, match=f"is run by .* pid {child.pid} .alive"):
            cache.get_or_run(ACTION, runs, timeout=0.1)
        child.send_signal(signal.SIGKILL)
        child.wait()
        entry = cache.get_or_run(ACTION, runs, timeout=0)
    assert runs.count == 1
    assert sorted(entry.files) == ["deep/weights.bin", "log.txt"]  # nothing of the dead run


def test_stopped_holder_is_waited_for(root: Path, tmp_path: Path, open_cache: OpenCache) -> None:
    """Invariant 7: a stopped holder may go on any moment, so nobody on its host takes over."""
    said: list[str] = []
    with python(RUN_UNTIL_TOLD, root, tmp_path / "go") as child:
        cache = open_cache()
        child.send_signal(signal.SIGSTOP)
        with movable_clock() as clock:
            clock.advance(1_000.0)  # as if it had been stopped for that long
            with pytest.raises(LeaseTimeoutError, match="no sign of life for"):
                cache.get_or_run(
                    ACTION, Runs(), timeout=0.3, report=lambda text, _: said.append(text)
                )
        assert f"pid {child.pid}" in said[0]
        found: list[Entry] = []
        waiter = threading.Thread(target=lambda: found.append(cache.get_or_run(ACTION, Runs())))
        waiter.start()
        (tmp_path / "go").touch()
        child.send_signal(signal.SIGCONT)
        waiter.join(60)
        child.wait(60)
    assert found[0].value == "made by the child"
    assert found[0].files["file"].read_text() == "made by the child"
    assert found[0].generation == 1


@BOTH
def test_a_stopped_holder_is_overtaken_by_another_host(root: Path, tmp_path: Path) -> None:
    """Invariant 7: an expired lease is taken over, and the late commit is refused."""
    second = second_host(root, tmp_path / "second")
    script = f"""
    from motools.errors import LeaseLostError
    from motools.settings import Settings
    cache = Cache.open(sys.argv[1], settings=Settings.load(lease_seconds={LEASE}))
    claim = cache.claim(action)
    print("running", flush=True)
    try:
        while not Path({str(tmp_path / "go")!r}).exists():
            time.sleep(0.01)
        with claim:
            claim.commit("too late")
    except LeaseLostError as problem:
        print("refused:", problem, flush=True)
    print(cache.look_up([action])[0].value)
    """
    with python(script, root) as child:
        elsewhere = Cache.open(second, settings=Settings.load(lease_seconds=LEASE))
        with pytest.raises(LeaseTimeoutError):  # its heartbeat is there
            elsewhere.get_or_run(ACTION, Runs(), timeout=1.5 * LEASE)
        child.send_signal(signal.SIGSTOP)
        entry = elsewhere.get_or_run(ACTION, lambda _: "in time", timeout=60)
        (tmp_path / "go").touch()
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate(timeout=60)
    assert entry.value == "in time"
    assert said.startswith("refused: the lease on")
    assert said.endswith("in time\n")
    assert elsewhere.look_up([ACTION])[0].value == "in time"
    elsewhere.close()


WORKER = """
import ctypes, os, sys, time
from motools.worker import serve

def main(request, emit):
    emit({"event": "started", "pid": os.getpid()})
    # Sleeps without letting go of the interpreter's lock, as native code may.
    ctypes.PyDLL(None).system(f"touch '{request['sign']}'; sleep 3".encode())
    time.sleep(60)

serve(main)
"""


def test_a_worker_keeps_the_key_while_it_lives(
    root: Path, tmp_path: Path, open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 7: the holder is killed, its worker lives on for a moment; both end."""
    (tmp_path / "busy_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    script = """
    from motools.worker import run_worker
    def run(context):
        return run_worker(
            "busy_worker", {"sign": sys.argv[2]}, log=context.scratch / "log",
            on_event=lambda event: print(event["pid"], flush=True), lock_fds=context.lock_fds,
        )
    print("start", flush=True)
    Cache.open(sys.argv[1]).get_or_run(action, run)
    """
    cache, runs = open_cache(), Runs()
    sign = tmp_path / "busy"
    with python(script, root, sign) as child:
        assert child.stdout is not None
        worker = int(child.stdout.readline())
        while not sign.exists():  # until then the worker would leave at once
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        with pytest.raises(LeaseTimeoutError):
            cache.get_or_run(ACTION, runs, timeout=0.1)
        assert is_alive(worker)
        cache.get_or_run(ACTION, runs, timeout=60)
        assert runs.count == 1
        assert not is_alive(worker)


def test_interrupted_run_leaves_the_key_free(
    root: Path, tmp_path: Path, open_cache: OpenCache
) -> None:
    """Ctrl-C in the middle: nothing is stored, the scratch files stay, the key is free."""
    script = """
    def run(context):
        (context.directory / "half").write_text("half")
        (context.scratch / "checkpoint").write_text("step 3")
        print("running", flush=True)
        time.sleep(60)
    Cache.open(sys.argv[1]).get_or_run(action, run)
    """
    with python(script, root) as child:
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
    cache = open_cache()
    assert cache.look_up([ACTION]) == [None]
    assert cache.leases.holder(ACTION.key) is None

    def resume(context: RunContext) -> Any:
        assert not list(context.directory.iterdir())
        return (context.scratch / "checkpoint").read_text()

    assert cache.get_or_run(ACTION, resume, timeout=0).value == "step 3"


@EVERYWHERE
def test_a_fork_may_use_its_parents_cache(cache: Cache, runs: Runs) -> None:
    """Invariant 11: SQLite loses what a child commits beside connections of before the fork."""
    cache.get_or_run(ACTION, runs)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            cache.get_or_run(action("by the child"), runs)
            os.read(reader, 1)  # the parent has closed its connections, and others have written
            cache.get_or_run(action("by the child, later"), runs)
            status = 0 if cache.get_or_run(ACTION, runs).hit else 2
        finally:
            os._exit(status)
    cache.get_or_run(action("by the parent"), runs)
    cache.database.close()
    with python("print(Cache.open(sys.argv[1]).get_or_run(action, None).value)", cache.root):
        pass
    os.write(writer, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    names = ["by the child", "by the child, later", "by the parent"]
    assert None not in cache.look_up([ACTION, *map(action, names)])
    cache.database.check()


@BOTH
def test_a_fork_while_threads_write(cache: Cache) -> None:
    """Invariant 11: a fork waits for what is under way, and the child is not stuck."""
    stop = threading.Event()

    def write() -> None:
        count = 0
        while not stop.is_set():
            cache.memo.record("test", f"{threading.get_ident()}-{count}", "", count)
            count += 1

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            assert in_child(lambda _at, n=number: cache.memo.record("child", str(n), "", n)) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [cache.memo.recall("child", str(n), "") for n in range(5)] == list(range(5))


@BOTH
def test_a_forks_copy_of_a_claim_is_not_its_own(cache: Cache, runs: Runs) -> None:
    """Invariant 7: a child that leaves its parent's ``with`` does not give the key away."""
    claim = cache.claim(ACTION)
    assert isinstance(claim, Claim)
    with claim:
        assert in_child(lambda _at: claim.__exit__(None, None, None)) == 0
        with pytest.raises(LeaseTimeoutError):
            cache.get_or_run(ACTION, runs, timeout=0)
        entry = claim.commit("by the parent")
    assert cache.get_or_run(ACTION, runs).value == entry.value == "by the parent"


@BOTH
def test_the_heartbeat_keeps_a_lease(root: Path, tmp_path: Path) -> None:
    """Invariant 7: for as long as it beats, and a report that fails does not stop it."""
    second = second_host(root, tmp_path / "second")
    settings = Settings.load(lease_seconds=LEASE)
    cache, elsewhere = Cache.open(root, settings=settings), Cache.open(second, settings=settings)

    def fail(*_: object) -> None:
        raise RuntimeError("the display is broken")

    lost = cache.claim(action("lost"), report=fail)
    kept = cache.claim(ACTION)
    assert isinstance(lost, Claim) and isinstance(kept, Claim)
    with cache.database.write() as transaction:  # as another host does, which the clock favoured
        transaction.run("UPDATE leases SET token = token + 1 WHERE key = :k", k=lost.context.key)
    with pytest.raises(LeaseTimeoutError):
        elsewhere.get_or_run(ACTION, lambda _: "stolen", timeout=1.5 * LEASE)
    assert kept.commit("kept").value == "kept"
    with lost, pytest.raises(LeaseLostError):
        lost.commit("lost")
    for opened in (cache, elsewhere):
        opened.close()


def test_a_lock_whose_file_was_removed_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 7: the holder gives the key up between the next one's opening and locking."""
    job = tmp_path / "job"
    holder, flock = JobLock.try_take(job), fcntl.flock
    assert holder is not None

    def release_first(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        holder.release(remove=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", release_first)
    following = JobLock.try_take(job)
    assert following is not None
    assert os.path.samestat(os.fstat(following.descriptor), (job / LOCK).stat())
    assert JobLock.try_take(job) is None
    following.release(remove=True)
    assert not job.exists()


def test_giving_a_key_up_leaves_the_next_holders_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 7: the next one may take the lock as soon as its file is gone."""
    job = tmp_path / "job"
    holder, unlink = JobLock.try_take(job), Path.unlink
    assert holder is not None
    (job / "scratch").mkdir()
    taken: list[JobLock | None] = []

    def take_next(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name == LOCK:
            taken.append(JobLock.try_take(job))
            (job / "scratch").mkdir()

    monkeypatch.setattr(Path, "unlink", take_next)
    holder.release(remove=True)
    assert taken[0] is not None
    assert (job / "scratch").is_dir()
    assert JobLock.try_take(job) is None
    monkeypatch.undo()
    taken[0].release(remove=True)


def test_a_job_directory_that_comes_and_goes_can_be_locked(tmp_path: Path) -> None:
    """Many take and remove it at once: whoever meets it half way tries again."""
    job = tmp_path / "jobs" / "key"

    def take_and_remove() -> int:
        taken = 0
        for _ in range(2_000):
            if (lock := JobLock.try_take(job)) is not None:
                lock.release(remove=True)
                taken += 1
        return taken

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(take_and_remove) for _ in range(4)]
        assert sum(future.result() for future in futures) > 0
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnavailableError, match="cannot lock"):
        JobLock.try_take(tmp_path / "file")
