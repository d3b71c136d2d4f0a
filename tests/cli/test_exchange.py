"""``motools cache remote``, ``push``, ``pull``, ``sync`` and ``status``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache
from motools.cache.trust import make_signer
from motools.digest import hash_bytes
from motools.remotes.layout import pack_name
from tests.filled import Filled

from .conftest import Run

Data = Callable[..., Any]


@pytest.fixture
def other(run: Run, tmp_path: Path) -> str:
    """Another, empty cache; both have the remote ``team``."""
    place = str(tmp_path / "other")
    assert run("remote", "add", "team", str(tmp_path / "team")).exit_code == 0
    assert run("remote", "add", "team", str(tmp_path / "team"), "--cache-dir", place).exit_code == 0
    return place


def test_remotes_by_name(run: Run, data: Data, tmp_path: Path) -> None:
    assert run("push").exit_code == 1
    assert "remote add" in run("push").stderr
    run("remote", "add", "first", str(tmp_path / "1"))
    run("remote", "add", "second", "memory://2")
    assert [(r["name"], r["default"]) for r in data("remote", "list")] == [
        ("first", True),
        ("second", False),
    ]
    run("remote", "default", "second")
    assert [r["name"] for r in data("remote", "list") if r["default"]] == ["second"]
    assert "first is" in run("remote", "add", "first", str(tmp_path / "3")).stderr
    assert [r["url"] for r in data("remote", "list")] == [str(tmp_path / "1"), "memory://2"]
    run("remote", "remove", "second")
    assert data("remote", "list") == [
        {"name": "first", "url": str(tmp_path / "1"), "default": False}
    ]
    assert run("remote", "remove", "second").exit_code == 1
    assert data("remote", "probe", "first")["entries"] == 0


def test_a_remote_carries_a_cache_over(filled: Filled, run: Run, data: Data, other: str) -> None:
    assert data("status")[0]["ahead"] == 8
    pushed = data("push", filled.models[0].key[:12])
    assert pushed["entries"] == [filled.models[0].key]
    dataset = filled.datasets[0]
    shown = run("push", dataset.labels["dataset_hash"][:12], "--dry-run")
    assert shown.stdout.count(dataset.key[:12]) == 1
    assert "1 entry pushed" in shown.stderr
    planned = run("push", "--dry-run")
    assert len(planned.stdout.splitlines()) == 8
    assert "7 entries pushed" in planned.stderr
    done = run("push")
    assert (done.stdout, done.exit_code, done.stderr.count("\n")) == ("", 0, 1)
    assert done.stderr.startswith("team: pushed 7 entries (")
    [state] = data("status")
    assert (state["same"], state["ahead"], state["behind"]) == (8, 0, 0)
    [state] = data("status", "--kind", "models", "--cache-dir", other)
    assert (state["same"], state["behind"]) == (0, 2)
    listed = run("status", "-l", "--cache-dir", other).stdout
    assert listed.count("behind") == 8
    assert len(data("pull", "--task-id", "greets", "--cache-dir", other)["entries"]) == 2
    assert "pulled 6 entries" in run("sync", "--cache-dir", other).stderr
    there = Cache.open(other, create=False)
    assert {e.key for e in there.entries()} == filled.live()
    assert there.entry(filled.models[0].key).files["tokenizer.json"].read_bytes()


def test_who_pulls_what_was_cleared_is_told(filled: Filled, run: Run) -> None:
    key = filled.models[0].key
    run("remote", "add", "team", str(filled.root.parent / "team"))
    run("push")
    run("clear", "all", key, "--yes")
    assert "undelete" not in run("pull").stderr, "it was not named"
    assert "undelete" in run("pull", key, "--dry-run").stderr
    pulled = run("pull", key)
    assert f"in the trash here: `motools cache undelete {key[:12]}`" in pulled.stderr


def test_a_dry_run_says_what_would_be_refused(
    run: Run, other: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("push")
    monkeypatch.chdir(tmp_path)
    key = make_signer(tmp_path / "alice.pem").public
    (tmp_path / "motools.toml").write_text(f'[trusted_keys]\nalice = "{key}"\n')
    planned = run("pull", "--dry-run", "--cache-dir", other)
    assert planned.exit_code == 4
    assert (planned.stdout.count("refused"), planned.stdout.count("behind")) == (8, 0)
    assert "would have 0 entries pulled" in planned.stderr


def test_what_cannot_be_done_has_an_exit_code(filled: Filled, run: Run, other: str) -> None:
    run("push")
    assert run("push", "f" * 20).exit_code == 3
    assert run("pull", "--kind", "wine").exit_code == 2
    Cache.open(other).close()
    for pack in (Path(other).parent / "team" / "packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o644)
            pack.write_bytes(b"")
    pulled = run("pull", "--cache-dir", other, "--format", "json")
    assert pulled.exit_code == 4
    found = json.loads(pulled.stdout)
    assert found["entries"] == [filled.function.key], "it has no files"
    assert len(found["problems"]) == 7
    assert "is damaged in the remote" in pulled.stderr


def test_prune_says_what_goes_and_when(run: Run, data: Data, other: str) -> None:
    run("push")
    name = pack_name(hash_bytes(b"nobody's").hex)
    orphan = Path(other).parent / "team" / name
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"nobody's")
    [row] = data("remote", "prune", "--dry-run")
    assert (row["will"], row["object"], row["bytes"]) == ("be doomed", name, 8)
    assert run("remote", "prune", "team").exit_code == 0
    assert orphan.exists()
    asked = run("remote", "prune", "--grace", "0")
    assert (asked.exit_code, "--yes" in asked.stderr, orphan.exists()) == (1, True, True)
    done = run("remote", "prune", "--grace", "0", "--yes", "--format", "json")
    [row] = json.loads(done.stdout)
    assert (row["will"], row["object"], row["bytes"]) == ("go now", name, 8)
    assert "1 object (8 B) deleted" in done.stderr
    assert not orphan.exists()
    assert data("remote", "probe")["entries"] == 8
    assert "lacks" not in run("remote", "prune").stderr
    for pack in orphan.parents[1].rglob("*"):
        if pack.is_file():
            pack.unlink()
    lacking = run("remote", "prune", "--dry-run").stderr
    assert "team lacks 1 object" in lacking and "verify --remote team" in lacking


def test_a_bundle_carries_entries_over(filled: Filled, run: Run, tmp_path: Path) -> None:
    file, place = str(tmp_path / "paper.motools"), str(tmp_path / "other")
    assert run("export", "-o", file).exit_code == 2
    done = run("export", filled.models[0].key[:9], filled.evals[0].key, "-o", file)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "2 entries" in done.stderr
    assert run("export", "--all", "-o", file).exit_code == 1, "it is there already"
    assert "would import 2" in run("import", file, "--dry-run", "--cache-dir", place).stderr
    assert "imported 2" in run("import", file, "--cache-dir", place).stderr
    there = Cache.open(place, create=False)
    assert {e.key for e in there.entries()} == {filled.models[0].key, filled.evals[0].key}
    key = filled.models[0].key
    run("clear", "all", key, "--yes", "--cache-dir", place)
    again = run("import", file, "--cache-dir", place)
    assert f"in the trash here: `motools cache undelete {key[:12]}`" in again.stderr
    Path(file).write_bytes(b"PK")
    assert "no bundle" in run("import", file, "--cache-dir", place).stderr


def test_an_export_names_what_is_not_whole(filled: Filled, run: Run, tmp_path: Path) -> None:
    key = filled.models[0].key
    run("prune", key, "--yes")
    named = run("export", key, filled.models[1].key, "-o", str(tmp_path / "named"))
    assert (named.exit_code, "2 entries" in named.stderr) == (4, True)
    assert f"{key[:12]}: its files were released" in named.stderr
    assert named.stderr.count("released") == 1
    every = run("export", "--all", "-o", str(tmp_path / "all"))
    assert (every.exit_code, f"{key[:12]}: its files" in every.stderr) == (0, True)
    place = tmp_path / "no cache"
    missing = run("import", str(tmp_path / "nowhere"), "--cache-dir", str(place))
    assert (missing.exit_code, "there is no file" in missing.stderr) == (1, True)
    assert not place.exists()


def test_a_remote_is_verified(filled: Filled, run: Run, data: Data, other: str) -> None:
    run("push")
    whole = run("verify", "--remote")
    assert (whole.exit_code, whole.stdout) == (0, "")
    assert "8 entries" in whole.stderr and "all is well" in whole.stderr
    for pack in (Path(other).parent / "team" / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    model = filled.models[0].key
    assert run("verify", filled.function.key, "--remote", "team").exit_code == 0
    broken = run("verify", model[:12], "--remote", "--format", "json")
    assert broken.exit_code == 4
    assert {row["key"] for row in json.loads(broken.stdout)} == {model}
    assert run("verify", "-r", "nobody").exit_code == 1
    assert run("verify").exit_code == 0, "the cache itself is whole"
    run("verify", "--remote", "team", "--read-data")
    assert "remote team: verified" in run("stats").stderr
    assert len(data("push")["entries"]) == 7
    assert run("verify", "--read-data", "--remote").exit_code == 0


def test_entries_go_from_a_remote_only_by_name(
    filled: Filled, run: Run, data: Data, other: str
) -> None:
    model, pinned = filled.models
    run("push")
    run("tag", "old", model.key, pinned.key)
    run("pin", pinned.key)
    run("push")
    assert run("remote", "prune", "team", "--tag", "nobody's").exit_code == 3
    planned = run("remote", "prune", "--tag", "old", "--dry-run")
    assert "1 entry stay: pinned here" in planned.stderr
    assert "1 entry would be removed for everybody" in planned.stderr
    assert model.key[:12] in planned.stdout
    assert run("remote", "prune", "--tag", "old").exit_code == 1, "nobody said yes"
    assert data("status")[0]["same"] == 8
    done = run("remote", "prune", "team", "--tag", "old", "--yes")
    assert (done.exit_code, "1 entry removed" in done.stderr) == (0, True)
    assert "2 objects (" in done.stderr, "the segments that were written anew go, too"
    [state] = data("status")
    assert (state["same"], state["ahead"], state["removed"]) == (7, 0, 1)
    assert data("push")["entries"] == []
    for command in ("push", "sync"):
        told = run(command)
        assert (told.exit_code, "1 were removed there" in told.stderr) == (0, True)
    assert data("push", model.key)["entries"] == [model.key]
