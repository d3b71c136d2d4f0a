"""Libraries that only some of motools needs, imported when it does."""

from __future__ import annotations

import importlib
from typing import Any

from motools.errors import MissingExtraError


def needed(module: str, extra: str) -> Any:
    """A module of a library that is an extra.

    Args:
        module: its name.
        extra: of motools, that has the library.

    Raises:
        MissingExtraError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        library = module.partition(".")[0]
        raise MissingExtraError(
            f"{library} is not installed: python -m pip install 'motools[{extra}]'"
        ) from problem
