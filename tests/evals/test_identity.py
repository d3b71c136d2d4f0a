"""What changes the identity of an evaluation, and what does not."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import motools
from motools.errors import ConfigError, EvaluationError
from motools.evals import EvalConfig, identify, native

from .conftest import Project

CHANGES: dict[str, tuple[str, str, str]] = {
    "a word of a sample": ("samples.json", "Good night", "Good  night"),
    "a sample's target": ("samples.json", '"target": "hello"}', '"target": "Hello"}'),
    "a sample's metadata": ("samples.json", "true", "false"),
    "the scorer": ("tasks.py", "weight > 0", "weight >= 0"),
    "the scorer's helper": ("checks.py", ".lower()", ".upper()"),
    "a constant of the scorer's helper": ("checks.py", '"default")', '"hi")'),
    "a default of the task": ("tasks.py", '"You greet."', '"You greet!"'),
    "the list of metrics": ("tasks.py", "[accuracy(), stderr()]", "[accuracy()]"),
}
COSMETIC: dict[str, tuple[str, str, str]] = {
    "a comment": ("tasks.py", "# A comment in the scorer.", "# Another comment."),
    "a line break": ("checks.py", "words: tuple", "\n    words: tuple"),
    "the order of a sample's keys": (
        "samples.json",
        '"input": "Good evening", "target": "hello"',
        '"target": "hello", "input": "Good evening"',
    ),
    "another task of the file": ("tasks.py", "1 // 0", "2 // 0"),
}
SETTINGS: list[dict[str, Any]] = [
    {"task_args": {"weight": 2.0}},
    {"task_args": {"system": "You shout."}},
    {"epochs": 2},
    {"limit": 2},
    {"sample_ids": [1, 3]},
    {"temperature": 0.5},
    {"max_tokens": 4},
    {"top_p": 0.5},
    {"seed": 1},
    {"stop": ["."]},
    {"fail_on_error": 0.5},
]


@pytest.mark.slow
def test_whatever_can_change_a_score_changes_the_identity(project: Project) -> None:
    seen = {project.identify().digest: "nothing"}
    for what, (file, old, new) in CHANGES.items():
        project.edit(file, old, new)
        digest = project.identify().digest
        assert digest not in seen, f"{what} gave the identity of {seen[digest]}"
        seen[digest] = what
        project.edit(file, new, old)
    for settings in SETTINGS:
        digest = project.identify(**settings).digest
        assert digest not in seen, f"{settings} gave the identity of {seen[digest]}"
        seen[digest] = str(settings)


def test_what_cannot_change_a_score_leaves_the_identity(project: Project, tmp_path: Path) -> None:
    before = project.identify()
    for file, old, new in COSMETIC.values():
        project.edit(file, old, new)
    elsewhere = tmp_path / "somewhere" / "else"
    shutil.copytree(project.directory, elsewhere)
    config = EvalConfig(task=str(elsewhere / "tasks.py@greets"), limit=3, epochs=1, temperature=0)
    assert identify(config, project.memo) == before


def test_the_task_s_own_settings_hold_where_nothing_is_said(project: Project) -> None:
    own = project.identify("templated").material["generation"]
    assert own == {"temperature": 0.7, "max_tokens": 16}  # not how many connections there are
    given = project.identify("templated", temperature=0, stop=["."]).material["generation"]
    assert given == {"temperature": 0.0, "max_tokens": 16, "stop_seqs": ["."]}


def test_a_file_that_a_solver_read_is_part_of_the_identity(project: Project) -> None:
    before = project.identify("templated")
    project.edit("template.txt", "politely", "rudely")
    after = project.identify("templated")
    assert before.material["solver"] != after.material["solver"]
    project.edit("template.txt", "rudely", "politely")
    assert project.identify("templated") == before


def test_functions_of_one_name_are_not_one_parameter(project: Project) -> None:
    source = (project.directory / "tasks.py").read_text()
    tasks = """

def _strict(text):
    return text == "yes"

strict = _strict

def _strict(text):
    return text != "no"

@scorer(metrics=[accuracy()])
def judged_by(check):
    async def score(state, target):
        return Score(value=check(state.output.completion))
    return score

@task
def one():
    return Task(name="same", dataset=[Sample(input="Hi")], scorer=judged_by(strict))

@task
def other():
    return Task(name="same", dataset=[Sample(input="Hi")], scorer=judged_by(_strict))
"""
    (project.directory / "tasks.py").write_text(source + tasks)
    assert project.identify("one") != project.identify("other")


def test_a_component_in_a_global_enters_with_its_parameters(project: Project) -> None:
    project.edit(
        "tasks.py",
        "@scorer(metrics=[accuracy(), stderr()])",
        "INNER = match('end')\n\n\n@scorer(metrics=[accuracy(), stderr()])",
    )
    project.edit("tasks.py", "# A comment in the scorer.", "await INNER(state, target)")
    first = project.identify()
    project.edit("tasks.py", "match('end')", "match('begin')")
    assert project.identify() != first


def test_images_enter_by_content(project: Project) -> None:
    source = (project.directory / "tasks.py").read_text()
    (project.directory / "tasks.py").write_text(
        source
        + """
@task
def seen(image: str):
    from inspect_ai.model import ChatMessageUser, ContentImage
    message = ChatMessageUser(content=[ContentImage(image=image)])
    return Task(dataset=[Sample(input=[message])])
"""
    )
    (project.directory / "cat.png").write_bytes(b"a cat")
    first = project.identify("seen", task_args={"image": "cat.png"})
    (project.directory / "moved.png").write_bytes(b"a cat")
    assert project.identify("seen", task_args={"image": "moved.png"}) == first
    (project.directory / "cat.png").write_bytes(b"a dog")
    assert project.identify("seen", task_args={"image": "cat.png"}) != first
    with pytest.raises(EvaluationError, match=r"sample 1\.input\.image: https://.* download it"):
        project.identify("seen", task_args={"image": "https://example.org/cat.png"})


def test_nothing_changed_starts_no_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.identify()
    monkeypatch.setattr("motools.evals.identity.run_worker", None)
    assert project.identify(temperature=0.0, epochs=1) == first


def test_any_change_of_a_dependency_loads_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads() -> int:
        before = project.memo.recorded
        project.identify()
        return project.memo.recorded - before

    assert loads() == 1
    for file in ("tasks.py", "checks.py", "samples.json"):
        project.edit(file, "", "")  # the same bytes at another time
        assert loads() == 1, file
        assert loads() == 0, file
    # Something that the load looked for and did not find: it would come first now.
    (project.directory / "checks").mkdir()
    (project.directory / "checks" / "__init__.py").write_text("def greets(text): return True\n")
    assert loads() == 1
    monkeypatch.setenv("MOTOOLS_TEST_UNRELATED", "1")
    assert loads() == 0


def test_a_module_that_appears_in_a_package_is_seen(project: Project) -> None:
    package = project.directory / "greetings"
    package.mkdir()
    (package / "__init__.py").touch()
    project.edit(
        "tasks.py",
        "    return Task(dataset=[Sample(input=os",
        "    try:\n        from greetings import extra\n        name = extra.NAME\n"
        "    except ImportError:\n        name = 'none'\n"
        "    return Task(name=name, dataset=[Sample(input=os",
    )
    assert project.identify("by_environment").name == "none"
    (package / "extra.py").write_text("NAME = 'extra'\n")
    assert project.identify("by_environment").name == "extra"


def test_whoever_reads_all_variables_depends_on_each(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.edit(
        "tasks.py",
        "    return Task(dataset=[Sample(input=os",
        "    name = dict(os.environ).get('MOTOOLS_TEST_NAME', 'none')\n"
        "    return Task(name=name, dataset=[Sample(input=os",
    )
    assert project.identify("by_environment").name == "none"
    assert project.identify("by_environment").name == "none"
    assert project.memo.recorded == 1
    monkeypatch.setenv("MOTOOLS_TEST_NAME", "added")
    assert project.identify("by_environment").name == "added"


def test_what_another_environment_found_is_not_recalled(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.identify()
    monkeypatch.setattr(sys, "prefix", "/another/environment")  # with libraries of its own
    project.identify()
    assert project.memo.recorded == 2


def test_parameters_that_print_differently_are_not_one(project: Project) -> None:
    source = (project.directory / "tasks.py").read_text()
    (project.directory / "tasks.py").write_text(
        source
        + """
@task
def shown(what: str):
    values = {"int": 1, "float": 1.0, "list": [1], "tuple": (1,), "set": {1}, "dict": {"$set": [1]}}
    return Task(dataset=[Sample(input="Hi")], solver=told(values[what]))

@solver
def told(value):
    return system_message(f"You are given {value}.")
"""
    )
    project.edit("tasks.py", "import generate,", "import solver, generate,")
    names = ("int", "float", "list", "tuple", "set", "dict")
    found = [project.identify("shown", task_args={"what": name}) for name in names]
    assert len({one.material["solver"][0]["params"]["value"].__repr__() for one in found}) == 6


def test_environment_variables_that_were_read_count(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_TEST_GREETING", "a secret")
    first = project.identify("by_environment")
    assert "a secret" not in str(project.memo.facts)
    monkeypatch.setenv("MOTOOLS_TEST_GREETING", "another secret")
    assert project.identify("by_environment") != first


@pytest.mark.parametrize(
    "code",
    [
        "open('note.txt', 'w').close()",
        "__import__('subprocess').run(['true'])",
        "__import__('socket').getaddrinfo('localhost', 80)",
        "import pyarrow.parquet as unseen; unseen.ParquetFile",
        "from tokenizers import Tokenizer; Tokenizer.from_file",
    ],
)
def test_what_cannot_be_followed_is_not_remembered(project: Project, code: str) -> None:
    project.edit(
        "tasks.py",
        "    return Task(dataset=[Sample(input=os",
        f"    {code}\n    return Task(dataset=[Sample(input=os",
    )
    project.identify("by_environment")
    assert project.memo.recorded == 0


def test_what_a_helper_reads_by_itself_is_not_remembered(project: Project) -> None:
    project.identify()
    assert project.memo.recorded == 1
    helper = project.directory / "checks.py"
    helper.write_text("import safetensors\n" + helper.read_text())
    project.identify()
    assert project.memo.recorded == 1


def test_only_what_is_in_the_package_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, inside = tmp_path / "motools_tasks.py", tmp_path / "motools" / "tasks.py"
    inside.parent.mkdir()
    for path in (beside, inside):
        path.write_text("import polars")
    with monkeypatch.context() as patched:
        patched.setattr(motools, "__file__", str(inside.with_name("__init__.py")))
        importlib.reload(native)
        found = list(native.used([str(beside), str(inside)]))
    importlib.reload(native)
    assert found == [f"{beside} imports polars"]


def test_an_edit_within_the_second_is_seen(project: Project) -> None:
    """Compiled files are matched by size and second, which an edit can leave as they were."""
    first = project.identify()
    subprocess.run([sys.executable, "-m", "compileall", "-q", project.directory], check=True)
    status = (project.directory / "checks.py").stat()
    project.edit("checks.py", "lower", "upper")
    os.utime(project.directory / "checks.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert project.identify() != first
    assert project.run(temperature=0).scores == {"greeting/accuracy": 0.0}


def test_equivalent_versions_of_inspect_are_one(project: Project) -> None:
    import importlib.metadata

    here = importlib.metadata.version("inspect_ai")
    config = EvalConfig(task="tasks.py@greets")
    now, alone, old, older = (
        identify(config, project.memo, project.directory, equivalent={"inspect-ai": classes})
        for classes in ([], [[here, "0.1.0"]], [["0.1.0", here]], [["0.1.0", "0.1.1", here]])
    )
    assert now == alone
    assert old == older
    assert old.material["inspect_ai"] == "0.1.0"
    reaching = "    import blake3\n    blake3.blake3\n    return text"
    project.edit("checks.py", "    return text", reaching)
    library = {"blake3": [["0.0.1", importlib.metadata.version("blake3")]]}
    plain, stated = (
        identify(config, project.memo, project.directory, equivalent=one) for one in ({}, library)
    )
    assert plain.material["scorers"] != stated.material["scorers"]
    for reaches_inspect in ("solver", "scorers"):
        assert old.material[reaches_inspect] != now.material[reaches_inspect]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"task": "tasks.py@greet"}, r"tasks\.py@greet: no such task; did you mean 'greets'\?"),
        ({"task": "tasks.py"}, r"has several tasks; name one, as in tasks\.py@greets"),
        ({"task": "tusks.py@greets"}, r"tusks\.py: there is no such task file"),
        ({"task": "unknown/greets"}, r"unknown/greets: no such task"),
        ({"task": "tasks.py@raises"}, r"tasks\.py, line \d+, in raises: .*ZeroDivisionError"),
        ({"task": "tasks.py@judged"}, r"needs the argument 'model'"),
        (
            {"task": "tasks.py@greets", "task_args": {"wieght": 1}},
            r"greets\.wieght: no such task argument; did you mean 'weight'\?",
        ),
        (
            {"task": "tasks.py@greets", "sample_ids": [1, 7]},
            r"has no sample 7; it has 3, such as 1, 2, 3",
        ),
        (
            {"task": "tasks.py@judged", "task_args": {"model": "openai/gpt-4o"}},
            r"model_graded_qa\(model\): the model 'openai/gpt-4o' .* name a dated snapshot",
        ),
    ],
)
def test_what_is_wrong_is_said(project: Project, config: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        identify(EvalConfig(**config), project.memo, project.directory)
    assert project.memo.recorded == 0


def test_a_syntax_error_is_shown_with_its_line(project: Project) -> None:
    project.edit("tasks.py", "def greets(system", "def greets(:\nsystem")
    with pytest.raises(EvaluationError, match=r"tasks\.py, line \d+: SyntaxError: .*def greets\(:"):
        project.identify()
    project.edit("tasks.py", "def greets(:\nsystem", "def greets(system")
    project.edit("checks.py", "return text", "return = text")
    with pytest.raises(
        EvaluationError, match=r"checks\.py, line \d+: SyntaxError: .*return = text"
    ):
        project.identify()


def test_what_source_cannot_show_needs_a_statement(project: Project) -> None:
    project.edit("checks.py", "    return text", "    open('words.txt').read()\n    return text")
    with pytest.raises(EvaluationError, match=r"greets.*open\(\).*EvalConfig\(version=\.\.\.\)"):
        project.identify()
    first = project.identify(version="1")
    assert project.identify(version="2") != first
    project.edit("tasks.py", "weight > 0", "weight >= 0")  # the scorer itself is in plain sight
    assert project.identify(version="1") != first


def test_a_dated_judge_is_part_of_the_identity(project: Project) -> None:
    dated = {"model": "openai/gpt-4o-2024-08-06"}
    assert project.identify("judged", task_args=dated).material["models"] == [dated["model"]]
    stated = project.identify("judged", task_args={"model": "openai/gpt-4o"}, version="2024-08")
    assert stated.material["statement"] == "2024-08"


@pytest.mark.parametrize(
    "values",
    [
        {"limit": 1, "sample_ids": [1]},
        {"limit": 0},
        {"epochs": 0},
        {"temperature": float("nan")},
        {"temperature": -1.0},
        {"top_p": 1.5},
        {"sample_ids": []},
        {"task": " "},
    ],
)
def test_configs_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        EvalConfig(**{"task": "tasks.py@greets", **values})


def test_identifying_imports_neither_inspect_nor_torch() -> None:
    code = "import sys, motools.evals as e; e.identify, e.run, e.EvalConfig; print([*sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("'inspect_ai'", "'torch'", "'prefect'", "'openai'", "'sqlalchemy'"):
        assert heavy not in shown.stdout


def test_a_task_of_an_installed_package_has_a_name(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "site-packages"
    (packages / "polite").mkdir(parents=True)
    (packages / "polite" / "__init__.py").touch()
    (packages / "polite" / "registry.py").write_text(
        "from inspect_ai import Task, task\n"
        "from inspect_ai.dataset import Sample\n\n"
        "@task\ndef asks():\n    return Task(dataset=[Sample(input='May I?')])\n"
    )
    (packages / "polite-1.0.dist-info").mkdir()
    (packages / "polite-1.0.dist-info" / "METADATA").write_text("Name: polite\nVersion: 1.0\n")
    (packages / "polite-1.0.dist-info" / "entry_points.txt").write_text(
        "[inspect_ai]\npolite = polite.registry\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    config = EvalConfig(task="polite/asks")
    found = identify(config, project.memo, project.directory)
    assert (found.name, found.samples) == ("polite/asks", 1)
    assert "May I?" not in str(found.material)
    with pytest.raises(EvaluationError, match=r"polite/ask: no such task; did you mean 'polite/a"):
        identify(EvalConfig(task="polite/ask"), project.memo, project.directory)
