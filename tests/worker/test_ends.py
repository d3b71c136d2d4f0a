"""Whatever ends first, and however: no worker outlives its holder, and no work is lost."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from motools.errors import StoppedError, WorkerError
from motools.stopping import stop
from motools.worker import fork_server
from tests.processes import is_alive, until

from .conftest import HEAVY, Workplace

HOLDER = """
import fcntl, json, os, sys
from pathlib import Path
from motools.worker import run_worker

with open("lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    run_worker(
        "job", json.load(sys.stdin), log=Path("log"), imports=("heavy",),
        on_event=lambda event: print(json.dumps(event), flush=True), lock_fds=(lock.fileno(),),
    )
"""
BUSY = """
import ctypes, time
emit({"event": "here", "worker": os.getpid(), "server": heavy.pid})
if request.get("deaf"):  # keeps the interpreter to itself, as native code may
    ctypes.PyDLL(None).system(b"touch deaf; sleep 2")
time.sleep(60)
"""


@contextmanager
def holding(place: Path, **request: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A program with a worker, and what that has said."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=place,
        text=True,
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.write(json.dumps({"code": BUSY, **request}))
        holder.stdin.close()
        try:
            yield holder, json.loads(holder.stdout.readline())
        finally:
            holder.kill()


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("stopped", [(), ("holder",), ("server",), ("holder", "server")], ids=str)
def test_all_die_with_the_holder(
    workplace: Workplace, tmp_path: Path, stopped: tuple[str, ...]
) -> None:
    with holding(tmp_path) as (holder, pids):
        pids["holder"] = holder.pid
        for name in stopped:
            os.kill(pids[name], signal.SIGSTOP)
        holder.kill()
        holder.wait()
        assert until(lambda: not is_alive(pids["worker"]))
        assert until(lambda: not is_alive(pids["server"]))
        assert is_free(tmp_path / "lock")


def test_a_worker_that_does_not_listen_keeps_the_lock_as_long_as_it_is_alive(
    workplace: Workplace, tmp_path: Path
) -> None:
    with holding(tmp_path, deaf=True) as (holder, pids):
        assert until((tmp_path / "deaf").exists)
        holder.kill()
        holder.wait()
        assert until(lambda: not is_alive(pids["server"]))
        assert is_alive(pids["worker"]) and not is_free(tmp_path / "lock")
        assert until(lambda: not is_alive(pids["worker"]))
        assert is_free(tmp_path / "lock")


def test_a_server_dies_with_its_holder_while_it_imports(
    workplace: Workplace, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    workplace.write(
        "heavy",
        f"import ctypes, os\nopen({str(said)!r}, 'w').write(str(os.getpid()))\n"
        "ctypes.PyDLL(None).sleep(60)\n",
    )
    code = HOLDER.replace("json.load(sys.stdin)", "{'code': ''}")
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as holder:
        assert until(lambda: said.exists() and bool(said.read_text()))
        assert is_alive(int(said.read_text()))
        holder.kill()
    assert until(lambda: not is_alive(int(said.read_text())))


FORKING = HOLDER.replace(
    "print(json.dumps(event), flush=True)",
    "print(json.dumps({**event, 'fork': fork()}), flush=True)",
).replace(
    "with open",
    """
import multiprocessing, time
def fork():
    lasting = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    lasting.start()
    return lasting.pid
with open""",
)


@pytest.mark.parametrize("imports", ["('heavy',)", "()"])
def test_a_fork_of_the_holder_keeps_no_worker_alive(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: str
) -> None:
    code = FORKING.replace("('heavy',)", imports).replace('("heavy",)', imports)
    monkeypatch.setitem(globals(), "HOLDER", code)
    with holding(tmp_path) as (holder, pids):
        holder.kill()
        holder.wait()
        assert until(lambda: not is_alive(pids["worker"]))
        assert is_alive(pids["fork"])
        os.kill(pids["fork"], signal.SIGKILL)


def test_a_fork_of_the_holder_has_a_server_of_its_own(workplace: Workplace) -> None:
    first = workplace.run("value = heavy.pid")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(workplace.run("value = heavy.pid")).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as said:
        of_fork = json.loads(said.read())
    os.waitpid(child, 0)
    assert of_fork != first
    assert until(lambda: not is_alive(of_fork))
    assert workplace.run("value = heavy.pid") == first


def test_a_worker_goes_on_when_its_server_is_killed(workplace: Workplace, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(event: dict[str, Any]) -> None:
        os.kill(event["server"], signal.SIGKILL)
        assert until(lambda: not is_alive(event["server"]))
        killed.append(event["server"])
        (tmp_path / "go").touch()

    code = """
    import time
    emit({"event": "here", "server": heavy.pid})
    while not os.path.exists("go"):
        time.sleep(0.01)
    value = heavy.pid
    """
    assert workplace.run(code, on_event=kill, directory=tmp_path) == killed[0]
    assert workplace.run("value = heavy.pid") != killed[0], "the next has another"


def test_how_a_worker_ended_may_not_be_known_without_its_server(workplace: Workplace) -> None:
    def kill(event: dict[str, Any]) -> None:
        os.kill(event["server"], signal.SIGKILL)
        assert until(lambda: not is_alive(event["server"]))
        os.kill(event["worker"], signal.SIGKILL)

    with pytest.raises(WorkerError, match="in a way that is not known, as the process that forked"):
        workplace.run(BUSY, on_event=kill)


def test_a_server_that_is_stopped_holds_up_what_is_new_and_nothing_else(
    workplace: Workplace,
) -> None:
    server = workplace.run("value = heavy.pid")

    def halt(event: dict[str, Any]) -> None:
        os.kill(server, signal.SIGSTOP)

    assert workplace.run("emit({'event': 'here'}); value = 1", on_event=halt) == 1
    timer = threading.Timer(0.3, stop)
    timer.start()
    with pytest.raises(StoppedError):
        workplace.run("value = 1")
    threading.Timer(0.3, os.kill, (server, signal.SIGCONT)).start()
    assert workplace.run("value = heavy.pid") == server


def test_a_server_leaves_when_it_is_idle_and_the_next_worker_has_another(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "IDLE_SECONDS", 0.3)
    first = workplace.run("import time; time.sleep(0.6); value = heavy.pid")
    assert until(lambda: not Path(f"/proc/{first}").exists()), "nor does it stay in the list"
    assert workplace.run("value = heavy.pid") != first


def test_a_server_that_was_replaced_ends_after_its_workers(workplace: Workplace) -> None:
    servers: list[int] = []

    def replace(event: dict[str, Any]) -> None:
        servers.append(event["server"])
        workplace.write("heavy", HEAVY + "# edited\n")
        servers.append(workplace.run("value = heavy.pid"))

    code = "import time; emit({'event': 'here', 'server': heavy.pid}); time.sleep(0.3); os._exit(3)"
    with pytest.raises(WorkerError, match="exited with 3"):
        workplace.run(code, on_event=replace)
    assert servers[0] != servers[1]
    assert until(lambda: not is_alive(servers[0]))
    assert is_alive(servers[1])
