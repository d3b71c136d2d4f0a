"""Values of pydantic, NumPy, pandas and torch as canonical ones, without importing any of these.

A library that is not in ``sys.modules`` cannot have made the value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import CanonicalError
from motools.tags import Reach, encode, instance, state_of

_Encoder: TypeAlias = Callable[[Any, str, Reach], Value | None]


def by_library(value: Any, path: str, reach: Reach) -> Value | None:
    """The canonical value, or None if no library that is loaded knows the type.

    Raises:
        CanonicalError: a secret, a NaN, or an array whose items have no bytes of their own.
    """
    for module, encoder in _LIBRARIES.items():
        if module in sys.modules and (found := encoder(value, path, reach)) is not None:
            return found
    return None


def _pydantic(value: Any, path: str, reach: Reach) -> Value | None:
    pydantic = sys.modules["pydantic"]
    if isinstance(value, (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)):
        raise CanonicalError(path, "secrets never enter keys; declare the parameter unhashed")
    if not isinstance(value, pydantic.BaseModel):
        return None
    state = state_of(value, type(value).model_fields)
    state |= {**(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}
    return instance(value, state, path, reach)


def _numpy(value: Any, path: str, _reach: Reach) -> Value | None:
    numpy = sys.modules["numpy"]
    if type(value) in (numpy.ndarray, numpy.memmap):
        if value.dtype.hasobject or value.dtype.kind == "T":
            raise CanonicalError(path, f"an array of {value.dtype} has no bytes; pass a list")
        return {"$ndarray": [*_array_type(value), hash_bytes(value.tobytes("C")).hex]}
    if isinstance(value, numpy.generic) and not value.dtype.hasobject:
        if value.dtype.kind in "fc" and not numpy.isfinite(value):
            raise CanonicalError(path, f"{value} is not a finite number")
        return {"$numpy": [*_array_type(value), value.tobytes().hex()]}
    if isinstance(value, numpy.dtype) and value.kind != "T":  # whose text says less than it holds
        shape = list(value.shape)
        return {"$dtype": [str(value.descr) if value.names else value.base.str, shape]}
    return None


def _array_type(value: Any) -> list[Value]:
    dtype = value.dtype
    return [str(dtype.descr) if dtype.names else dtype.str, list(value.shape)]


def _torch(value: Any, _path: str, _reach: Reach) -> Value | None:
    # Another thread may be importing it, which takes seconds.
    kinds = tuple(getattr(sys.modules["torch"], name, ()) for name in ("dtype", "device"))
    if isinstance(value, kinds):
        return {"$torch": [type(value).__name__, str(value)]}
    return None


def _pandas(value: Any, path: str, reach: Reach) -> Value | None:
    pandas = sys.modules["pandas"]
    if isinstance(value, (pandas.Timestamp, pandas.Timedelta)):
        zone = str(getattr(value, "tz", None))
        return {f"${type(value).__name__}": [value.isoformat(), value.unit, zone]}
    if type(value) is pandas.DataFrame:
        columns = [
            _column(value.iloc[:, i], f"{path}[{name!r}]", reach)
            for i, name in enumerate(value.columns)
        ]
        labels = _index(value.columns, f"{path} columns", reach)
        return {"$frame": columns, "$columns": labels, **_about(value, path, reach)}
    if type(value) is pandas.Series:
        name = encode(value.name, f"{path}.name", reach)
        return {"$series": [name, _column(value, path, reach)], **_about(value, path, reach)}
    return _index(value, path, reach) if isinstance(value, pandas.Index) else None


def _about(value: Any, path: str, reach: Reach) -> dict[str, Value]:
    return {
        "$index": _index(value.index, f"{path} index", reach),
        "$attrs": encode(value.attrs, f"{path}.attrs", reach),
    }


def _index(value: Any, path: str, reach: Reach) -> Value:
    names = [encode(name, path, reach) for name in value.names]
    levels = [_column(value.get_level_values(i), path, reach) for i in range(value.nlevels)]
    return {"$pandas_index": [names, levels, getattr(value, "freqstr", None)]}


def _column(value: Any, path: str, reach: Reach) -> Value:
    """The type of a column and the digest of its values, missing ones told by their kind."""
    if isinstance(value.dtype, sys.modules["numpy"].dtype) and not value.dtype.hasobject:
        return [str(value.dtype), len(value), hash_bytes(value.to_numpy().tobytes()).hex]
    cells: list[Value] = [
        {"$missing": str(cell)}
        if missing and cell is not None
        else encode(cell, f"{path}[{row}]", reach)
        for row, (cell, missing) in enumerate(zip(value, value.isna(), strict=True))
    ]
    categories: Value = None
    if str(value.dtype) == "category":
        ordered = bool(value.dtype.ordered)
        categories = [ordered, _column(value.dtype.categories, f"{path} categories", reach)]
    return [str(value.dtype), categories, hash_bytes(canonical_json(cells, path)).hex]


_LIBRARIES: Final[dict[str, _Encoder]] = {
    "pydantic": _pydantic,
    "pandas": _pandas,
    "numpy": _numpy,
    "torch": _torch,
}
