"""Packs: many small blobs as one object, each readable on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError, frame_content_size

from motools.digest import Digest, hash_bytes
from motools.errors import CorruptBlobError
from motools.remotes.layout import pack_name

RAW: Final = "raw"
ZSTD: Final = "zstd"

_LEVEL: Final = 3
_WORTH_IT: Final = 0.95


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the bytes of a blob are in an object.

    Attributes:
        digest: of the blob.
        size: of the blob, in bytes.
        name: of the object, in the remote.
        offset: of the first stored byte in it.
        stored: how many bytes are stored there.
        codec: ``raw`` or ``zstd``.
    """

    digest: str
    size: int
    name: str
    offset: int
    stored: int
    codec: str


@dataclass(frozen=True)
class Pack:
    """A pack that was put together.

    Attributes:
        name: where it belongs in the remote.
        data: its bytes.
        frames: what is in it, in order.
    """

    name: str
    data: bytes
    frames: tuple[Frame, ...]


def packed(blobs: Iterable[tuple[str, bytes]], named: Callable[[str], str] = str) -> Pack:
    """Put blobs together. The same blobs in the same order come to the same pack.

    Args:
        blobs: digest and bytes of each.
        named: makes of the name that the bytes ask for the one that they get.
    """
    parts, places, size = list[bytes](), [], 0
    compressor = ZstdCompressor(level=_LEVEL)
    for digest, data in blobs:
        shrunk = compressor.compress(data)
        codec, stored = (ZSTD, shrunk) if len(shrunk) < _WORTH_IT * len(data) else (RAW, data)
        places.append((digest, len(data), size, len(stored), codec))
        parts.append(stored)
        size += len(stored)
    data = b"".join(parts)
    name = named(pack_name(hash_bytes(data).hex))
    frames = (Frame(d, size, name, start, stored, c) for d, size, start, stored, c in places)
    return Pack(name, data, tuple(frames))


def opened(frame: Frame, stored: bytes) -> bytes:
    """The blob in the stored bytes of a frame.

    Raises:
        CorruptBlobError: they are not what the index says.
    """
    try:
        data = stored
        if frame.codec == ZSTD:
            # Bounded by what the index says, so that a small frame cannot fill the memory: what
            # a frame says of its size is believed before the bound is looked at.
            if frame_content_size(stored) > frame.size:
                raise _damaged(frame, "it says that it is larger")
            data = ZstdDecompressor().decompress(
                stored, max_output_size=frame.size, allow_extra_data=False
            )
    except ZstdError as problem:
        raise _damaged(frame, str(problem)) from problem
    if hash_bytes(data) != Digest(frame.digest, frame.size):
        raise _damaged(frame, "its digest is another")
    return data


def _damaged(frame: Frame, why: str) -> CorruptBlobError:
    return CorruptBlobError(
        f"blob {frame.digest[:12]} is damaged in the remote, at {frame.name}: {why}"
    )
