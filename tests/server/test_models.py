"""Base models, as a server has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from motools.cache import Cache
from motools.server.models import Base, Models
from motools.training import registry
from motools.training.protocol import BaseModel
from tests.server.running import SERVE, ended


def test_a_branch_stays_at_the_commit_it_was_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def identify(name: str, _memo: object) -> BaseModel:
        asked.append(name)
        pinned = {"base_model_pinned": "org/name@" + "a" * 40}
        return BaseModel(name, "d" * 64, {}, provenance=pinned)

    monkeypatch.setattr(registry.backend("local"), "identify", identify)
    models = Models(Cache.open(tmp_path), [Base("org/name", "org/name")])
    models.pin()
    models.identify(models.base("org/name"))
    assert asked == ["org/name", "org/name@" + "a" * 40]


@pytest.mark.parametrize("name", ["tiny=/somewhere", "tiny"])
def test_a_name_is_given_once(name: str, tmp_path: Path) -> None:
    done = ended([*SERVE, "--cache-dir", str(tmp_path / "cache"), "--model", name])
    assert done.returncode != 0
    assert "tiny is given twice" in done.stderr
