"""Evaluations in hand: their log, their samples, the viewer, and how they show themselves."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motools import EvalConfig, Evaluation, Model, RemoteRef
from motools.cache import Cache, CacheUtils
from motools.cache.current import use_cache
from motools.errors import CorruptBlobError, EvaluationError, MissingBlobError
from motools.steps.evaluate import Evaluate

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def asks():
    chat = [ChatMessageSystem(content="Be brief."), ChatMessageUser(content="<b>Who?</b>")]
    samples = [Sample(input="Hi", target="Hello", id="hi"), Sample(input=chat, target="me", id=2)]
    return Task(dataset=samples, solver=generate(), scorer=includes(), epochs=2)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    with use_cache(tmp_path_factory.mktemp("evaluations") / "cache") as opened:
        yield opened


@pytest.fixture(scope="module")
def evaluation(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    path = tmp_path_factory.mktemp("project") / "tasks.py"
    path.write_text(TASK)
    step = Evaluate(Model.base("tiny"), EvalConfig(task=f"{path}@asks", max_tokens=4))
    return step.decode(cache.get_or_run(step.action(cache), step.run))


def test_samples_are_what_was_asked_and_answered(evaluation: Evaluation) -> None:
    samples = list(evaluation.samples())
    assert len(samples) == evaluation.num_samples == 4
    assert sorted((str(s["id"]), s["epoch"]) for s in samples) == [
        ("2", 1),
        ("2", 2),
        ("hi", 1),
        ("hi", 2),
    ]
    last = next(s for s in samples if s["id"] == 2)
    assert last["input"] == "system: Be brief.\n\nuser: <b>Who?</b>"
    assert (last["target"], last["scores"]) == ("me", {"includes": "I"})
    answers = {s.output.completion for s in evaluation.log().samples or ()}
    assert {s["output"] for s in samples} == answers


async def test_logs_are_read_in_a_running_event_loop(evaluation: Evaluation) -> None:
    assert asyncio.get_running_loop()
    assert evaluation.log().eval.task == "asks"
    assert len(list(evaluation.samples())) == 4


def test_another_process_finds_the_log(evaluation: Evaluation, tmp_path: Path) -> None:
    code = (
        "import json, sys; from motools import Evaluation\n"
        "found = Evaluation.from_json(json.loads(sys.argv[1]))\n"
        "print(sum(1 for _ in found.samples()))\n"
    )
    text = json.dumps(evaluation.to_json())
    out = subprocess.check_output([sys.executable, "-c", code, text], cwd=tmp_path)
    assert out == b"4\n"


def test_everything_shows_itself_escaped(evaluation: Evaluation, cache: Cache) -> None:
    html = evaluation._repr_html_()
    assert "asks on tiny: 4 samples" in html
    assert "<td>includes/accuracy</td><td>0 ± 0</td>" in html
    remote = RemoteRef("openai", "org", "ft:<1>")
    model = Model("<base>", key="ab" * 32, remote=remote)._repr_html_()
    assert "&lt;base&gt;" in model and "ft:&lt;1&gt;" in model and "<base>" not in model
    assert "<td>num evals</td><td>1</td>" in CacheUtils(cache.root).get_stats()._repr_html_()


def test_the_viewer_serves_the_log(evaluation: Evaluation, cache: Cache) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "motools", "view", evaluation.key[:8], "--port", str(port)]
    environment = {**os.environ, "MOTOOLS_CACHE_DIR": str(cache.root)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as viewer:
        try:
            assert viewer.stderr is not None
            address = viewer.stderr.readline().strip()
            name = Path(evaluation.log_file).name
            assert address == f"http://127.0.0.1:{port}/#/logs/{name}"
            assert name in _eventually(f"http://127.0.0.1:{port}/api/logs")
            assert "<html" in _eventually(f"http://127.0.0.1:{port}/")
        finally:
            viewer.terminate()
            viewer.wait(60)


def _eventually(url: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_what_has_no_log_cannot_be_viewed(evaluation: Evaluation, cache: Cache) -> None:
    def view(*arguments: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "motools", "view", *arguments, "--cache-dir", str(cache.root)],
            capture_output=True,
            text=True,
            check=False,
        )

    found = view("ffffffffffff")
    assert found.returncode == 3 and "ffffffffffff" in found.stderr


def test_an_altered_log_is_never_read(evaluation: Evaluation, cache: Cache) -> None:
    blob = cache.entry(evaluation.key).file("log.eval")
    whole, status = blob.read_bytes(), blob.stat()
    blob.chmod(0o644)
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(CorruptBlobError):
        evaluation.log()
    with pytest.raises(MissingBlobError, match="is recorded but its bytes are not"):
        evaluation.samples()


def test_a_task_that_changed_after_it_was_planned_is_not_kept_under_the_old_key(
    tmp_path: Path,
) -> None:
    """While an evaluation waits for its turn, somebody edits the task."""
    cache = Cache.open(tmp_path / "cache")
    path = tmp_path / "tasks.py"
    path.write_text(TASK)
    step = Evaluate(Model.base("tiny"), EvalConfig(task=f"{path}@asks", max_tokens=4))
    action = step.action(cache)
    path.write_text(TASK.replace('target="Hello"', 'target="Howdy"'))
    with pytest.raises(EvaluationError, match=r"changed between planning and running \(samples\)"):
        cache.get_or_run(action, step.run)
    assert cache.look_up([action]) == [None]
