"""Settings: flag, then environment, then project file, then user file, then default.

The project file is ``motools.toml``, or ``[tool.motools]`` in ``pyproject.toml``,
in the working directory or the nearest one above it; the user file is
``~/.config/motools/settings.toml``. Environment variables are ``MOTOOLS_`` and
the name in capitals; tables are written in one line: ``MOTOOLS_LIMITS='{local = 2}'``.
A relative path in a project file starts where that file is, elsewhere in the working
directory; ``~`` is the user's home.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

from motools.configs import coerce, unknown_name
from motools.errors import ConfigError, SettingsError

PREFIX: Final = "MOTOOLS_"


@dataclass(frozen=True)
class Settings:
    """What can be set. Nothing here is part of a key, but for ``equivalent``.

    Attributes:
        cache_dir: the directory of the cache.
        database_url: ``postgresql://user@host:port/database`` of the coordinator; empty: SQLite.
        store: ``s3://bucket/folder``, where the cache's bytes are; empty: in its directory.
        s3: ``endpoint``, ``profile`` and ``region`` of S3. No credentials: those are where
            AWS's own tools look for them.
        lease_seconds: how long a runner may be silent before another host takes over.
        trash_days: how long what was cleared can be undeleted.
        remote: name of the remote to use where none is named; empty: the cache's default.
        remote_mode: whether a miss asks that remote, and whether it gets what is committed:
            ``off``, ``read`` or ``read-write``.
        remote_connections: how many objects are sent to or fetched from a remote at once.
        budget: how much the cache may hold: ``max_size = "50GB"``, ``max_age = "90d"`` since
            an entry was last used, and the same for a kind in a table named after it. Kept
            by itself, by releasing files; what is pinned or cost money stays.
        currency: what costs are counted in.
        prices: backend to price, in the currency: ``hour`` of its time; ``million_tokens``
            that were trained on, or the name of a base model for a price of its own. Also the
            model that an evaluation asks at an API, as Inspect names it, or the backend that
            tuned it: ``million_input_tokens`` and ``million_output_tokens``.
        backends: name to options of a backend: ``type`` (``openai`` if it is not given), and
            for that ``base_url``, ``api_key_env`` (the variable that has the key) and more;
            see "Fine-tuning through an API". No keys.
        revalidate_hours: how long a model that lives at a provider is taken to be there.
        limits: backend to how many of its steps run at once, wherever they are run;
            ``inspect`` for evaluations.
        signing_key: the file of the private key that signs what is made here; empty: none does.
        trusted_keys: name to Ed25519 public key, in base64, of those whose entries are taken
            from remotes and bundles; empty: anybody's.
        equivalent: library name to groups of versions that count as the first of their group.
    """

    cache_dir: str = ".motools"
    database_url: str = field(default="", repr=False)  # it may hold a password
    store: str = ""
    s3: dict[str, str] = field(default_factory=dict)
    lease_seconds: float = 60.0
    trash_days: float = 7.0
    remote: str = ""
    remote_mode: Literal["off", "read", "read-write"] = "off"
    remote_connections: int = 8
    budget: dict[str, Any] = field(default_factory=dict)
    currency: str = "USD"
    prices: dict[str, dict[str, float]] = field(default_factory=dict)
    backends: dict[str, dict[str, str | bool | int | float]] = field(default_factory=dict)
    revalidate_hours: float = 24.0
    limits: dict[str, int] = field(default_factory=dict)
    signing_key: str = ""
    trusted_keys: dict[str, str] = field(default_factory=dict)
    equivalent: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path | None = None, **flags: Any) -> Self:
        """The settings in force.

        Args:
            directory: where the search for a project file starts; by default here.
            flags: values that go before everything else; None: not given.

        Raises:
            SettingsError: an unknown name or a wrong value, with where it stands.
        """
        values: dict[str, Any] = {}
        for source, found in (
            *_files(directory or Path.cwd()),
            ("environment", _environment(cls)),
            ("flags", {name: value for name, value in flags.items() if value is not None}),
        ):
            values.update(_checked(cls, source, found))
        return cls(**values)


def config_directory() -> Path:
    """Where a user's own settings and keys are, which may not exist."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "motools"


def _files(directory: Path) -> list[tuple[str, Mapping[str, Any]]]:
    found = [_read(config_directory() / "settings.toml")]
    for folder in (directory, *directory.parents):
        project = _read(folder / "motools.toml") or _read(
            folder / "pyproject.toml", "tool", "motools"
        )
        if project:
            source, values = project
            found.append((source, _placed(values, folder)))
            break
    return [item for item in found if item]


def _read(path: Path, *section: str) -> tuple[str, Mapping[str, Any]] | None:
    try:
        with path.open("rb") as stream:
            values = tomllib.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path}: {problem}") from problem
    for name in section:
        if name not in values:
            return None
        values = values[name]
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: {name} is not a table")
    return str(path), values


def _placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values of a project file: the same wherever below it a program is started."""
    return {
        name: str(folder.absolute() / Path(value).expanduser())
        if name in _PATHS and isinstance(value, str) and value
        else value
        for name, value in values.items()
    }


def _environment(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for spec in dataclasses.fields(cls):
        text = os.environ.get(PREFIX + spec.name.upper())
        if text is not None:
            found[spec.name] = _parsed(spec.name, text, spec.type)
    return found


def _parsed(name: str, text: str, declared: Any) -> Any:
    """A value as it stands in a file: text as it is, tables as TOML writes them in one line."""
    if declared in _NUMBERS:
        try:
            return _NUMBERS[declared](text)
        except ValueError:
            return text  # refused below, with its name
    if not str(declared).startswith("dict"):
        return text
    try:
        return tomllib.loads(f"{name} = {text}")[name]
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(
            f"environment: {PREFIX}{name.upper()}: {problem}; write a table in one line, as in "
            "{local = 2}"
        ) from problem


_NUMBERS: Final = {"float": float, "int": int}
_PATHS: Final = ("cache_dir", "signing_key")
_LEAST: Final = {
    "lease_seconds": 1,
    "trash_days": 0,
    "remote_connections": 1,
    "revalidate_hours": 0,
}
_S3: Final = ["endpoint", "profile", "region"]


def _checked(cls: type, source: str, values: Mapping[str, Any]) -> dict[str, Any]:
    known = {spec.name: spec for spec in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(unknown_name(f"{source}: {name}", name, list(known)))
        try:
            checked[name] = coerce(value, hints[name], f"{source}: {name}")
        except ConfigError as problem:
            raise SettingsError(str(problem)) from problem
        _require_sense(f"{source}: {name}", name, checked[name])
    return checked


def _require_sense(path: str, name: str, value: Any) -> None:
    """Refuse what has the right type and would do harm, or nothing."""
    if name in _LEAST and value < _LEAST[name]:
        raise SettingsError(f"{path}: {value:g} is not at least {_LEAST[name]}")
    if name == "cache_dir" and not value:
        raise SettingsError(f"{path}: it is empty: name a directory, or leave it out")
    if name == "s3":
        for each in value:
            if each not in _S3:
                raise SettingsError(unknown_name(f"{path}.{each}", each, _S3))
    if name == "prices":
        for of, prices in value.items():
            for each, price in prices.items():
                if price < 0:
                    raise SettingsError(f"{path}.{of}.{each}: {price:g} is not at least 0")
