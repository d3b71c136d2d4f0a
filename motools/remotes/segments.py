"""Segments: immutable parts of a remote's index.

A segment is zstd-compressed lines of JSON: a head, then what it describes. An
entry is two lines, of which the second is its document as the cache writes it,
so that who only compares need not parse documents::

    {"format": "motools.segment/2", "made_at": …, "id": "…"}
    {"frames": [["<digest>", size, "<object>", offset, stored, "raw"|"zstd"], …]}
    {"entry": "<key>", "generations": [[number, "<checksum>", "<state>"], …], "blobs": […]}
    {"format": "motools.entry/1", …}
    {"marks": "<key>", "rows": [["<name>", "<value>" or null: taken off, made_at], …]}
    {"removed": "<key>", "generations": [[number, "<checksum>"], …]}
    {"supersedes": ["<segment>", …]}
"""

from __future__ import annotations

import io
import json
import math
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from motools.cache.action import DIGEST
from motools.cache.store import Store
from motools.digest import EXACT, hash_bytes
from motools.errors import CacheVersionError, CorruptDocumentError
from motools.remotes.layout import BLOBS, PACK, holds_blobs, segment_name
from motools.remotes.packs import RAW, ZSTD, Frame

SCHEMA: Final = "motools.segment/2"
_KNOWN: Final = ("motools.segment/1", SCHEMA)

_ANY_VERSION: Final = re.compile(r"motools\.segment/\d+")

_CODECS: Final = (RAW, ZSTD)
_is_digest: Final = DIGEST.fullmatch
_LONGEST_PACK: Final = 4 * PACK
"""Bytes in a pack: nothing that motools writes comes near it, and what is in one is read whole."""

_LEVEL: Final = 3
_LONGEST: Final = 256 << 20
"""Bytes in a line: nothing that motools writes comes near it."""


@dataclass(frozen=True)
class Supersedes:
    """Segments whose contents are in this one, and those before it, as far as they are needed.

    Attributes:
        names: theirs.
    """

    names: tuple[str, ...]


@dataclass(frozen=True)
class Listed:
    """An entry in a segment.

    Attributes:
        key: its key.
        generations: number, checksum and state of each.
        blobs: digests of what it needs.
        document: as the cache writes it; not parsed, and not to be trusted before it was.
    """

    key: str
    generations: tuple[tuple[int, str, str], ...]
    blobs: tuple[str, ...]
    document: bytes


Said: TypeAlias = tuple[str, str | None, float]
"""The name of a mark, its value or None, and when it was said."""


@dataclass(frozen=True)
class Marked:
    """What is said of a key in a segment. Of what is said under one name, the latest counts.

    Attributes:
        key: the key.
        rows: name, value or None: taken off, and when that was said (seconds since 1970).
    """

    key: str
    rows: tuple[Said, ...]


@dataclass(frozen=True)
class Removed:
    """Generations that were removed from the remote on purpose, so that nobody brings them back.

    Attributes:
        key: theirs.
        generations: number and checksum of each.
    """

    key: str
    generations: tuple[tuple[int, str], ...]


class Draft:
    """A segment that is being written.

    Args:
        made_at: seconds since 1970; None: now. Of two results for one generation, that
            in the older segment counts.
    """

    def __init__(self, made_at: float | None = None) -> None:
        self._buffer = io.BytesIO()
        self._writer = ZstdCompressor(level=_LEVEL).stream_writer(self._buffer, closefd=False)
        # Its own, so that no segment gets the name of one that was superseded or doomed.
        own = {"id": uuid.uuid4().hex}
        self._write({"format": SCHEMA, "made_at": made_at or time.time(), **own})
        self.size = 0
        self._said: set[Frame] = set()

    def add_frames(self, frames: Iterable[Frame]) -> None:
        """Say where blobs are, once; they must be durable there."""
        new = [frame for frame in frames if frame not in self._said]
        rows = [[f.digest, f.size, f.name, f.offset, f.stored, f.codec] for f in new]
        if rows:
            self._said.update(new)
            self.size += self._write({"frames": rows})

    def add_entry(self, listed: Listed) -> None:
        """Say that an entry is there; where all that it needs is must be in this segment."""
        head = {
            "entry": listed.key,
            "generations": [list(generation) for generation in listed.generations],
            "blobs": list(listed.blobs),
        }
        self.size += self._write(head) + self._writer.write(listed.document + b"\n")

    def add_marks(self, marked: Marked) -> None:
        """Say what people say of a key."""
        self.size += self._write({"marks": marked.key, "rows": list(marked.rows)})

    def add_removed(self, removed: Removed) -> None:
        """Say that generations of a key were removed on purpose."""
        generations = [list(generation) for generation in removed.generations]
        self.size += self._write({"removed": removed.key, "generations": generations})

    def supersede(self, names: Sequence[str]) -> None:
        """Say that segments are in this one, and in those that were published before it."""
        self.size += self._write({"supersedes": list(names)})

    def publish(self, store: Store) -> str | None:
        """Publish the segment; returns its name, or None: there was nothing to say."""
        if not self.size:
            return None
        self._writer.close()  # type: ignore[no-untyped-call]
        data = self._buffer.getvalue()
        name = segment_name(hash_bytes(data).hex)
        store.publish_bytes(name, data)
        return name

    def _write(self, line: dict[str, Any]) -> int:
        data = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        self._writer.write(data)
        return len(data)


Part: TypeAlias = Frame | Listed | Marked | Removed | Supersedes
"""What a segment is made of."""


def read(name: str, data: bytes) -> tuple[float, Iterator[Part]]:
    """When a segment was made (seconds since 1970) and, one by one, what is in it.

    Somebody else wrote it: of what comes, every type and range is that of its class.

    Raises:
        CorruptDocumentError: the bytes are not what their name says; while the rest
            is read, that they are no segment.
        CacheVersionError: a newer motools wrote it.
    """
    if segment_name(hash_bytes(data).hex) != name:
        raise CorruptDocumentError(f"{name} is damaged: its bytes are not what its name says")
    lines = _lines(name, data)
    with _checked(name):
        head = json.loads(next(lines))
        if head["format"] not in _KNOWN:
            raise _unknown(name, head["format"])
        made_at = _number(head["made_at"])
    return made_at, _contents(name, lines)


def _unknown(name: str, found: object) -> Exception:
    if isinstance(found, str) and _ANY_VERSION.fullmatch(found):
        return CacheVersionError(
            f"{name} is {found}, this motools knows {SCHEMA}: "
            "upgrade motools (pip install -U motools)"
        )
    return ValueError(f"its format is {found!r}")


def _contents(name: str, lines: Iterator[bytes]) -> Iterator[Part]:
    with _checked(name):
        for line in lines:
            part = json.loads(line.decode())
            if "frames" in part:
                yield from (_frame(row) for row in part["frames"])
            elif "marks" in part:
                yield Marked(_digest(part["marks"]), tuple(_said(*row) for row in part["rows"]))
            elif "removed" in part:
                gone = tuple((_generation(n), _text(check)) for n, check in part["generations"])
                yield Removed(_digest(part["removed"]), gone)
            elif "supersedes" in part:
                yield Supersedes(tuple(map(_text, part["supersedes"])))
            else:
                yield _listed(part, next(lines))


def _listed(part: dict[str, Any], document: bytes) -> Listed:
    generations = tuple((_generation(n), _text(c), _text(s)) for n, c, s in part["generations"])
    return Listed(_digest(part["entry"]), generations, tuple(map(_digest, part["blobs"])), document)


def _frame(row: Any) -> Frame:
    """A frame whose numbers fit into its object; there may be a million of them."""
    digest, size, name, offset, stored, codec = row
    if not type(size) is type(offset) is type(stored) is int:
        raise TypeError(f"{row} is no place of a blob")
    if _is_alone(name):
        fits = (offset, stored, codec) == (0, size, RAW) and size < EXACT
    else:
        fits = offset + stored <= _LONGEST_PACK and size <= _LONGEST_PACK and codec in _CODECS
    if not fits or size < 0 or offset < 0 or stored < 0:
        raise ValueError(f"{row} is no place of a blob")
    return Frame(_digest(digest), size, name, offset, stored, codec)


@lru_cache(maxsize=256)
def _is_alone(name: str) -> bool:
    """Whether a blob is an object of its own; else it is in a pack."""
    if not holds_blobs(name):
        raise ValueError(f"{name!r} is no object that holds blobs")
    return name.startswith(f"{BLOBS}/")


def _said(name: Any, value: Any, made_at: Any) -> Said:
    return _text(name), None if value is None else _text(value), _number(made_at)


def _digest(value: Any) -> str:
    if not _is_digest(value):
        raise ValueError(f"{value!r} is no digest")
    return value  # type: ignore[no-any-return]  # the pattern takes nothing but text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    value.encode()  # or else the tables could not hold it
    return value


def _generation(value: Any) -> int:
    if type(value) is not int or not 0 < value < EXACT:
        raise ValueError(f"{value!r} is no generation")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < math.inf:
        raise ValueError(f"{value!r} is no time")
    return float(value)


def _lines(name: str, data: bytes) -> Iterator[bytes]:
    reader = io.BufferedReader(ZstdDecompressor().stream_reader(data), 1 << 20)
    with _checked(name):
        while line := reader.readline(_LONGEST):
            yield line.removesuffix(b"\n")


class _checked:  # noqa: N801 - used as a function; a generator would turn StopIteration into errors
    """Say of whatever goes wrong in parsing which segment it was."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, problem: BaseException | None, trace: Any) -> None:
        known = (
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            ZstdError,
            StopIteration,
            RuntimeError,  # RecursionError, too: what is nested too deeply
        )
        if isinstance(problem, known):
            raise CorruptDocumentError(f"{self._name} is no segment: {problem!r}") from problem
