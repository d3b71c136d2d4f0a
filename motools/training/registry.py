"""Backends by name: the built-in one, and those that installed packages offer."""

from __future__ import annotations

import difflib
import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from motools.errors import BackendError
from motools.training.protocol import Backend

GROUP: Final = "motools.backends"
"""Entry points of this group are callables without arguments that return a backend."""

_BUILT_IN: Final = {
    "local": EntryPoint("local", "motools.training.local.backend:LocalBackend", GROUP),
}


def names() -> list[str]:
    """Every backend that can be asked for, sorted."""
    return sorted(_known())


@functools.cache
def backend(name: str) -> Backend:
    """The backend of this name; one object in a process, found once.

    Raises:
        BackendError: there is none, with the nearest one there is; or the
            package that offers it cannot be imported.
    """
    known = _BUILT_IN if name in _BUILT_IN else _known()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
        raise BackendError(f"no backend is called {name!r}; {hint}")
    try:
        made = known[name].load()()
    except ImportError as problem:
        raise BackendError(f"backend {name!r} ({known[name].value}): {problem}") from problem
    if not isinstance(made, Backend):
        raise BackendError(f"backend {name!r} ({known[name].value}) is not a motools backend")
    return made


def _known() -> dict[str, EntryPoint]:
    """Built-in names win: a package must not change what a key that says ``local`` means."""
    return {entry.name: entry for entry in entry_points(group=GROUP)} | _BUILT_IN
