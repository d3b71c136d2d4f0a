"""Readers that nobody sees: libraries that open files by themselves, not through Python."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import motools

_READERS: Final = frozenset(
    {
        "cv2",
        "duckdb",
        "h5py",
        "lance",
        "lxml",
        "netCDF4",
        "polars",
        "pyarrow",
        "safetensors",
        "sentencepiece",
        "tables",
        "tokenizers",
    }
)
_OURS: Final = f"{Path(motools.__file__).parent}{os.sep}"


def used(sources: Iterable[str]) -> Iterator[str]:
    """Which modules import such a library, and which one.

    Args:
        sources: the files of a task's own modules. What installed distributions import for
            themselves says nothing of the task.
    """
    for path in sources:
        if not path.startswith(_OURS):
            yield from (f"{path} imports {reader}" for reader in sorted(_imported(path) & _READERS))


def _imported(path: str) -> set[str]:
    """The libraries that a file imports anywhere, by the first part of their names."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()  # it was looked for and is no module
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
