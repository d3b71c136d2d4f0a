"""NumPy arrays as ``.npy`` and pandas data frames as Parquet, checked when written."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from motools.errors import ResultError


def write_array(value: Any, target: Path, path: str) -> None:
    """Write an array as ``.npy``.

    Raises:
        ResultError: it holds Python objects, which only pickle could write.
    """
    import numpy as np

    try:
        np.save(target, value, allow_pickle=False)
    except ValueError as problem:
        target.unlink(missing_ok=True)
        raise ResultError(f"{path}: array of {value.dtype} cannot be stored: {problem}") from None


def read_array(source: Path) -> Any:
    """The array in a ``.npy`` file, in memory: mapped files can change below their reader."""
    import numpy as np

    return np.load(source, allow_pickle=False)


def scalar(value: Any, path: str) -> list[str]:
    """A NumPy scalar as its type and its content: text as it is, others in base 64.

    Raises:
        ResultError: it is structured or holds a Python object.
    """
    if value.dtype.kind in "OV":
        raise ResultError(f"{path}: NumPy scalar of {value.dtype} cannot be stored")
    if value.dtype.kind == "U":
        return ["U", str(value)]
    content = bytes(value) if value.dtype.kind == "S" else value.tobytes()
    return [value.dtype.str, base64.b64encode(content).decode()]


def new_scalar(form: list[str]) -> Any:
    """The NumPy scalar that :func:`scalar` wrote."""
    import numpy as np

    dtype, content = form
    if dtype == "U":
        return np.str_(content)
    data = base64.b64decode(content)
    return np.bytes_(data) if "S" in dtype else np.frombuffer(data, dtype=dtype)[0]


def write_frame(value: Any, target: Path, path: str) -> None:
    """Write a data frame as Parquet.

    Raises:
        ResultError: it would not come back as it is (mixed types in a column,
            say), or pyarrow is not installed.
    """
    import pandas as pd

    try:
        value.to_parquet(target, engine="pyarrow")
        back = read_frame(target)
        pd.testing.assert_frame_equal(value, back, check_exact=True, check_freq=False)
        _same_cells(value, back)
    except ImportError as problem:
        raise ResultError(f"{path}: data frames need pyarrow: {problem}") from problem
    except (ValueError, TypeError, AssertionError, NotImplementedError) as problem:
        target.unlink(missing_ok=True)
        raise ResultError(
            f"{path}: this data frame does not survive Parquet: {problem}"
        ) from problem
    except Exception as problem:
        # pyarrow's own hierarchy, which cannot be named without importing it.
        target.unlink(missing_ok=True)
        raise ResultError(f"{path}: this data frame cannot be stored: {problem}") from problem


def read_frame(source: Path) -> Any:
    """The data frame in a Parquet file."""
    import pandas as pd

    return pd.read_parquet(source, engine="pyarrow")


def _same_cells(value: Any, back: Any) -> None:
    """Refuse columns of objects that come back as other types (lists as arrays, say)."""
    for position, dtype in enumerate(value.dtypes):
        if dtype.kind == "O":
            before, after = value.iloc[:, position], back.iloc[:, position]
            for row, (old, new) in enumerate(zip(before, after, strict=True)):
                if type(old) is not type(new):
                    raise ValueError(
                        f"column {value.columns[position]!r}, row {row}: "
                        f"{type(old).__name__} comes back as {type(new).__name__}"
                    )
