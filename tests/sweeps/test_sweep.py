"""A sweep is its cells: what varies, what is left out, and what is wrong with a file."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motools import Dataset
from motools.errors import ConfigError
from motools.sweeps import document, grid, paths
from motools.sweeps.grid import Rule
from motools.sweeps.sweep import Sweep
from motools.training.config import FineTuneConfig, LoraConfig

DATASET = Dataset.from_rows([{"messages": [{"role": "assistant", "content": "Hello"}]}])
RECIPE: dict[str, Any] = {
    "dataset": DATASET,
    "fine_tune": {"base_model": "tiny", "lora": {"rank": 8}},
    "evaluate": {"greets": {"task": "tasks.py@greets"}},
}


def sweep(**given: Any) -> Sweep:
    return Sweep("test", **{"recipe": RECIPE, **given})


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
    st.lists(st.dictionaries(st.sampled_from("cd"), st.integers(0, 9)), max_size=3),
)
def test_every_combination_is_a_cell(varied: dict[str, list[int]], variants: list[Any]) -> None:
    """Against the definition: the product of the values, times the variants."""
    found = grid.expand({"z": 0}, grid=varied, variants=variants, also=(), rules=(), exclude=())
    wanted = [
        {**dict(zip(varied, values, strict=True)), **variant}
        for values in product(*varied.values())
        for variant in variants or [{}]
    ]
    assert [(dict(parameters), dict(recipe)) for parameters, recipe in found] == [
        (parameters, {"z": 0, **parameters}) for parameters in wanted
    ]


@pytest.mark.parametrize(
    "values", [[1e-4, 0.0001], [1, 2, 1], [[1], [1]], [None, None], [{"a": [1]}, {"a": [1]}]]
)
def test_a_value_that_a_grid_has_twice_is_refused(values: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"grid\.fine_tune\.learning_rate: .* is there twice"):
        sweep(grid={"fine_tune.learning_rate": values})
    assert sweep(grid={"fine_tune.learning_rate": [1, 1.0, True, "1", [1], [1.0], (1,)]})


def test_what_a_later_override_replaces_is_no_parameter() -> None:
    """A cell says what it is, not what it would have been."""
    base = {"fine_tune": None, "model": "tiny"}
    cells = sweep(grid={"fine_tune.seed": [0, 1]}, variants=[{}, base]).cells()
    assert [cell.parameters for cell in cells] == [
        {"fine_tune.seed": 0},
        base,
        {"fine_tune.seed": 1},
        base,
    ]


def test_what_is_below_a_group_that_is_given_whole_varies() -> None:
    small, large = {"base_model": "tiny", "epochs": 1}, {"base_model": "tiny", "epochs": 2}
    assert sweep(grid={"fine_tune": [small, large]}).paths == (
        "fine_tune",
        "fine_tune.lora",
        "fine_tune.epochs",
    )
    config = FineTuneConfig(base_model="tiny", epochs=3)
    made = sweep(also=[{"evaluate": {"greets": {"task": "tasks.py@greets", "limit": 3}}}])
    assert made.paths == ("evaluate", "evaluate.greets.limit")
    assert "fine_tune.epochs" in sweep(also=[{"fine_tune": config}]).paths


def test_configs_are_made_of_the_recipe_and_what_varies() -> None:
    cells = sweep(
        grid={"fine_tune.learning_rate": [1e-4, 1e-3], "evaluate.greets.limit": [None, 5]},
        replicates=2,
    ).cells()
    assert len(cells) == 8
    last = cells[-1]
    assert last.config is not None
    assert (last.config.learning_rate, last.config.lora.rank) == (1e-3, 8)  # type: ignore[union-attr]
    assert (last.evaluations["greets"].limit, last.replicate) == (5, 1)
    assert str(last) == "learning_rate=0.001, limit=5, replicate=1"
    assert cells[0].config is cells[2].config, "equal configs are one object"


def test_rules_exclusions_and_further_cells() -> None:
    cells = sweep(
        grid={"fine_tune.learning_rate": [1e-4, 1e-3], "fine_tune.seed": [0, 1, 2]},
        rules=[Rule({"fine_tune.seed": [1, 2]}, {"fine_tune.epochs": 9})],
        exclude=[{"fine_tune.learning_rate": 1e-4, "fine_tune.seed": [0, 2]}],
        also=[{"fine_tune": None, "model": "tiny"}],
    ).cells()
    *tuned, base = cells
    values = [(c.config.learning_rate, c.config.seed, c.config.epochs) for c in tuned]  # type: ignore[union-attr]
    assert values == [(1e-4, 1, 9.0), (1e-3, 0, None), (1e-3, 1, 9.0), (1e-3, 2, 9.0)]
    assert base.train() is None
    assert base.model is not None
    assert base.model.base_model == "tiny"


def test_what_counts_by_default_is_met() -> None:
    made = sweep(
        grid={"fine_tune.learning_rate": [1e-4, 1e-3], "fine_tune.lora": [None, {"alpha": 8.0}]},
        rules=[Rule({"backend": "local", "fine_tune.seed": 0}, {"fine_tune.epochs": 9})],
        exclude=[{"fine_tune.learning_rate": 1e-4, "fine_tune.lora.rank": LoraConfig().rank}],
        also=[{"fine_tune": None, "model": "tiny"}],
    )
    *tuned, base = made.cells()
    assert [(c.config.learning_rate, c.config.lora is None) for c in tuned if c.config] == [
        (1e-4, True),
        (1e-3, True),
        (1e-3, False),
    ]
    assert all(c.config is not None and c.config.epochs == 9 for c in tuned)
    assert base.config is None and made.unmet() == []


def test_rules_and_exclusions_that_no_cell_meets_are_named() -> None:
    made = sweep(
        grid={"fine_tune.seed": [0, 1]},
        rules=[Rule({"fine_tune.seed": 1}, {"fine_tune.epochs": 9}), Rule({"backend": "lab"}, {})],
        exclude=[{"fine_tune.epochs": 9.5}, {"fine_tune.epochs": 9}, {"fine_tune.seed": 1}],
    )
    assert made.unmet() == ["rules[1]", "exclude[0]"]
    assert sweep().unmet() == []


def test_a_sweep_has_a_cell() -> None:
    with pytest.raises(ConfigError, match="every cell of test is left out"):
        sweep(exclude=[{}]).cells()


def test_true_is_not_one() -> None:
    assert grid.matches({"a": 1}, {"a": 1.0})
    assert not grid.matches({"a": True}, {"a": 1})
    assert not grid.matches({"a": 1}, {"b": 1})
    assert grid.matches({"a": None}, {"b": None})


def test_a_list_stands_for_its_items_and_for_itself() -> None:
    assert grid.matches({"a": 1}, {"a": [1, 2]})
    assert grid.matches({"a": [1, 2]}, {"a": [1, 2]})
    assert grid.matches({"a": [1, 2]}, {"a": [[3], [1, 2]]})
    assert not grid.matches({"a": [1, 2]}, {"a": [1]})


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"grid": {"fine_tune.learning_rte": [1]}}, "did you mean 'learning_rate'"),
        ({"grid": {"finetune.seed": [1]}}, "did you mean 'fine_tune'"),
        ({"grid": {"evaluate.greet.limit": [1]}}, "did you mean 'greets'"),
        ({"also": [{"fine_tune": {"lora": {"rnk": 1}}}]}, "did you mean 'rank'"),
        ({"rules": [Rule({"fine_tune.sed": 1}, {})]}, "did you mean 'seed'"),
        ({"exclude": [{"fine_tune.sed": 1}]}, "did you mean 'seed'"),
        ({"grid": {"fine_tune.seed": 3}}, "grid.fine_tune.seed: 3 is not a list"),
        ({"grid": {"fine_tune.seed": "12"}}, "is not a list"),
        ({"replicates": 0}, "replicates: 0"),
        ({"recipe": {**RECIPE, "fine_tunes": {}}}, "did you mean 'fine_tune'"),
    ],
)
def test_what_no_recipe_has_is_refused_with_the_nearest(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sweep(**given_)


@pytest.mark.parametrize(
    ("grid_", "said"),
    [
        ({"fine_tune.seed": [0, "x"]}, r"seed: 'x'.*in the cell fine_tune.seed='x'"),
        ({"fine_tune": [None]}, "name a base model"),
        ({"model": ["tiny"]}, "leave it out"),
        ({"dataset": [None]}, "dataset: is missing"),
        ({"dataset": [3]}, "neither a path nor"),
        ({"dataset": [{"hf": None}]}, "neither a path nor"),
        ({"backend": [5]}, "backend: 5 is not a name"),
        ({"backend": [False]}, "backend: False is not a name"),
        ({"model": [["tiny"]]}, "is not a name"),
        ({"options": [5]}, "is not a mapping of its fields"),
        ({"fine_tune.lora.rank": [1], "fine_tune.lora": [None]}, "is missing|rank"),
    ],
)
def test_a_cell_that_is_wrong_is_named(grid_: dict[str, Any], said: str) -> None:
    made = sweep(grid=grid_)
    if "fine_tune.lora" in grid_:
        assert made.cells()[0].config.lora is None  # type: ignore[union-attr]
        return
    with pytest.raises(ConfigError, match=said):
        made.cells()


def test_values_of_two_types_are_two() -> None:
    """A task may be asked for 1 of something, or for the share 1.0 of it."""
    path = "evaluate.greets.task_args"
    shares = [{"shown": 1}, {"shown": 1.0}, {"shown": True}]
    cells = sweep(grid={path: shares}, also=[{path: {"shown": 1}}]).cells()
    configs = [cell.evaluations["greets"] for cell in cells]
    assert [type(config.task_args["shown"]) for config in configs] == [int, float, bool, int]
    assert configs[0] is configs[3]


def test_nothing_is_below_a_value() -> None:
    with pytest.raises(ConfigError, match="there is nothing below lora"):
        paths.Putting().put({"lora": "no"}, "lora.rank", 1)


def test_the_template_is_a_sweep(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    document.write_template(file)
    row = {"messages": [{"role": "assistant", "content": "Hello"}]}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    found = document.read(file)
    assert found.name == "mine"
    assert len(found.cells()) == 6
    whole = file.read_text().replace("  # dataset:", "  dataset:")
    for line in ("# variants", "# also", "# rules", "# exclude"):
        at = whole.index(line)
        end = whole.index("\n\n", at)
        whole = whole[:at] + whole[at:end].replace("# ", "", 1).replace("\n# ", "\n") + whole[end:]
    file.write_text(whole)
    (tmp_path / "other.jsonl").write_text(json.dumps(row) * 1 + "\n")
    cells = document.read(file).cells()
    assert len(cells) == 2 * 2 * 3 * 2 + 1 - 2 * 2 * 2
    with pytest.raises(ConfigError, match="is there already"):
        document.write_template(file)


@pytest.mark.parametrize("name", ["a: b", "'c", "#d", "null", "12", "é"])
def test_the_template_has_the_name_of_its_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.yaml"
    document.write_template(file)
    assert document.read(file).name == name
    with pytest.raises(ConfigError, match="cannot be written"):
        document.write_template(tmp_path / "no" / "a.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: [", "not YAML"),
        ("- 1", "a sweep is a mapping"),
        ("grid: {}", "recipe: is missing"),
        ("recipe: {}\ngrids: {}", "did you mean 'grid'"),
        ("recipe: {}\nseeds: [1]\ngrid: {fine_tune.seed: [1]}", "give one of them"),
        ("recipe: {}\nrules: [{when: {}}]", "'when' and 'then'"),
        ("recipe: {}\nvariants: {a: 1}", "not a list of mappings"),
        ("recipe: {evaluate: [a]}", "name each evaluation"),
        ("recipe: {evaluate: {fine_tune: {task: a.py}}}", "stands for steps of every sweep"),
        ("recipe: {evaluate: {evals: {task: a.py}}}", "stands for steps of every sweep"),
        ("recipe: {evaluate: {a.b: {task: a.py}}}", "'a.b' is empty or has one of"),
        ("recipe: {evaluate: {1: {task: a.py}}}", "the name 1 is no text"),
        ("recipe: {}\nrules: 5", "rules: 5 is not a list"),
        ('recipe: {}\nname: "a\x07b"', "not YAML"),
        ("recipe: &a\n  dataset: a.jsonl\n  fine_tune: {trainer: *a}", "is inside of"),
    ],
)
def test_a_file_that_is_wrong_says_where(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        document.read(file)
    assert str(file) in str(caught.value)


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "recipe: {dataset: a.jsonl, fine_tune: {base_model: tiny}}\n"
        "grid: {fine_tune.learning_rate: [1e-4, 2.0e-3, 1]}\n"
    )
    assert document.read(file).grid["fine_tune.learning_rate"] == [1e-4, 2e-3, 1]


def test_a_date_is_text_as_in_yaml_1_2(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("recipe: {dataset: {hf: a/b, revision: 2024-01-01}}\n")
    assert document.read(file).recipe["dataset"] == {"hf": "a/b", "revision": "2024-01-01"}


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="motools sweep init"):
        document.read(tmp_path / "gone.yaml")
