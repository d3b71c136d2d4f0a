"""The process that holds the models: one for all evaluations, and gone when it should be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from motools import release_memory
from motools.errors import EvaluationError
from motools.evals.connection import Connection
from motools.training.local import host, tiny
from tests.processes import is_alive, until

from .conftest import Project

MODEL = {"base": {"kind": "tiny", "recipe": tiny.RECIPE}, "adapter": None, "name": "tiny"}
SPEC = {**MODEL, "digest": "t"}
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def no_host() -> Iterator[None]:
    host.release()
    yield
    host.release()


@contextmanager
def connected() -> Iterator[Connection]:
    with host.connection() as end:
        connection = Connection(os.dup(end.fileno()))
        yield connection
        connection.close()


def pid() -> int:
    found = host._hosts[0].pid
    assert found is not None
    return found


def gone(process: int) -> bool:
    return until(lambda: not is_alive(process))


def answer(connection: Connection, max_tokens: int = 3) -> Any:
    return connection.answer("t", HI, max_tokens=max_tokens, sampling=None, stop=())


@pytest.mark.slow
def test_ten_evaluations_of_one_model_load_it_once(project: Project, tmp_path: Path) -> None:
    def run(number: int) -> Any:
        project = Project(directory, tmp_path / str(number), memo)
        project.scratch.mkdir()
        return project.run(model=MODEL, identity=identity, max_tokens=4, epochs=2).value

    directory, memo = project.directory, project.memo
    identity = project.identify(max_tokens=4, epochs=2)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, range(10)))
    assert found == [found[0]] * 10
    assert host._hosts[0].log.read_text().count("loaded ") == 1
    held = pid()
    assert release_memory() > 10**6
    assert gone(held)


def test_memory_comes_back_when_nobody_needs_the_model() -> None:
    with connected() as connection:
        connection.load(SPEC)()
        log = host._hosts[0].log
        assert release_memory() == 0
        assert answer(connection).output_tokens == 3
        held = pid()
    assert release_memory() > 10**6
    assert not is_alive(held) and not log.exists()
    assert release_memory() == 0


def test_a_model_that_is_quantised_has_a_host_that_can_load_it() -> None:
    """The host that was there serves those whom it has, and is not asked by others again."""
    with connected() as connection:
        connection.load(SPEC)()
        plain = pid()
        with host.connection({**SPEC, "quantization": {"kind": "8bit", "dtype": "float32"}}):
            able = pid()
        with connected():
            assert pid() == able != plain
        assert answer(connection).output_tokens == 3
    assert release_memory() > 10**6
    assert gone(plain) and gone(able)


def test_an_idle_host_ends_and_the_next_evaluation_starts_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "IDLE_SECONDS", 0.5)
    with connected():
        first = pid()
        time.sleep(2)
        assert is_alive(first)
    assert gone(first)
    with connected() as connection:
        connection.load(SPEC)()
        assert pid() != first


@pytest.mark.slow
def test_a_host_that_is_killed_fails_those_connected_and_the_next_has_another(
    project: Project,
) -> None:
    def kill(event: dict[str, Any]) -> None:
        if event.get("done") == 1:
            os.kill(pid(), signal.SIGKILL)

    why = "the process that holds the models ended: .* ended by SIGKILL, as the kernel .*-host-"
    with pytest.raises(EvaluationError, match=why):
        project.run(model=MODEL, max_tokens=60, on_event=kill, epochs=40)
    with connected() as connection:
        connection.load(SPEC)()
        assert answer(connection).text


def test_what_a_model_cannot_do_is_an_error_of_the_asker_alone() -> None:
    with connected() as one, connected() as other:
        other.load(SPEC)()
        with pytest.raises(EvaluationError, match="tiny of recipe 99"):
            one.load({"base": {"kind": "tiny", "recipe": 99}, "digest": "99"})()
        with pytest.raises(EvaluationError, match="KeyError"):
            one.answer("never loaded", HI, max_tokens=1, sampling=None, stop=())
        assert answer(other).text


def test_an_asker_that_leaves_in_the_middle_disturbs_nobody() -> None:
    with connected() as other:
        other.load(SPEC)()
        with connected() as one, ThreadPoolExecutor(2) as threads:
            one.load(SPEC)()
            left = threads.submit(answer, one, 300)
            stays = threads.submit(answer, other, 300)
            time.sleep(0.3)
            one._socket.shutdown(socket.SHUT_RDWR)
            with pytest.raises(EvaluationError, match="ended"):
                left.result(60)
        assert stays.result(60).output_tokens == 300
        assert answer(other).output_tokens == 3


HOLDER = """
import json, multiprocessing, sys, time
from motools.training.local import host

def pid(queue):
    with host.connection():
        queue.put(host._hosts[0].pid)

with host.connection():
    queue = multiprocessing.get_context("fork").Queue()
    fork = multiprocessing.get_context("fork").Process(target=pid, args=(queue,))
    fork.start()
    other = queue.get()
    fork.join()
    lasting = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,))
    lasting.start()
    print(json.dumps([host._hosts[0].pid, other, lasting.pid]), flush=True)
    time.sleep(60)
"""


def test_a_host_dies_with_its_holder_and_a_fork_has_its_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdout is not None
        own, of_fork, lasting = json.loads(holder.stdout.readline())
        assert own != of_fork and gone(of_fork)
        assert is_alive(own)
        holder.kill()
        holder.wait()
        assert is_alive(lasting) and gone(own), "the fork has the host's standard input too"
        os.kill(lasting, signal.SIGKILL)
