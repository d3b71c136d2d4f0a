"""Models at an API: pinned by name and address, asked with the keys of the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from motools import EvalConfig, Model, release_memory
from motools.cache import Cache
from motools.cache.current import use_cache
from motools.cache.holdings import holdings
from motools.errors import EvaluationError
from motools.evals.reading import read_samples
from motools.steps.evaluate import Evaluate, log_of

NAME = "openai-api/local/tiny-2026-01-01"
SECRET = "sk-secret-of-the-tests"
TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.scorer import Score, accuracy, includes, scorer
from inspect_ai.solver import generate, system_message

BRIEF = GenerateConfig(max_tokens=4)

@scorer(metrics=[accuracy()])
def judged():
    async def score(state, target):
        said = await get_model(role="grader").generate("So?", config=BRIEF)
        return Score(value=1, answer=said.completion)
    return score

def made(scorer):
    return Task(
        dataset=[Sample(input=f"Hi, I am {name}.", target="a", id=name) for name in ("Ann", "Bob")],
        solver=[system_message("You greet."), generate()],
        scorer=scorer,
        config=GenerateConfig(max_tokens=8, max_retries=0),
    )

@task
def asks():
    return made(includes())

@task
def asks_a_judge():
    return made(judged())
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model.base("tiny").merge(tmp_path_factory.mktemp("base") / "tiny").path


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[str]:
    """Transformers' own server of OpenAI's protocol, behind a door that asks for the key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        door = ThreadingHTTPServer(("127.0.0.1", 0), door_to(f"http://localhost:{port}", directory))
        threading.Thread(target=door.serve_forever, daemon=True).start()
        try:
            await_answer(f"http://localhost:{port}/health")
            yield f"http://127.0.0.1:{door.server_port}/v1"
        finally:
            door.shutdown()
            process.kill()


def await_answer(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def door_to(server: str, directory: Path) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = body.replace(b"tiny-2026-01-01", bytes(directory))
            if self.headers["authorization"] != f"Bearer {SECRET}":
                return self.answer(401, b'{"error": {"message": "Incorrect API key provided"}}')
            headers = {"content-type": "application/json"}
            asked = urllib.request.Request(server + self.path, body, headers)
            with urllib.request.urlopen(asked) as given:
                return self.answer(given.status, given.read())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    return Door


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with use_cache(tmp_path / "cache") as opened:
        yield opened
    release_memory()


@pytest.fixture
def service(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LOCAL_BASE_URL", server)
    monkeypatch.setenv("LOCAL_API_KEY", SECRET)
    return server


def step(tmp_path: Path, model: str = NAME, task: str = "asks", **config: Any) -> Evaluate:
    path = tmp_path / "tasks.py"
    path.write_text(TASK)
    return Evaluate(Model.base(model), EvalConfig(task=f"{path}@{task}", **config))


def answers(evaluate: Evaluate, cache: Cache) -> dict[str, str]:
    found = evaluate.decode(cache.get_or_run(evaluate.action(cache), evaluate.run))
    return {one["id"]: one["output"] for one in read_samples(log_of(found))}


def texts(root: Path) -> Iterator[bytes]:
    """All that a directory holds, logs unpacked."""
    for path in root.rglob("*"):
        if path.is_file():
            yield path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from (archive.read(name) for name in archive.namelist())


def test_an_api_answers_as_the_model_does_and_its_key_is_nowhere(
    service: str, cache: Cache, tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = step(tmp_path)
    action = evaluate.action(cache)
    found = answers(evaluate, cache)
    assert found == answers(step(tmp_path, str(directory)), cache)
    entry = cache.entry(action.key)
    assert entry.provenance["usage"][NAME]["output_tokens"] == 16
    assert (entry.cost, entry.labels["paid_to"], entry.paid) == (None, NAME, True)
    assert [held.paid for held in holdings(cache).entries if held.key == action.key] == [True]
    held = list(texts(cache.root))
    assert any(b"Hi, I am Ann." in text for text in held)
    assert not any(SECRET.encode() in text for text in held)
    monkeypatch.setenv("LOCAL_API_KEY", "another")
    assert evaluate.action(cache).key == action.key
    monkeypatch.setenv("LOCAL_BASE_URL", service.replace("127.0.0.1", "localhost"))
    assert evaluate.action(cache).key != action.key


def test_a_wrong_key_and_a_server_that_is_down_leave_nothing(
    service: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = step(tmp_path)
    action = evaluate.action(cache)
    monkeypatch.setenv("LOCAL_API_KEY", "wrong")
    with pytest.raises(EvaluationError, match=r"401.*Incorrect API key"):
        cache.get_or_run(action, evaluate.run)
    assert cache.look_up([action]) == [None]
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    down = evaluate.action(cache)
    with pytest.raises(EvaluationError, match=r"samples failed.*[Cc]onnect"):
        cache.get_or_run(down, evaluate.run)
    assert cache.look_up([down]) == [None]


def test_a_file_with_variables_gives_keys_and_no_addresses(
    service: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCAL_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    (tmp_path / ".env").write_text(f"LOCAL_API_KEY={SECRET}\nOPENAI_BASE_URL={service}\n")
    assert set(answers(step(tmp_path), cache)) == {"Ann", "Bob"}
    judged = step(tmp_path, "tiny", "asks_a_judge", roles={"grader": "openai/gpt-4o-2024-08-06"})
    with pytest.raises(EvaluationError, match=rf"\.env says that it is asked at {service}"):
        cache.get_or_run(judged.action(cache), judged.run)


def test_a_model_of_this_machine_judges(service: str, cache: Cache, tmp_path: Path) -> None:
    judged = step(tmp_path, task="asks_a_judge", roles={"grader": "tiny"})
    action = judged.action(cache)
    digest = judged._local_roles(cache)["grader"]
    assert action.config["roles"]["grader"] == {"model": f"motools/{digest[:12]}", "digest": digest}
    entry = cache.get_or_run(action, judged.run)
    assert set(entry.provenance["usage"]) == {NAME, f"motools/{digest[:12]}"}


def test_where_a_judge_is_asked_is_in_the_key(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = step(tmp_path, "tiny", "asks_a_judge", roles={"grader": "openai/gpt-4o-2024-08-06"})
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    plain = judged.action(cache)
    assert "services" not in plain.config
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example/v1/")
    assert judged.action(cache).config["services"] == {
        "openai/gpt-4o-2024-08-06": "https://proxy.example/v1"
    }


@pytest.mark.parametrize(
    ("model", "address", "message"),
    [
        ("openai/gpt-4o", None, r"can come to mean another model.*openai/gpt-4o@main"),
        ("openai/azure/gpt-4o-2024-08-06", None, "deployed at azure cannot be pinned"),
        (NAME, None, "set LOCAL_BASE_URL"),
        (NAME, "https://me:word@host/v1", r"\(host\) has credentials"),
    ],
)
def test_what_cannot_be_pinned_is_refused(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    address: str,
    message: str,
) -> None:
    monkeypatch.delenv("LOCAL_BASE_URL", raising=False)
    if address:
        monkeypatch.setenv("LOCAL_BASE_URL", address)
    with pytest.raises(EvaluationError, match=message):
        step(tmp_path, model).action(cache)
