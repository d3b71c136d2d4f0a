"""The parameters of a cell as columns: their names, and values that a table can hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from motools.artifacts import Dataset
from motools.configs import Config
from motools.digest import SHORT
from motools.sweeps import paths
from motools.sweeps.cell import Cell


def columns(varied: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Dot path to its column: its last part, if no other path and no fixed column has it.

    Args:
        varied: the dot paths. Whole groups, as ``fine_tune: null`` in a cell of a base
            model, have no column; what is below them has.
        taken: names of other columns.
    """
    found = [path for path in varied if path not in paths.GROUPS]
    last = [path.rpartition(".")[2] for path in found]
    return {
        path: name if last.count(name) == 1 and name not in taken else path
        for path, name in zip(found, last, strict=True)
    }


def value(cell: Cell, path: str, recipe: Mapping[str, Any]) -> Any:
    """What a cell has at a dot path, whether it varies there or not.

    Args:
        cell: the cell.
        path: the dot path.
        recipe: what the cell started from.
    """
    if path in cell.parameters:
        return plain(cell.parameters[path])
    group, _, inner = path.partition(".")
    if group == paths.EVALUATE:
        name, _, inner = inner.partition(".")
        return plain(_at(cell.evaluations.get(name), inner))
    if group in (paths.FINE_TUNE, paths.OPTIONS, paths.BACKEND):
        field = {paths.FINE_TUNE: "config"}.get(group, group)
        return plain(_at(cell, f"{field}.{inner}"))
    if group == paths.MODEL:
        return None if cell.model is None else cell.model.base_model
    return None if cell.dataset is None else plain(paths.get(recipe, path))


def plain(value: Any) -> Any:
    """A value as a table holds it: null, true, a number or text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Dataset):
        return value.path or str(value.identify().digest)[:SHORT]
    if isinstance(value, Config):
        value = value.changed()
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _at(config: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config
