"""Models in the roles of a task: pinned, part of the identity, and the ones that run."""

from __future__ import annotations

from typing import Any

import pytest

from motools.errors import ConfigError
from motools.evals import EvalConfig

from .conftest import Project

JUDGE = "echo/judge-2024-08-06"
TASK = """

@scorer(metrics=[accuracy()])
def asked():
    from inspect_ai.model import get_model

    async def score(state, target):
        answer = await get_model(role="grader").generate("Is it so?")
        return Score(value=CORRECT, answer=answer.model)

    return score


@task
def by_role():
    return Task(dataset=json_dataset("samples.json"), scorer=asked())
"""


@pytest.fixture(autouse=True)
def task(project: Project) -> None:
    path = project.directory / "tasks.py"
    path.write_text(path.read_text() + TASK)


def test_a_role_is_part_of_the_identity(project: Project) -> None:
    plain = project.identify("by_role")
    judged = project.identify("by_role", roles={"grader": JUDGE})
    assert "roles" not in plain.material
    assert judged.material["roles"] == {"grader": {"model": JUDGE}}
    assert judged.material["models"] == [JUDGE]
    other = project.identify("by_role", roles={"grader": "echo/judge-2024-08-07"})
    assert len({one.digest for one in (plain, judged, other)}) == 3


def test_the_model_in_the_role_is_the_one_that_runs(project: Project) -> None:
    result = project.run("by_role", roles={"grader": JUDGE})
    assert set(result.usage) >= {JUDGE}


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/latest"])
def test_a_name_that_may_move_is_refused(model: str) -> None:
    wanted: dict[str, Any] = {"task": "tasks.py@by_role", "roles": {"grader": model}}
    with pytest.raises(ConfigError, match=r"roles\.grader: .* another model"):
        EvalConfig(**wanted)
    assert EvalConfig(**wanted, version="the one of May").roles == {"grader": model}
