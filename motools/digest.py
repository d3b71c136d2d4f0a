"""Digests and canonical JSON: what every key is made of.

Two rules hold everything else up: equal values have equal bytes
(:func:`canonical_json`, RFC 8785), and bytes are named by BLAKE3-256
(:class:`Digest`). Nothing here knows what the values mean.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring as _quote
from pathlib import Path
from typing import Any, Final, TypeAlias

from blake3 import blake3

from motools.errors import CanonicalError

Value: TypeAlias = bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"] | None
"""What a key may be made of: JSON values with finite numbers and string keys."""

SHORT: Final = 12
"""Characters in the short form of a digest or key."""

EXACT: Final = 2**53
"""Integers from here on are not exact as JSON numbers, so they are tagged."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_MMAP_FROM: Final = 1 << 20
_READ_SIZE: Final = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """BLAKE3-256 of some bytes, with their number.

    Attributes:
        hex: 64 lower-case hexadecimal characters.
        size: number of bytes.
    """

    hex: str
    size: int

    @property
    def short(self) -> str:
        """The first 12 characters."""
        return self.hex[:SHORT]

    def __str__(self) -> str:
        return self.hex


def canonical_json(value: object, path: str = "") -> bytes:
    """The canonical bytes of a JSON value (RFC 8785).

    Keys are sorted by UTF-16 code units, numbers printed as ECMAScript does,
    strings escaped no further than needed and never normalised. Integers from
    2**53 in size, which a JSON number cannot hold exactly, become
    ``{"$int": "9007199254740992"}``; to keep that unambiguous, a key that
    starts with ``$`` gets another ``$`` in front.

    Args:
        value: null, bool, int, finite float, str, list or tuple, and mappings
            with string keys, nested as deep as wanted.
        path: what to call ``value`` in an error.

    Raises:
        CanonicalError: NaN, infinity, bytes, sets, keys that are not strings,
            lone surrogates and any other object; the message has the path.
    """
    return canonical_text(value, path).encode()


def canonical_text(value: object, path: str = "") -> str:
    """Like :func:`canonical_json`, as text."""
    if type(value) is Canonical:
        return value.text
    parts: list[str] = []
    try:
        _write(value, parts.append, path)
    except RecursionError:
        raise CanonicalError(path, "nested too deeply, or contains itself") from None
    return "".join(parts)


class Canonical(dict[str, "Value"]):
    """A mapping whose canonical form is written once, for many keys. Nobody may change it."""

    @cached_property
    def text(self) -> str:
        """The canonical form."""
        return canonical_text(dict(self))


def tagged_int(value: int) -> dict[str, str]:
    """The canonical stand-in for an integer that a JSON number cannot hold exactly."""
    return {"$int": str(value)}


def hash_bytes(data: bytes) -> Digest:
    """The digest of bytes in memory."""
    return Digest(blake3(data).hexdigest(), len(data))


def hash_private_file(path: str | os.PathLike[str]) -> Digest:
    """The digest of a file that nobody else writes to, with all cores.

    Large files are mapped into memory, so one that is truncated meanwhile ends
    the process with SIGBUS. For a file that is not ours: :func:`hash_file`.
    """
    size = os.stat(path).st_size
    if size < _MMAP_FROM:
        return hash_bytes(Path(path).read_bytes())
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(path)
    return Digest(hasher.hexdigest(), size)


def hash_file(path: str | os.PathLike[str]) -> Digest:
    """The digest of any file, by reading it once in constant memory with all cores."""
    size = os.stat(path).st_size
    hasher = blake3(max_threads=blake3.AUTO if size >= _MMAP_FROM else 1)
    buffer = bytearray(min(max(size, 1), 16 * _READ_SIZE))
    view = memoryview(buffer)
    total = 0
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(view):
            hasher.update(view[:count])
            total += count
    return Digest(hasher.hexdigest(), total)


def hash_chunks(chunks: Iterable[bytes]) -> Digest:
    """The digest of bytes that arrive in pieces."""
    hasher = blake3()
    total = 0
    for chunk in chunks:
        hasher.update(chunk)
        total += len(chunk)
    return Digest(hasher.hexdigest(), total)


def _write(value: object, emit: Callable[[str], None], path: str) -> None:
    kind = type(value)
    if kind is str:
        emit(_string(value, path))  # type: ignore[arg-type]
    elif value is None:
        emit("null")
    elif value is True:
        emit("true")
    elif value is False:
        emit("false")
    elif kind is int:
        _write_int(value, emit, path)  # type: ignore[arg-type]
    elif kind is float:
        emit(_number(value, path))  # type: ignore[arg-type]
    elif kind is Canonical:
        emit(value.text)  # type: ignore[attr-defined]
    elif kind is dict or isinstance(value, Mapping):
        _write_mapping(value, emit, path)  # type: ignore[arg-type]
    elif kind is list or kind is tuple:
        _write_sequence(value, emit, path)  # type: ignore[arg-type]
    else:
        raise CanonicalError(path, f"{kind.__module__}.{kind.__qualname__} has no canonical form")


def _write_int(value: int, emit: Callable[[str], None], path: str) -> None:
    if -EXACT < value < EXACT:
        emit(str(value))
        return
    try:
        emit(f'{{"$int":"{value}"}}')
    except ValueError:  # Python's limit on decimal digits, 4,300 unless set otherwise
        raise CanonicalError(path, "an integer with too many digits; pass it as text") from None


_LITERALS: Final = {None: "null", True: "true", False: "false"}


def _write_mapping(value: Mapping[Any, object], emit: Callable[[str], None], path: str) -> None:
    for key in value:
        if type(key) is not str:
            raise CanonicalError(path, f"key {key!r} is {type(key).__name__}, not str")
    separator = "{"
    for key in _sorted_keys(value, path):
        name = _quote("$" + key if key[:1] == "$" else key)
        item = value[key]
        # Every hit makes a key: what most fields hold is written without a call and a path.
        if type(item) is str and item.isascii():
            emit(f"{separator}{name}:{_quote(item)}")
        elif item is None or item is True or item is False:
            emit(f"{separator}{name}:{_LITERALS[item]}")
        elif type(item) is int and -EXACT < item < EXACT:
            emit(f"{separator}{name}:{item}")
        else:
            emit(f"{separator}{name}:")
            _write(item, emit, f"{path}.{key}" if path else key)
        separator = ","
    emit("{}" if separator == "{" else "}")


def _write_sequence(value: Sequence[object], emit: Callable[[str], None], path: str) -> None:
    separator = "["
    for index, item in enumerate(value):
        emit(separator)
        _write(item, emit, f"{path}[{index}]")
        separator = ","
    emit("[]" if separator == "[" else "]")


def _sorted_keys(value: Mapping[str, object], path: str) -> list[str]:
    keys = list(value)
    if all(map(str.isascii, keys)):
        keys.sort()
        return keys
    for key in keys:
        _string(key, path)
    keys.sort(key=lambda key: key.encode("utf-16-be"))
    return keys


def _string(value: str, path: str) -> str:
    if not value.isascii() and _SURROGATE.search(value):
        raise CanonicalError(path, "contains a lone surrogate, which is not Unicode text")
    return _quote(value)


def _number(value: float, path: str) -> str:
    """A float as ECMAScript's Number::toString prints it (ECMA-262, 6.1.6.1.20)."""
    if not math.isfinite(value):
        raise CanonicalError(path, f"{value} is not a finite number")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    if not exponent:
        return sign + mantissa.removesuffix(".0")
    digits = mantissa.replace(".", "")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = int(exponent) + 1
    if 0 < point <= 21:
        return sign + digits.ljust(point, "0")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
