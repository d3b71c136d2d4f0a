"""``motools cache reject``, ``sign``, ``keys`` and ``checkout``."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache
from motools.cache.trust import check_trusted, make_signer
from motools.settings import Settings
from tests.filled import WEIGHTS, Filled

from .conftest import Run

Data = Callable[..., Any]


def test_reject_lists_what_was_made_from_it(filled: Filled, run: Run, data: Data) -> None:
    model = filled.models[0]
    key = filled.datasets[0].key
    dry = run("reject", key, "--reason", "poisoned", "--dry-run", "--dependents")
    assert "would be rejected: 2 entries" in dry.stderr
    assert not any(row["rejected"] for row in data("reject", key, "--reason", "no", "--dry-run"))
    rows = data("reject", key, "--reason", "poisoned")
    assert [(row["key"], row["rejected"]) for row in rows] == [
        (key, True),
        (model.key, False),
    ]
    assert "--dependents" in run("reject", key, "--reason", "poisoned").stderr
    assert all(row["rejected"] for row in data("reject", key, "--reason", "x", "--dependents"))
    refused = run("checkout", model.key, str(filled.root.parent / "out"))
    assert refused.exit_code == 1
    assert "was rejected: x" in refused.stderr
    assert not any(row["rejected"] for row in data("reject", key, "--withdraw", "--dependents"))
    assert run("reject", key, "--withdraw").exit_code == 3
    assert run("reject", key).exit_code == 2
    assert run("reject", key, "--reason", " ").exit_code == 2


def test_checkout_gives_copies_to_own(filled: Filled, run: Run, tmp_path: Path) -> None:
    key, place = filled.models[0].key, tmp_path / "mine" / "model"
    result = run("checkout", key[:12], str(place))
    assert result.stdout == f"{place}\n"
    assert (place / "weights.safetensors").read_bytes() == WEIGHTS + b"local"
    (place / "weights.safetensors").write_bytes(b"mine")
    again = run("checkout", key[:12], str(place))
    assert again.exit_code == 1
    assert "is not empty" in again.stderr
    (tmp_path / "file").write_text("")
    in_the_way = run("checkout", key[:12], str(tmp_path / "file"))
    assert (in_the_way.exit_code, "is a file: choose" in in_the_way.stderr) == (1, True)
    cache = Cache.open(filled.root)
    assert cache.entry(key).files["weights.safetensors"].read_bytes() == WEIGHTS + b"local"


def test_checkout_copies_all_or_nothing(filled: Filled, run: Run, tmp_path: Path) -> None:
    key, new, empty = filled.models[0].key, tmp_path / "new", tmp_path / "empty"
    empty.mkdir()
    before = sorted(tmp_path.iterdir())
    path = Cache.open(filled.root).entry(key).files["weights.safetensors"]
    path.rename(tmp_path / "aside")
    for place in (new, empty):
        assert run("checkout", key, str(place)).exit_code == 1
    (tmp_path / "aside").rename(path)
    assert sorted(tmp_path.iterdir()) == before
    for place in (new, empty):
        assert run("checkout", key, str(place)).exit_code == 0
        assert {each.name for each in place.iterdir()} == {"weights.safetensors", "tokenizer.json"}


def test_what_was_released_is_not_checked_out(filled: Filled, run: Run, tmp_path: Path) -> None:
    key, place = filled.models[0].key, tmp_path / "mine"
    assert run("prune", key, "--yes").exit_code == 0
    result = run("checkout", key, str(place))
    assert result.exit_code == 1
    assert f"motools cache undelete {key[:12]}" in result.stderr
    assert not place.exists()


def test_keys_are_made_listed_and_sign(
    filled: Filled, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    assert "signing_key is not set" in run("sign", "--all").stderr
    lines = run("keys", "new", "alice")
    assert run("keys", "new", "alice").exit_code == 1
    assert run("keys", "new", "../alice").exit_code == 1
    (path,) = (tmp_path / "config" / "motools" / "keys").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "motools.toml").write_text(lines.stdout)
    settings = Settings.load()
    assert settings.signing_key == str(path)
    [known] = json.loads(run("keys", "list", "--format", "json").stdout)
    assert (known["name"], known["signs"], known["trusted"]) == ("alice", "signs", "trusted")
    assert "alice signed 1 entry" in run("sign", filled.models[0].key[:12]).stderr
    assert "alice signed 8 entries" in run("sign", "--all").stderr
    cache = Cache.open(filled.root)
    for entry in cache.entries():
        marks = cache.marks.of(entry.key)
        assert check_trusted(entry.row, marks, settings.trusted_keys) == "alice"
    secret = path.read_text().splitlines()[1]
    files = (file for file in filled.root.rglob("*") if file.is_file())
    assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_show_says_who_signed_who_rejected_and_where_the_bytes_are(
    filled: Filled, run: Run, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = make_signer(tmp_path / "alice.pem"), make_signer(tmp_path / "bob.pem")
    model, log, value = filled.models[0].key, filled.evals[0].key, filled.function.key
    for signer in (alice, bob):
        monkeypatch.setenv("MOTOOLS_SIGNING_KEY", str(tmp_path / f"{signer.name}.pem"))
        run("sign", model)
    run("reject", model, "--reason", "wrong rows")
    assert data("show", model)["signed_by"] == [
        {"name": "alice", "trusted": None},
        {"name": "bob", "trusted": None},
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motools.toml").write_text(f'[trusted_keys]\nalice = "{alice.public}"\n')
    shown = data("show", model)
    assert shown["rejected"] == {"reason": "wrong rows", "by": "bob"}
    assert [each["trusted"] for each in shown["signed_by"]] == [True, False]
    assert "alice (trusted), bob (not trusted)" in run("show", model).stdout
    assert "wrong rows (bob)" in run("show", model).stdout
    assert (data("show", model)["bytes"], data("show", value)["bytes"]) == (
        "here",
        "none: it has no files",
    )
    monkeypatch.delenv("MOTOOLS_SIGNING_KEY")
    assert "signing_key is not set" in run("reject", model, "--withdraw").stderr
    assert "rejected" not in data("show", model)

    run("prune", "--max-size", "0B", "--spare", "0s", "--yes")
    assert "undelete" in data("show", log)["bytes"]
    monkeypatch.setenv("MOTOOLS_TRASH_DAYS", "0")
    run("prune", "--max-size", "0B", "--spare", "0s", "--yes")
    assert data("show", log)["bytes"] == "nowhere: they were released"
