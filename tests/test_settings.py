"""Settings: where they come from and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from motools.errors import SettingsError
from motools.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CACHE_DIR", "LEASE_SECONDS", "TRASH_DAYS", "CURRENCY"):
        monkeypatch.delenv(f"MOTOOLS_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "motools").mkdir(parents=True)
    (tmp_path / "project" / "below").mkdir(parents=True)
    return tmp_path


def test_flags_go_before_environment_before_project_before_user(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = home / "project" / "below"
    assert Settings.load(below) == Settings()
    (home / "config" / "motools" / "settings.toml").write_text(
        'cache_dir = "user"\ntrash_days = 1\ncurrency = "EUR"\n'
    )
    assert Settings.load(below).cache_dir == "user"
    (home / "project" / "pyproject.toml").write_text('[tool.motools]\ncache_dir = "project"\n')
    assert Settings.load(below).cache_dir == "project"
    (home / "project" / "motools.toml").write_text('cache_dir = "own file"\n')
    assert Settings.load(below).cache_dir == "own file"
    monkeypatch.setenv("MOTOOLS_CACHE_DIR", "environment")
    monkeypatch.setenv("MOTOOLS_TRASH_DAYS", "2.5")
    assert Settings.load(below).cache_dir == "environment"
    loaded = Settings.load(below, cache_dir="flag", lease_seconds=None)
    assert loaded == Settings(cache_dir="flag", trash_days=2.5, currency="EUR")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('cache_dri = "x"', "cache_dri: no such field; did you mean 'cache_dir'"),
        ('trash_days = "long"', "trash_days: 'long' is str, not float"),
        ("trash_days = ", "motools.toml"),
        ('equivalent.numpy = ["2.1.0", "2.1.1"]', r"equivalent\.numpy\[0\]: '2.1.0' is not a list"),
    ],
)
def test_mistakes_name_file_and_field(home: Path, text: str, message: str) -> None:
    (home / "project" / "motools.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        Settings.load(home / "project")


def test_mistakes_in_the_environment_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTOOLS_TRASH_DAYS", "soon")
    with pytest.raises(SettingsError, match="environment: trash_days: 'soon'"):
        Settings.load(home)
