"""API keys: where they are looked for. They are held in memory and appear nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from motools.errors import BackendError

_vaults: Final[dict[str, Callable[[str], str]]] = {}


def add_vault(kind: str, read: Callable[[str], str]) -> None:
    """Have keys of ``kind:name`` read by a function, which is given the name.

    Args:
        kind: ``block`` for Prefect's blocks, say.
        read: returns the key; raises a MotoolsError if there is none.
    """
    _vaults[kind] = read


def find(place: str, backend: str) -> str:
    """The key at a place.

    Args:
        place: the name of an environment variable, or ``kind:name`` in a vault.
        backend: whom it is for, for the error.

    Raises:
        BackendError: there is none there.
    """
    kind, colon, name = place.partition(":")
    if not colon:
        return _checked(os.environ.get(place, ""), place, backend)
    if kind not in _vaults:
        raise BackendError(
            f"backend {backend!r}: its API key is at {place}, which can be read in flows only; "
            "name a variable with api_key_env in the settings instead"
        )
    return _checked(_vaults[kind](name), place, backend)


def _checked(key: str, place: str, backend: str) -> str:
    """A key without what may stand around it, as the newline at the end of a file."""
    key = key.strip()
    if not key:
        raise BackendError(f"backend {backend!r}: set {place} to its API key")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BackendError(
            f"backend {backend!r}: what is at {place} has characters that no API key has; copy it "
            "again"
        )
    return key
