"""Forked workers are what fresh interpreters are."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from motools.errors import StoppedError, WorkerError
from motools.stopping import stop
from motools.worker import fork_server
from tests.processes import is_alive

from .conftest import HEAVY, Workplace

WHERE = """
import sys
value = {
    "forked": heavy.pid != os.getpid(),
    "by": heavy.pid,
    "leads": [os.getsid(0), os.getpgid(0)] == [os.getpid()] * 2,
    "directory": os.getcwd(),
    "path": sys.path,
    "open": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "threads": len(os.listdir("/proc/self/task")),
    "environment": dict(os.environ),
    "umask": os.popen("umask").read(),
}
"""


def test_a_forked_worker_finds_what_a_fresh_one_finds(workplace: Workplace, tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other, open(tmp_path / "lock", "w") as lock:
        options: dict[str, Any] = {
            "lock_fds": (lock.fileno(),),
            "sockets": (other.fileno(),),
            "env": {"SAID": "\udcff ü"},
            "directory": tmp_path,
        }
        fresh = workplace.run(WHERE, imports=(), **options)
        forked = workplace.run(WHERE, **options)
        assert {lock.fileno(), other.fileno()} < set(forked["open"])
    assert (fresh.pop("forked"), forked.pop("forked")) == (False, True)
    assert (fresh.pop("by"), forked.pop("by"))[0]
    assert forked == fresh
    assert forked["leads"] and forked["directory"] == str(tmp_path)


def test_workers_are_forked_off_one_process_and_share_nothing(workplace: Workplace) -> None:
    code = """
    import random
    assert open("/proc/self/comm").read() == "job\\n"
    heavy.state.append(os.getpid())
    os.environ["LEFT"] = "behind"
    value = [heavy.pid, heavy.state, random.random(), os.environ.get("LEFT")]
    """
    first, second = workplace.run(code), workplace.run(code)
    assert first[0] == second[0] != os.getpid()
    assert len(first[1]) == len(second[1]) == 1
    assert first[1] != second[1] and first[2] != second[2]


def test_random_numbers_of_numpy_are_not_those_of_another_worker(workplace: Workplace) -> None:
    code = "import numpy; value = [heavy.pid, numpy.random.rand()]"
    options: dict[str, Any] = {"imports": ("heavy", "numpy"), "env": {"OMP_NUM_THREADS": "1"}}
    first, second = workplace.run(code, **options), workplace.run(code, **options)
    assert first[0] == second[0] and first[1] != second[1]


def test_many_at_once_each_have_their_own(workplace: Workplace, tmp_path: Path) -> None:
    def run(number: int) -> Any:
        events: list[dict[str, Any]] = []
        log, (ours, theirs) = tmp_path / f"log-{number}", socket.socketpair()
        with ours, theirs:
            code = """
            import socket, time
            print("of", request["number"])
            emit({"event": "number", "number": request["number"]})
            assert socket.socket(fileno=request["socket"]).send(b"%d" % request["number"])
            time.sleep(0.2)
            value = [heavy.pid, request["number"]]
            """
            request = {"number": number, "socket": theirs.fileno()}
            sockets = (theirs.fileno(),)
            value = workplace.run(
                code, request=request, sockets=sockets, log=log, on_event=events.append
            )
            assert ours.recv(9) == str(number).encode()
        assert log.read_text() == f"of {number}\n"
        assert events == [{"event": "number", "number": number}]
        return value

    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(run, range(16)))
    assert values == [[values[0][0], number] for number in range(16)]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('last words'); os._exit(3)", r"exited with 3 .*\nlast words"),
        ("print('last words'); os.abort()", r"ended by SIGABRT .*\nlast words"),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL, as the kernel does where memory runs out"),
        ("os.kill(os.getpid(), 40)", "ended by signal 40 "),
        ("raise ValueError('a reason')", "ValueError: a reason"),
    ],
)
def test_how_a_worker_failed_is_told(workplace: Workplace, code: str, said: str) -> None:
    with pytest.raises(WorkerError, match=said):
        workplace.run(code)
    text = workplace.log.read_text()
    assert "kill" in code or "Traceback" in text or "last words" in text


def test_a_worker_that_cannot_begin_says_why(workplace: Workplace) -> None:
    workplace.write("job", "import nothing_of_this_name\n")
    with pytest.raises(WorkerError, match=r"exited with 1 (?s:.*)No module named 'nothing_of"):
        workplace.run("")


def test_an_interrupt_ends_a_forked_worker(workplace: Workplace) -> None:
    pids: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        pids.append(event["pid"])
        threading.Timer(0.1, stop).start()

    code = "import time; emit({'event': 'here', 'pid': os.getpid()}); time.sleep(60)"
    with pytest.raises(StoppedError):
        workplace.run(code, on_event=interrupt)
    assert not is_alive(pids[0])


@pytest.mark.parametrize(
    ("heavy", "why"),
    [
        (
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
            "its imports have started 1 threads",
        ),
        ("file = open('/dev/zero')\n", "its imports have opened /dev/zero"),
        (
            "import sys\nif sys.argv[0].endswith('forking.py'): os._exit(3)\n",
            "the process that forks has ended while it imported",
        ),
    ],
    ids=["a thread", "a file", "its end"],
)
def test_where_a_fork_would_not_be_as_fresh_there_is_a_fresh_one(
    workplace: Workplace, heavy: str, why: str
) -> None:
    workplace.write("heavy", HEAVY + heavy)
    for _ in range(2):
        assert workplace.run("value = heavy.pid == os.getpid()")
        assert f"not forked, but a fresh interpreter: {why}" in workplace.log.read_text()
        workplace.log.unlink()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("heavy", HEAVY.replace("1", "2") + "import light\n"),
        ("light", "version = 2\n"),
        ("yaml", "version = 2\n"),
    ],
    ids=["imported", "imported by that", "in front of another"],
)
def test_code_that_changed_is_not_run_as_it_was(
    workplace: Workplace, module: str, source: str
) -> None:
    workplace.write("light", "version = 1\n")
    workplace.write("heavy", HEAVY + "import light\n")
    code = f"import {module}; value = [heavy.pid, getattr({module}, 'version', 1)]"
    before = workplace.run(code)
    assert workplace.run(code) == before == [before[0], 1]
    workplace.write(module, source)
    after = workplace.run(code)
    assert after[1] == 2 and after[0] != before[0]


def test_what_is_read_at_import_is_what_the_worker_is_given(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.write("heavy", HEAVY + "seen = os.environ.get('SEEN')\n")
    code = "value = [heavy.pid, heavy.seen, os.environ.get('SEEN'), os.environ.get('MOTOOLS_SAID')]"
    first = workplace.run(code, env={"SEEN": "1", "MOTOOLS_SAID": "a"})
    again = workplace.run(code, env={"SEEN": "1", "MOTOOLS_SAID": "b"})
    assert first == [first[0], "1", "1", "a"] and again == [first[0], "1", "1", "b"]
    monkeypatch.setenv("SEEN", "2")
    other = workplace.run(code)
    assert other == [other[0], "2", "2", None] and other[0] != first[0]
    monkeypatch.delenv("SEEN")
    assert workplace.run(code)[1:] == [None, None, None]


def test_modules_of_the_working_directory_are_found_but_not_imported_ahead(
    workplace: Workplace, tmp_path: Path
) -> None:
    (tmp_path / "heavy.py").write_text("raise SystemExit('a user has a module of this name')\n")
    (tmp_path / "own.py").write_text("here = True\n")
    assert workplace.run("import own; value = own.here", directory=tmp_path)


def test_a_relative_path_means_the_working_directory(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{os.environ['PYTHONPATH']}")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "heavy.py").write_text(f"import os\npid, name = os.getpid(), {name!r}\n")
    for name in ("one", "two"):
        value = workplace.run("value = heavy.name, heavy.pid", directory=tmp_path / name)
        assert value == [name, fork_server._servers["heavy"].process.pid]


def test_a_server_imports_what_else_is_asked_for(workplace: Workplace) -> None:
    workplace.write("light", "import os\npid = os.getpid()\n")
    code = "import sys; value = [heavy.pid, 'light' in sys.modules and sys.modules['light'].pid]"
    server = workplace.run(code)[0]
    assert workplace.run(code) == [server, False]
    imports = ("heavy", "nothing_of_this_name", "light")
    assert workplace.run(code, imports=imports) == [server, server]
    assert workplace.run(code) == [server, server]
