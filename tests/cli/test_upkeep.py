"""``motools cache pin``, ``tag``, ``note`` and ``prune``: what they say, and what is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache
from motools.cache.layout import blob_name
from tests.filled import Filled

from .conftest import Run

Data = Callable[..., Any]
ALL = ("prune", "--max-size", "0B", "--spare", "0s")


def test_marks_are_shown_found_and_taken_off(filled: Filled, run: Run, data: Data) -> None:
    model, other = filled.models
    assert run("pin", model.key[:9]).exit_code == 0
    assert "tagged 2 entries paper" in run("tag", "paper", model.key, other.key).stderr
    assert run("note", model.key, "the one in figure 3").exit_code == 0
    shown = data("show", model.key)
    assert (shown["pinned"], shown["tags"], shown["note"]) == (
        True,
        ["paper"],
        "the one in figure 3",
    )
    assert {row["cache_key"] for row in data("list", "all", "--tag", "paper")} == {
        model.key,
        other.key,
    }
    assert run("list", "all", "--pinned", "-q").stdout.split() == [model.key]
    table = run("list", "models").stdout
    assert "paper" in table and "pinned" in table and "figure 3" in table
    assert "pinned" not in run("list", "datasets").stdout  # no empty columns
    assert run("untag", "paper", model.key).exit_code == 0
    assert run("unpin", "--tag", "paper").stderr == "unpinned 0 entries\n"
    assert run("unpin", model.key).stderr == "unpinned 1 entry\n"
    run("note", model.key, "")
    assert not {"pinned", "tags"} & data("show", model.key).keys()


def test_what_is_marked_must_be_there(run: Run) -> None:
    assert run("pin").exit_code == 2
    assert run("pin", "ffff").exit_code == 3
    assert run("pin", "--tag", "nobody has it").exit_code == 3
    assert run("tag", "a\nb", "ffff").exit_code != 0


def test_a_pinned_entry_is_cleared_only_by_name(filled: Filled, run: Run) -> None:
    model = filled.models[0].key
    run("pin", model)
    result = run("clear", "models", "--yes")
    assert "1 entry stay: pinned" in result.stderr
    assert model in filled.live() and filled.models[1].key not in filled.live()
    assert "1 entry stay: pinned" in run("clear", "all", model, "--yes").stderr
    assert model in filled.live()
    assert run("clear", "all", model, "--pinned", "--yes").exit_code == 0
    assert model not in filled.live()


def test_prune_does_what_its_dry_run_says(filled: Filled, run: Run, data: Data) -> None:
    said = data(*ALL, "--dry-run")
    assert all(not entry.released for entry in Cache.open(filled.root).entries())
    done = run(*ALL, "--yes", "--format", "json")
    assert done.exit_code == 0, done.stderr
    released = {entry.key for entry in Cache.open(filled.root).entries() if entry.released}
    assert {row["name"] for row in said if row["what"] == "release"} == released
    paid = next(entry.key for entry in filled.models if entry.cost)
    assert paid not in released and len(released) == 6
    row = next(row for row in said if row["name"] == filled.models[0].key)
    assert (row["kind"], row["title"]) == ("model", "tiny") and row["size"] > 70_000
    assert "more than 0 B" in done.stderr and "--paid" in done.stderr
    assert data(*ALL, "--dry-run") == []
    assert not list((filled.root / "evals").iterdir())
    assert data("list", "evals")[0]["scores"] == {"match/accuracy": 0.75}
    assert data("show", filled.evals[0].key)["state"] == "released"


def test_what_was_pruned_comes_back(filled: Filled, run: Run) -> None:
    run(*ALL, "--yes")
    assert run("undelete", "--all").exit_code == 0
    found = Cache.open(filled.root).entry(filled.models[0].key)
    assert found.files["tokenizer.json"].read_bytes()
    assert len(list((filled.root / "evals").iterdir())) == 3


def test_what_cost_money_goes_when_it_is_named(filled: Filled, run: Run, data: Data) -> None:
    paid = next(entry for entry in filled.models if entry.cost)
    (row,) = [r for r in data(*ALL, "--paid", "--dry-run") if r["name"] == paid.key]
    assert row["cost"] == 1.25
    assert "1.25 USD" in run(*ALL, "--paid", "--dry-run").stderr


def test_prune_asks_first_and_leaves_alone_what_is_new(filled: Filled, run: Run) -> None:
    refused = run(*ALL)
    assert refused.exit_code == 1 and "--yes" in refused.stderr
    assert all(not entry.released for entry in Cache.open(filled.root).entries())
    assert "--spare" in run("prune", "--max-size", "0B", "--yes").stderr
    assert all(not entry.released for entry in Cache.open(filled.root).entries())


@pytest.mark.parametrize(
    "wrong", [("--max-size", "50"), ("--max-size", "-1GB"), ("--max-age", "soon")]
)
def test_wrong_budgets_are_refused(run: Run, wrong: tuple[str, str]) -> None:
    refused = run("prune", *wrong, "--dry-run")
    assert refused.exit_code == 1
    assert (
        wrong[0].strip("-").replace("-", "_") in refused.stderr
        and "write it as in" in refused.stderr
    )


def test_the_budget_of_the_settings_counts(
    filled: Filled, data: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motools.toml").write_text('[budget.eval]\nmax_size = "1kB"\n')
    rows = data("prune", "--spare", "0s", "--dry-run")
    assert {row["kind"] for row in rows} == {"eval"}


def test_what_is_named_goes_and_nothing_else(filled: Filled, run: Run, data: Data) -> None:
    free, paid = filled.models
    run("tag", "old", free.key, paid.key, filled.evals[0].key)
    rows = data("prune", "--tag", "old", "--spare", "0s", "--dry-run")
    assert {r["name"] for r in rows if r["what"] == "release"} == {free.key, filled.evals[0].key}
    rows = data("prune", paid.key, "--dry-run")
    assert [r["name"] for r in rows if r["what"] == "release"] == [paid.key]
    run("pin", paid.key)
    assert data("prune", paid.key, "--dry-run") == []
    run("unpin", paid.key)
    assert "more than" not in run("prune", paid.key, "--yes").stderr
    released = [e.key for e in Cache.open(filled.root).entries() if e.released]
    assert released == [paid.key]
    assert run("prune", "--tag", "nobody's", "--dry-run").exit_code == 3


def test_what_goes_for_good_is_named_with_its_cost(filled: Filled, run: Run, data: Data) -> None:
    paid = next(entry for entry in filled.models if entry.cost)
    assert run("clear", "all", paid.key, "--files", "--yes").exit_code == 0
    cache = Cache.open(filled.root)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET trashed_at = 1 WHERE state = 'trash'")
        transaction.run("UPDATE blobs SET trashed_at = 1 WHERE state = 'trash'")
    rows = data("prune", "--dry-run")
    (row,) = [row for row in rows if row["what"] == "trash" and row["kind"] == "model"]
    assert (row["name"], row["cost"]) == (paid.key, 1.25)
    assert "1 entry and" in (said := run("prune", "--dry-run").stderr) and "cost 1.25 USD" in said
    done = run("prune", "--yes")
    assert "1 entry and" in done.stderr and "of the trash are gone" in done.stderr
    assert run("undelete", paid.key).exit_code == 3


def test_of_what_is_named_and_stays_the_reason_is_told(filled: Filled, run: Run) -> None:
    free, paid = filled.models
    run("tag", "old", free.key, paid.key)
    said = run("prune", "--tag", "old", "--dry-run").stderr
    assert f"{paid.key[:12]} stays: it cost money (--paid" in said
    assert f"{free.key[:12]} stays: made or used just now (--spare)" in said
    run("pin", free.key)
    assert f"{free.key[:12]} stays: pinned" in run("prune", free.key, "--dry-run").stderr
    run("unpin", free.key)
    run("prune", free.key, "--yes")
    assert f"{free.key[:12]} stays: no files are here" in run("prune", free.key, "--dry-run").stderr
    said = run("prune", "--tag", "old", "--max-size", "1gb", "--spare", "0s", "--paid").stderr
    assert f"{paid.key[:12]} stays: within the limits" in said


def test_what_shares_its_files_with_others_says_so(run: Run) -> None:
    cache = Cache.open()
    keys = [
        cache.get_or_run(
            Action("function", {}, {"n": n}, {"name": "test"}),
            lambda context: (context.directory / "file").write_text("the same"),
        ).key
        for n in (1, 2)
    ]
    said = run("prune", keys[0], "--dry-run").stderr
    assert f"{keys[0][:12]} stays: all its files are shared with entries that stay" in said


def test_with_names_only_these_go(filled: Filled, run: Run, data: Data) -> None:
    nobodys = filled.root / blob_name("aa" * 32)
    left = filled.root / "tmp" / "left"
    for path in (nobodys, left):
        path.parent.mkdir(exist_ok=True)
        path.write_text("left behind")
        os.utime(path, (1, 1))
    key = filled.models[0].key
    assert [row["name"] for row in data("prune", key, "--dry-run")] == [key]
    assert run("prune", key, "--yes").exit_code == 0
    assert nobodys.exists() and left.exists()
    assert len(data("prune", "--dry-run")) == 2
    done = run("prune", "--yes").stderr
    assert not nobodys.exists() and not left.exists()
    assert "undelete" not in done, "nothing that can be undeleted went"


def test_where_there_is_no_grace_period_nothing_is_said_to_come_back(
    filled: Filled, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_TRASH_DAYS", "0")
    done = run("prune", filled.models[0].key, "--yes").stderr
    assert "released the files of 1 entry" in done
    assert "trash" not in done and "undelete" not in done
