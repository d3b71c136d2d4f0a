"""Results as pandas data frames and Parquet files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from motools.cache.current import Place, cache_at
from motools.sweeps.extras import needed
from motools.sweeps.planner import make_plan
from motools.sweeps.results import Row, of_plan

if TYPE_CHECKING:
    from pandas import DataFrame

    from motools.sweeps.sweep import Sweep

_TYPES: Final = {
    "replicate": "int64",
    "samples": "Int64",
    **dict.fromkeys(("value", "stderr", "seconds", "cost"), "float64"),
    **dict.fromkeys(("training_seconds", "training_cost"), "float64"),
    **dict.fromkeys(("evaluation", "task", "score", "state", "model_key", "eval_key"), "string"),
}


def results(sweep: Sweep, cache: Place = None, *, wide: bool = False) -> DataFrame:
    """Every score of a sweep that is in the cache, and what is missing, as a data frame.

    A row for every cell, evaluation, replicate and score, with a column for
    everything that varies, by the last part of its dot path. What the other columns
    are is said by :class:`~motools.sweeps.results.Measurement`.

    Args:
        sweep: whose results.
        cache: where they are; the current cache by default.
        wide: a row for every evaluation instead, with a column for every score.

    Raises:
        MissingExtraError: pandas is not installed.
        ConfigError: a cell of the sweep is wrong.
    """
    found = of_plan(make_plan(sweep, cache_at(cache)))
    return frame(found.wide if wide else found.rows)


def frame(rows: Sequence[Row]) -> DataFrame:
    """Rows as a data frame, each column of one type."""
    made = needed("pandas", "frames").DataFrame(list(rows))
    for name in made.columns:
        made[name] = _typed(made[name], [row[name] for row in rows])
    return made


def write_parquet(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Write rows to a Parquet file.

    Raises:
        MissingExtraError: pandas or pyarrow is not installed.
    """
    needed("pyarrow", "frames")
    frame(rows).to_parquet(path, index=False)


def _typed(series: Any, values: Sequence[Any]) -> Any:
    """A column in the type that suits all its values; mixed ones become text."""
    if series.name in _TYPES:
        return series.astype(_TYPES[series.name])
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return series.astype("Int64")
    if kinds <= {int, float}:
        return series.astype("float64")
    if kinds <= {bool}:
        return series.astype("boolean")
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return needed("pandas", "frames").Series(texts, index=series.index, dtype="string")
