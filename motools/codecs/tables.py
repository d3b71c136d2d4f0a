"""NumPy arrays as ``.npy`` and pandas data frames as Parquet, checked when written."""

from __future__ import annotations

import base64
from collections.abc import Sequence
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


def write_frame(value: Any, target: Path, path: str) -> list[Any]:
    """Write a data frame as Parquet.

    Returns:
        The frequencies of its rows and its columns as JSON, which Parquet does not hold; null
        for those that have none.

    Raises:
        ResultError: it would not come back as it is (mixed types in a column,
            say), or pyarrow is not installed.
    """
    import pandas as pd

    try:
        value.to_parquet(target, engine="pyarrow")
        frequencies = [_frequency(axis) for axis in value.axes]
        back = read_frame(target, frequencies)
        pd.testing.assert_frame_equal(value, back, check_exact=True)
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
    return frequencies


def read_frame(source: Path, frequencies: Sequence[Any] = (None, None)) -> Any:
    """The data frame in a Parquet file.

    Args:
        source: the file.
        frequencies: what :func:`write_frame` returned.

    Raises:
        ValueError: its index has no such frequency.
    """
    import pandas as pd

    frame = pd.read_parquet(source, engine="pyarrow")
    for axis, frequency in zip(frame.axes, frequencies, strict=True):
        if frequency is not None:
            axis.freq = _offset(frequency)
    return frame


def _frequency(axis: Any) -> Any:
    """The frequency of an index: its name, or what makes it where it has none.

    That of periods is part of their type.

    Raises:
        ValueError: it is made of more than numbers and text, as of holidays.
    """
    import pandas as pd

    offset = axis.freq if isinstance(axis, (pd.DatetimeIndex, pd.TimedeltaIndex)) else None
    if offset is None or _is(offset, offset.freqstr):
        return None if offset is None else offset.freqstr
    made = [type(offset).__name__, offset.n, offset.normalize, dict(offset.kwds)]
    if not all(type(each) in (int, str) for each in offset.kwds.values()) or not _is(offset, made):
        raise ValueError(f"the freq {offset!r} of its index has no name; set it to None")
    return made


def _is(offset: Any, frequency: Any) -> bool:
    try:
        return bool(_offset(frequency) == offset)
    except ValueError:
        return False


def _offset(frequency: Any) -> Any:
    import pandas as pd

    if isinstance(frequency, str):
        return pd.tseries.frequencies.to_offset(frequency)
    name, count, normalize, given = frequency
    return getattr(pd.offsets, name)(n=count, normalize=normalize, **given)


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
