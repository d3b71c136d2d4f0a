"""``motools cache``: every command, its data, its prose and its exit code."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache
from tests.filled import Filled
from tests.postgresql import BOTH

from .conftest import Run

Data = Callable[..., Any]


def test_models_show_what_they_were_made_from(filled: Filled, run: Run, data: Data) -> None:
    newest, oldest = data("list", "models")
    assert (newest["cache_key"], oldest["cache_key"]) == tuple(e.key for e in filled.models[::-1])
    assert newest["base_model"] == "tiny"
    assert newest["dataset_hash"] == filled.datasets[1].labels["dataset_hash"]
    assert newest["config"]["learning_rate"] == 2e-4
    assert (newest["backend_type"], newest["cost"]) == ("openai", 1.25)
    table = run("list", "models").stdout
    heading, row, _ = table.splitlines()
    for title in ("key", "base model", "dataset", "config", "backend", "cost", "age"):
        assert title in heading
    assert row.startswith(filled.models[1].key[:12])
    assert "learning_rate=0.0002" in row
    assert filled.models[1].key not in table


@pytest.mark.parametrize(
    ("group", "count"), [("datasets", 2), ("models", 2), ("evals", 3), ("functions", 1), ("all", 8)]
)
def test_groups(run: Run, group: str, count: int) -> None:
    assert len(run("list", group).stdout.splitlines()) == count + 1
    keys = run("list", group, "-q").stdout.split()
    assert len(set(keys)) == count
    assert all(len(key) == 64 for key in keys)
    rows = list(csv.DictReader(io.StringIO(run("list", group, "--format", "csv").stdout)))
    assert [row.get("cache_key") or row["id"] for row in rows] == keys


@pytest.mark.parametrize("group", ["datasets", "models", "evals", "functions", "all"])
def test_an_empty_list_has_the_fields_of_a_full_one(run: Run, group: str) -> None:
    full = run("list", group, "--format", "csv").stdout.splitlines()
    empty = run("list", group, "--tag", "nobody's", "--format", "csv").stdout.splitlines()
    assert empty == full[:1]
    for field in full[0].split(","):
        assert run("list", group, "--tag", "nobody's", "--sort", field).exit_code == 0


@BOTH
def test_filters(filled: Filled, run: Run) -> None:
    first, second = filled.models
    of_first = run("list", "evals", "--model-id", first.key, "-q").stdout.split()
    assert of_first == [filled.evals[0].key]
    shortened = run("list", "all", "--model-id", second.key[:9], "-q").stdout.split()
    assert set(shortened) == {second.key, filled.evals[1].key}
    assert run("list", "evals", "--model-id", "tin", "-q").stdout == ""  # names are not cut short
    both = run("list", "evals", "--task-id", "greets", "--model-id", "tiny", "-q")
    assert (both.stdout, both.exit_code) == ("", 0)
    either = run("list", "evals", "--task-id", "greets", "--task-id", "insults", "-q")
    assert len(either.stdout.split()) == 3
    assert run("list", "models", "--backend", "openai", "-q").stdout.split() == [second.key]
    assert len(run("list", "--since", "1h", "-q").stdout.split()) == 8
    assert run("list", "--until", "1h", "-q").stdout == ""
    assert run("list", "--since", "2100-01-01", "-q").stdout == ""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 5))
    assert len(run("list", "--until", at, "-q").stdout.split()) == 8


def test_sorting(filled: Filled, data: Data, run: Run) -> None:
    costs = [row["cost"] for row in data("list", "all", "--sort", "cost")]
    assert costs == [1.25, *[None] * 7]
    ages = [row["created_at"] for row in data("list", "all", "--reverse", "--limit", "3")]
    assert ages == sorted(ages)
    assert len(ages) == 3
    sizes = [row["size"] for row in data("list", "all", "--sort", "size")]
    assert sizes == sorted(sizes, reverse=True)
    wrong = run("list", "models", "--sort", "colour")
    assert wrong.exit_code == 2
    assert "learning_rate" not in wrong.stderr
    assert "dataset_hash" in wrong.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "modls"),
        ("list", "--since", "yesterday"),
        ("list", "--limit", "0"),
        ("list", "--limit", "9" * 30),
        ("list", "--cache-dir", ""),
        ("list", "--tag", "\udcff"),
        ("show", "\udcff"),
        ("pin", "\udcff"),
        ("note", "ab", "\udcff"),
        ("list", "--format", "xml"),
        ("clear",),
        ("undelete",),
        ("undelete", "--all", "abc"),
        ("show",),
    ],
)
def test_a_wrong_command_line_is_2_and_changes_nothing(
    filled: Filled, run: Run, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error" in result.stderr
    assert len(filled.live()) == 8


@BOTH
def test_show(filled: Filled, run: Run, data: Data) -> None:
    model = filled.models[1]
    shown = data("show", model.key[:8])
    assert shown["key"] == model.key
    assert shown["action"] == model.action
    assert {file["path"] for file in shown["files"]} == {"weights.safetensors", "tokenizer.json"}
    assert shown["provenance"]["config"]["learning_rate"] == 2e-4
    assert "config.learning_rate: 0.0002" in run("show", model.key).stdout
    dataset = filled.datasets[0]
    assert data("show", dataset.labels["dataset_hash"][:10])["key"] == dataset.key
    assert data("show", dataset.labels["file_id"])["key"] == dataset.key


def test_keys_that_are_not_there_are_3_and_ambiguous_ones_1(filled: Filled, run: Run) -> None:
    for command in ("show", "explain"):
        missing = run(command, "not-a-key")
        assert (missing.exit_code, missing.stdout) == (3, "")
        assert "motools cache list" in missing.stderr
    firsts = [key[0] for key in filled.live()]
    shared = next(first for first in firsts if firsts.count(first) > 1)
    assert run("show", shared).exit_code == 1
    assert run("show", "").exit_code == 3


def test_explain(filled: Filled, run: Run, data: Data) -> None:
    first, second = filled.models
    found = data("explain", first.key[:10])
    assert found["canonical"] == first.canonical
    assert found["other"] == second.key
    fields = {row["field"]: (row["this"], row["other"]) for row in found["differences"]}
    assert fields["config.learning_rate"] == (1e-4, 2e-4)
    assert {field for field in fields if not field.startswith("row ")} == {
        "config.learning_rate",
        "inputs.dataset",
        "backend.name",
    }
    assert fields["row 9, prompt"] == ("red", "blue")
    text = run("explain", first.key)
    assert '"schema": "motools.action/1"' in text.stdout
    assert "nearest" in text.stderr
    pair = run("explain", filled.evals[0].key, filled.evals[2].key, "--format", "csv")
    assert [line.split(",")[0] for line in pair.stdout.splitlines()] == [
        "field",
        "config.task.name",
        "inputs.model",
    ]
    alone = run("explain", filled.function.key)
    assert alone.exit_code == 0
    assert "no other entry" in alone.stderr


@BOTH
def test_statistics_and_sizes(filled: Filled, data: Data, run: Run) -> None:
    cache = Cache.open(filled.root)
    model = filled.models[1].action
    action = Action("model", model["inputs"], model["config"], model["backend"])
    assert cache.get_or_run(action, lambda context: None).hit
    cache.close()
    by_kind = {row["kind"]: row for row in data("stats")}
    assert {kind: row["entries"] for kind, row in by_kind.items()} == {
        "dataset": 2,
        "model": 2,
        "eval": 3,
        "function": 1,
    }
    assert (by_kind["model"]["hits"], by_kind["model"]["cost_saved"]) == (1, 1.25)
    (total,) = data("size")
    *parts, summed = data("size", "--breakdown")
    assert sum(part["bytes"] for part in parts) == summed["bytes"] == total["bytes"]
    sizes = {part["part"]: part["bytes"] for part in parts}
    assert sizes["datasets"] > 0
    assert sizes["runs"] > sizes["evals"] > 0
    assert sizes["database"] > 0
    assert "kB" in run("size", "--breakdown").stdout


@BOTH
def test_clear_by_key_and_bring_back(filled: Filled, run: Run) -> None:
    key = filled.models[1].key
    cleared = run("clear", "models", key[:10], "--yes")
    assert cleared.exit_code == 0, cleared.stderr
    assert key[:12] in cleared.stdout
    assert "paid" in cleared.stdout
    assert "1 cost money: 1.25 USD" in cleared.stderr
    assert "cleared 1 entry" in cleared.stderr
    assert filled.live() == {entry.key for entry in filled.entries} - {key}
    assert run("list", "all", "--trash", "-q").stdout.split() == [key]
    assert run("undelete", key[:10]).exit_code == 0
    assert len(filled.live()) == 8
    again = run("undelete", key[:10])
    assert (again.exit_code, "`motools cache list --trash`" in again.stderr) == (3, True)


@BOTH
def test_clear_by_filter_with_files(filled: Filled, run: Run, data: Data) -> None:
    before = {part["part"]: part["bytes"] for part in data("size", "--breakdown")}
    dry = run("clear", "models", "--backend", "openai", "--files", "--dry-run")
    assert dry.exit_code == 0
    assert filled.models[1].key[:12] in dry.stdout
    assert len(filled.live()) == 8
    cleared = run("clear", "models", "--backend", "openai", "--files", "--yes")
    assert "freed" in cleared.stderr
    after = {part["part"]: part["bytes"] for part in data("size", "--breakdown")}
    freed = before["runs"] - after["runs"]
    weights = next(row for row in filled.models[1].file_rows if row[0] == "weights.safetensors")
    tokenizer = next(row for row in filled.models[1].file_rows if row[0] == "tokenizer.json")
    assert weights[2] <= freed < weights[2] + tokenizer[2]  # the other one has it too
    assert run("undelete", "--all").exit_code == 0
    entry = Cache.open(filled.root).entry(filled.models[1].key)
    assert entry.files["weights.safetensors"].stat().st_size == weights[2]


def test_clearing_an_evaluation_takes_its_link_along(filled: Filled, run: Run) -> None:
    assert len(run("list", "evals", "-q").stdout.split()) == 3
    links = filled.root / "evals"
    assert len(list(links.iterdir())) == 3
    run("clear", "evals", "--task-id", "greets", "--yes", "--files")
    assert [link.name.partition("-")[0] for link in links.iterdir()] == ["insults"]
    run("undelete", "--all")
    assert all(link.exists() for link in links.iterdir())
    assert len(list(links.iterdir())) == 3


@BOTH
def test_a_key_is_its_newest_generation_however_many_there_are(filled: Filled, data: Data) -> None:
    cache, action = Cache.open(filled.root), Action("function", config={"n": 7})
    for n in range(102):
        key = cache.get_or_run(action, lambda _, n=n: n, refresh=True).key  # type: ignore[misc]
    assert (data("show", key)["generation"], data("show", key[:20])["value"]) == (102, 101)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("clear", "models"), 1),
        (("clear", "evals", "--model-id", "nobody", "--yes"), 3),
        (("clear", "models", "0123456789abcdef", "--yes"), 3),
        (("clear", "models", "", "--yes"), 3),
    ],
)
def test_what_cannot_be_cleared(
    filled: Filled, run: Run, arguments: tuple[str, ...], code: int
) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert "error:" in result.stderr
    assert len(filled.live()) == 8


def test_a_key_of_another_kind_is_not_cleared(filled: Filled, run: Run) -> None:
    result = run("clear", "models", filled.evals[0].key, "--yes")
    assert result.exit_code == 3
    assert "'eval'" in result.stderr
    assert len(filled.live()) == 8


def test_one_wrong_key_among_many_clears_nothing(filled: Filled, run: Run) -> None:
    assert run("clear", "all", filled.function.key, "zz", "--yes").exit_code == 3
    assert len(filled.live()) == 8


def test_what_is_being_made_again_is_not_cleared(filled: Filled, run: Run) -> None:
    cache = Cache.open(filled.root)
    model = filled.models[0].action
    action = Action("model", model["inputs"], model["config"], model["backend"])
    claim = cache.claim(action, refresh=True)
    with claim:  # type: ignore[union-attr]
        result = run("clear", "all", "--yes")
    assert result.exit_code == 1
    assert "is being run by" in result.stderr
    assert len(filled.live()) == 8


def test_clear_all_of_nothing_is_done(run: Run) -> None:
    assert run("clear", "all", "--yes").exit_code == 0
    again = run("clear", "all", "--yes")
    assert (again.exit_code, again.stdout) == (0, "")


def test_reindex_mends_a_damaged_database(filled: Filled, run: Run, data: Data) -> None:
    keys = filled.live()
    for name in ("cache.db-wal", "cache.db-shm"):
        (filled.root / name).unlink(missing_ok=True)
    (filled.root / "cache.db").write_bytes(b"this is not a database" * 400)
    broken = run("list")
    assert broken.exit_code == 1
    assert "reindex" in broken.stderr
    assert data("reindex")["entries"] == 8
    assert filled.live() == keys


@BOTH
def test_reindex_names_damaged_documents(filled: Filled, run: Run) -> None:
    key = filled.models[0].key
    document = filled.root / "entries" / key[:2] / f"{key[2:]}.json"
    document.write_text(document.read_text()[:-40])
    result = run("reindex", "--format", "json")
    assert result.exit_code == 4
    (problem,) = json.loads(result.stdout)["problems"]
    assert key[2:] in problem["document"]


def test_no_cache_is_an_error_that_makes_none(tmp_path: Path, run: Run) -> None:
    place = tmp_path / "nowhere"
    for arguments in (("list",), ("stats",), ("clear", "all", "--yes"), ("reindex",)):
        result = run(*arguments, "--cache-dir", str(place))
        assert (result.exit_code, result.stdout) == (1, "")
        assert "there is no cache" in result.stderr
    assert not place.exists()


def test_a_newer_cache_is_refused(filled: Filled, run: Run) -> None:
    with sqlite3.connect(filled.root / "cache.db") as connection:
        connection.execute("UPDATE meta SET value = '999' WHERE name = 'schema_version'")
    result = run("list")
    assert result.exit_code == 1
    assert "upgrade motools" in result.stderr
