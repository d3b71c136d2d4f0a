"""Backends by name: built in, from installed packages, or named in the settings."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeAlias, TypeGuard

from motools.errors import BackendError, SettingsError
from motools.training.protocol import Backend, Trainer
from motools.training.provider import Provider

GROUP: Final = "motools.backends"
"""Entry points of this group are callables that return a backend.

What the settings say of a backend (``[backends.NAME]``) is given to them as keyword
arguments, but for ``type``.
"""

TYPE: Final = "type"
"""The option that says which entry point a name in the settings means; by default ``openai``."""

Option: TypeAlias = str | bool | int | float

Options: TypeAlias = Mapping[str, Mapping[str, Option]]
"""Name of a backend to its options, as in the settings."""

NOTHING: Final[Options] = {}

_BUILT_IN: Final = {
    "local": EntryPoint("local", "motools.training.local.backend:LocalBackend", GROUP),
    "openai": EntryPoint("openai", "motools.training.openai.backend:OpenAIBackend", GROUP),
}

_offered: Final[dict[str, Backend]] = {}


def names(options: Options = NOTHING) -> list[str]:
    """Every backend that can be asked for, sorted."""
    return sorted({*_known(), *options, *_offered})


def backend(name: str, options: Options = NOTHING) -> Backend:
    """The backend of this name; one object in a process for the same options.

    Args:
        name: of an installed backend, or one in the settings.
        options: those of the settings.

    Raises:
        BackendError: there is none, with the nearest one there is; or the
            package that offers it cannot be imported.
        SettingsError: it does not know one of its options.
    """
    if name in _offered:
        return _offered[name]
    if name == "local" and name in options:
        raise SettingsError("backends.local: the backend of this machine has no options here")
    said = options.get(name, {})
    kind = str(said.get(TYPE, "openai")) if name in options else name
    return _made(name, kind, tuple(sorted(said.items())), tuple(sorted(options)))


def trainer(name: str, options: Options = NOTHING) -> Trainer:
    """The backend of this name, if it trains on this machine.

    Raises:
        BackendError: it does not; or as :func:`backend`.
    """
    found = backend(name, options)
    if not isinstance(found, Trainer):
        raise BackendError(f"backend {name!r} does not train on this machine")
    return found


def offer(name: str, backend: Backend) -> None:
    """Have a backend found by a name, in this process only: in a test or a notebook.

    Raises:
        BackendError: the name is one of motools's own.
    """
    if name in _BUILT_IN:
        raise BackendError(f"{name!r} is a backend of motools: choose another name")
    _offered[name] = backend


@functools.cache
def _made(
    name: str, kind: str, said: tuple[tuple[str, Option], ...], named: tuple[str, ...]
) -> Backend:
    known = _BUILT_IN if kind in _BUILT_IN else _known()
    if kind not in known:
        near = difflib.get_close_matches(kind, {*known, *named}, n=1)
        every = ", ".join(sorted({*known, *named}))
        hint = f"did you mean {near[0]!r}?" if near else f"known are {every}"
        raise BackendError(f"no backend is called {kind!r}; {hint}")
    options = {option: value for option, value in said if option != TYPE}
    try:
        made = known[kind].load()(**options)
    except ImportError as problem:
        raise BackendError(f"backend {name!r} ({known[kind].value}): {problem}") from problem
    except (TypeError, SettingsError) as problem:
        raise SettingsError(f"backends.{name}: {problem}") from problem
    if not isinstance(made, Trainer | Provider):
        raise BackendError(f"backend {name!r} ({known[kind].value}) is not a motools backend")
    return made


def is_provider(made: Backend) -> TypeGuard[Provider]:
    """Whether a backend takes jobs. For thousands of cells, the protocol is asked once a type."""
    return _is_provider(type(made))


@functools.cache
def _is_provider(kind: type[Backend]) -> bool:
    return issubclass(kind, Provider)


def _known() -> dict[str, EntryPoint]:
    """Built-in names win: a package must not change what a key that says ``local`` means."""
    return {entry.name: entry for entry in entry_points(group=GROUP)} | _BUILT_IN
