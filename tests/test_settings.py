"""Settings: where they come from and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from motools.cache import Cache
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
    assert Settings.load(below).cache_dir == str(home / "project" / "project")
    (home / "project" / "motools.toml").write_text('cache_dir = "own file"\n')
    assert Settings.load(below).cache_dir == str(home / "project" / "own file")
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
        ("trash_days = -1", r"motools\.toml: trash_days: -1 is not at least 0"),
        ("lease_seconds = 0", "lease_seconds: 0 is not at least 1"),
        ("remote_connections = 0", "remote_connections: 0 is not at least 1"),
        ("revalidate_hours = -1", "revalidate_hours: -1 is not at least 0"),
        ('cache_dir = ""', "cache_dir: it is empty"),
        ('s3.endpont = "x"', r"s3\.endpont: no such field; did you mean 'endpoint'"),
        ("prices.local.hour = -1", r"prices\.local\.hour: -1 is not at least 0"),
    ],
)
def test_mistakes_name_file_and_field(home: Path, text: str, message: str) -> None:
    (home / "project" / "motools.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        Settings.load(home / "project")


def test_a_file_that_is_no_text_is_named(home: Path) -> None:
    (home / "project" / "motools.toml").write_bytes(b'currency = "\xff"')
    with pytest.raises(SettingsError, match=r"motools\.toml: 'utf-8' codec"):
        Settings.load(home / "project")


@pytest.mark.parametrize("text", ["tool = 5", "[tool]\nmotools = 5"])
def test_a_section_that_is_no_table_is_named(home: Path, text: str) -> None:
    (home / "project" / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"pyproject\.toml: \w+ is not a table"):
        Settings.load(home / "project")


def test_a_project_has_one_cache_wherever_below_it_a_program_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "project" / "motools.toml").write_text('cache_dir = "ours"\nsigning_key = "a.pem"\n')
    for folder in (home / "project", home / "project" / "below"):
        monkeypatch.chdir(folder)
        assert Settings.load().signing_key == str(home / "project" / "a.pem")
        assert Cache.open().root == home / "project" / "ours"


def test_home_is_where_a_tilde_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "project")
    for given in (None, "~/mine"):
        monkeypatch.setenv("MOTOOLS_CACHE_DIR", "~/mine")
        assert Cache.open(given).root == home / "mine"
    assert list(home.glob("project/~")) == []


def test_mistakes_in_the_environment_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTOOLS_TRASH_DAYS", "soon")
    with pytest.raises(SettingsError, match="environment: trash_days: 'soon'"):
        Settings.load(home)
