"""``motools cache explain``: down to the row and the line, and what to do about it."""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from motools import Dataset, EvalConfig, FineTuneConfig, Model
from motools.cache import Action, Cache
from motools.cache.claim import Claim
from motools.cli import app
from motools.settings import Settings
from motools.steps.evaluate import Evaluate
from motools.steps.function import Function
from motools.steps.train import Train, model_digest
from motools.steps.upload import Upload
from motools.sweeps import document
from motools.sweeps.planner import make_plan

Explain = Callable[..., Result]

TASKS = """\
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, scorer

WORDS = ("hello", "hi")

def greets(text):
    # Whether a text greets.
    return text.lower().startswith(WORDS)

@scorer(metrics=[accuracy()])
def greeting():
    async def score(state, target):
        right = greets(state.output.completion)
        return Score(value=CORRECT if right else INCORRECT)

    return score

@task
def asks():
    samples = [Sample(input="Hi", target="Hello", id="hi"), Sample(input="Bye", id="bye")]
    return Task(dataset=samples, scorer=greeting())
"""

SWEEP = """
name: asking
recipe:
  model: tiny
  evaluate:
    asks: {task: tasks.py@asks, max_tokens: 2}
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(tmp_path / "cache", settings=Settings())


@pytest.fixture
def explain(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explain:
    """The command, in a project with this cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", str(cache.root))

    def explain(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["cache", "explain", *arguments])

    return explain


def data(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def fields(found: Any) -> dict[str, tuple[Any, Any]]:
    """Field to its value there and here."""
    return {row["field"]: (row["other"], row["this"]) for row in found["differences"]}


def loaded(path: Path, text: str) -> ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_of_long_texts_a_table_shows_where_they_differ(cache: Cache, explain: Explain) -> None:
    said = ["word " * 500, "word " * 400 + "verb " + "word " * 99]
    keys = [
        cache.get_or_run(Action("function", config={"text": text}), lambda _: 1).key
        for text in said
    ]
    table = explain(keys[1], keys[0]).stdout
    assert "verb" in table and "…word word" in table
    assert max(map(len, table.splitlines())) < 300
    [differs] = data(explain(keys[1], keys[0], "--format", "json"))["differences"]
    assert [differs["this"], differs["other"]] == said[::-1]


def test_a_cell_whose_scorer_and_sample_were_edited(
    cache: Cache, explain: Explain, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks.py"
    tasks.write_text(TASKS)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    step = Evaluate(Model.base("tiny"), EvalConfig(task=f"{tasks}@asks", max_tokens=2))
    entry = cache.get_or_run(step.action(cache), step.run)
    [before] = data(explain("1", "--sweep", "sweep.yaml", "--format", "json"))["steps"]
    assert (before["state"], before["key"]) == ("hit", entry.key)

    edited = TASKS.replace("# Whether", "\n    # If").replace(".lower()", ".strip().lower()")
    tasks.write_text(edited.replace('"hello", "hi"', '"hello", "hey"').replace("Hello", "Hi!"))
    [found] = data(explain("1", "--sweep", "sweep.yaml", "--format", "json"))["steps"]
    assert (found["state"], found["planned"], found["other"]) == ("miss", "run", entry.key)
    assert json.loads(found["canonical"]) == found["action"]
    assert fields(found)["sample 'hi', target"] == ("Hello", "Hi!")
    sources = {change["name"]: change for change in found["source"]}
    assert set(sources) == {"tasks.greets", "tasks.WORDS"}
    assert Path(sources["tasks.greets"]["file"]) == tasks
    assert sources["tasks.greets"]["line"] == 7
    lines = sources["tasks.greets"]["diff"].splitlines()
    assert lines[:3] == ["--- tasks.greets (other)", "+++ tasks.greets (this)", "@@ -7,3 +7,4 @@"]
    assert "-    return text.lower().startswith(WORDS)" in lines
    assert "+    return text.strip().lower().startswith(WORDS)" in lines
    assert '-WORDS = ("hello", "hi")' in sources["tasks.WORDS"]["diff"]
    assert any("tasks.greets" in line and "undo it" in line for line in found["advice"])
    [cell] = make_plan(document.read(tmp_path / "sweep.yaml"), cache).cells
    assert "; the source of tasks.greets (" in cell.evaluations[0].reason

    text = explain("1", "--sweep", "sweep.yaml", "--step", "asks")
    assert "source of tasks.WORDS (tasks.py:5)" in text.stderr
    assert '+WORDS = ("hello", "hey")' in text.stdout.splitlines()
    wrong = explain("2", "--sweep", "sweep.yaml")
    assert wrong.exit_code == 1
    assert "numbered from 1" in wrong.stderr


def test_a_call_that_failed_is_explained_by_its_key(
    cache: Cache, explain: Explain, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    first = Function(loaded(path, "def half(n):\n    return n / 2\n").half)(1)
    entry = cache.get_or_run(first.action(cache), first.run)
    text = "import os\nTOKEN = os.environ['TOKEN']\n\ndef half(n):\n    return n / len(TOKEN)\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN", "")
        second = Function(loaded(path, text).half)(1)
    key = second.action(cache).key
    with pytest.raises(ZeroDivisionError):
        cache.get_or_run(second.action(cache), second.run)
    found = data(explain(key[:9], "--format", "json"))
    assert (found["key"], found["state"], found["other"]) == (key, "miss", entry.key)
    assert [change["name"] for change in found["source"]] == ["mine.TOKEN", "mine.half"]
    token, half = found["source"]
    assert "+TOKEN = os.environ['TOKEN']" in token["diff"]
    assert "@@ -1,2 +4,2 @@" in half["diff"]
    assert "an attempt at it left no entry" in explain(key[:9]).stderr


def test_what_is_running_is_explained(cache: Cache, explain: Explain) -> None:
    cache.get_or_run(Action("function", config={"n": 1}), lambda _: 1)
    action = Action("function", config={"n": 2})
    claim = cache.claim(action)
    assert isinstance(claim, Claim)
    with claim:
        said = explain(action.key[:12])
        assert said.exit_code == 0
        assert " is running it" in said.stderr
        assert "with n = 1" in said.stderr


def test_code_that_was_moved_is_no_change(cache: Cache, explain: Explain, tmp_path: Path) -> None:
    keys = []
    for place, sums in (("here", "n + small()"), ("there", "small() + n")):
        loaded(tmp_path / f"{place}.py", "def small():\n    return 1\n")
        text = f"from {place} import small\n\ndef sums(n):\n    return {sums}\n"
        call = Function(loaded(tmp_path / "moves.py", text).sums)(1)
        keys.append(cache.get_or_run(call.action(cache), call.run).key)
    found = data(explain(keys[1], "--format", "json"))
    assert [change["name"] for change in found["source"]] == ["moves.sums"]


def test_a_value_from_the_environment_is_in_no_text(cache: Cache, tmp_path: Path) -> None:
    text = "import os\nTOKEN = os.environ['TOKEN']\n\ndef size():\n    return len(TOKEN)\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN", "hunter2")
        call = Function(loaded(tmp_path / "secretive.py", text).size)()
    assert cache.get_or_run(call.action(cache), call.run).value == 7
    kept = [path.read_text() for path in (cache.root / "texts").rglob("*.json")]
    assert any("secretive.TOKEN" in each for each in kept)
    assert not any("hunter2" in each for each in kept)


def test_what_is_said_of_another_version_makes_it_a_hit(
    cache: Cache, explain: Explain, tmp_path: Path
) -> None:
    module = loaded(
        tmp_path / "sums.py", "import numpy\n\ndef add(n):\n    return numpy.add(n, n)\n"
    )
    call = Function(module.add)(1)
    cache.settings = Settings(equivalent={"numpy": (("1.0", metadata.version("numpy")),)})
    older = call.action(cache)
    cache.get_or_run(older, lambda context: call.run(context) and 2)
    cache.settings = Settings()
    newer = call.action(cache)
    assert newer.key != older.key
    cache.get_or_run(newer, lambda context: call.run(context) and 2)
    found = data(explain(newer.key, "--format", "json"))
    assert fields(found)["package numpy"] == ("1.0", metadata.version("numpy"))
    [advice] = found["advice"]
    accepted = tomllib.loads(advice[advice.index("equivalent.") :])
    (tmp_path / "motools.toml").write_text(advice[advice.index("equivalent.") :])
    cache.settings = Settings.load(tmp_path)
    assert accepted["equivalent"]["numpy"][0][0] == "1.0"
    assert call.action(cache).key == older.key


def test_a_model_is_followed_to_the_row_it_learned_from(cache: Cache, explain: Explain) -> None:
    rows = [{"prompt": f"Number {n}", "completion": str(n)} for n in range(200)]
    keys, models = [], []
    for word in ("Hello", "Hi"):
        rows[117] = {
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": word}]
        }
        train = Train(Dataset.from_rows(rows), FineTuneConfig(base_model="tiny"))
        upload = Upload(train.dataset)
        cache.get_or_run(upload.action(cache), upload.run)
        model = cache.get_or_run(train.action(cache), _weights)
        models.append(model.key)
        action = Action("eval", inputs={"model": model_digest(model)}, config={"task": "greets"})
        keys.append(cache.get_or_run(action, lambda _: {}).key)
    found = data(explain(keys[1], "--format", "json"))
    assert list(fields(found)) == [
        "inputs.model",
        "inputs.dataset",
        "row 118, messages[1].content",
    ]
    assert fields(found)["row 118, messages[1].content"] == ("Hello", "Hi")
    assert found["advice"] == [
        "the model is another one; if the change of the rows is meant, it runs once; if not, "
        f"undo it, and {models[0][:12]} is used again"
    ]


def _weights(context: Any) -> dict[str, Any]:
    (context.directory / "weights").write_text(context.key)
    return {}


def test_what_was_cleared_is_explained_with_the_way_back(cache: Cache, explain: Explain) -> None:
    one, two = (Action("function", config={"arguments": {"n": n}}) for n in (1, 2))
    for action in (one, two):
        cache.get_or_run(action, lambda _: 1)
    cleared = CliRunner().invoke(app, ["cache", "clear", "all", one.key, "--yes"])
    assert cleared.exit_code == 0, cleared.output
    said = explain(one.key)
    assert f"motools cache undelete {one.key[:12]}" in said.stderr
    assert "config.arguments.n" in said.stdout
    assert '@cached_task(unhashed=["n"])' in said.stderr


def test_a_damaged_text_is_named_and_a_missing_one_is_said(
    cache: Cache, explain: Explain, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.py"
    keys = []
    for number in (1, 2):
        call = Function(loaded(path, f"def one():\n    return {number}\n").one)()
        keys.append(cache.get_or_run(call.action(cache), call.run).key)
    first, *_ = sorted((cache.root / "texts").rglob("*.json"))
    first.write_text("{")
    damaged = explain(keys[0])
    assert damaged.exit_code == 1
    assert first.name in damaged.stderr and "only serves to explain" in damaged.stderr
    first.unlink()
    found = data(explain(keys[0], "--format", "json"))
    [row] = found["differences"]
    assert row["field"] == "config.source"
    assert row["note"].startswith("nothing is kept of what the digest of ")
