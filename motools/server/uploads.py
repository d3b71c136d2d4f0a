"""Uploads: a multipart body that goes to disk as it comes, in constant memory."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from motools.server.errors import RequestError

_CHUNK: Final = 1 << 20
_FIELD_BYTES: Final = 4096
_BOUNDARY_BYTES: Final = 70  # RFC 2046
_PARTS: Final = 16
_SILENT_SECONDS: Final = 60.0
_NAME_LENGTH: Final = 255


@dataclass(frozen=True)
class Upload:
    """A file that arrived whole.

    Attributes:
        filename: as its owner calls it.
        path: where its bytes are for now.
        size: in bytes.
        digest: BLAKE3-256.
        fields: the other parts of the form.
    """

    filename: str
    path: Path
    size: int
    digest: str
    fields: dict[str, str]


@asynccontextmanager
async def received(
    body: AsyncIterator[bytes], content_type: str, directory: Path, limit: int
) -> AsyncIterator[Upload]:
    """Receive a form with one file, which is gone at the end of the block unless it was moved.

    Args:
        body: of the request.
        content_type: of the request.
        directory: takes the file.
        limit: bytes that the file may have.

    Raises:
        RequestError: it is no such form, the file is too large, the client has fallen silent,
            or there is no room.
    """
    form = _Form(_boundary(content_type), limit)
    path: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=directory)
        with os.fdopen(handle, "wb") as file:
            path = Path(name)
            await _copy(body, form, file)
        yield form.upload(path)
    except OSError as problem:
        raise RequestError(
            f"the upload cannot be kept: {problem.strerror}", status=507, kind="server_error"
        ) from problem
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


async def _copy(body: AsyncIterator[bytes], form: _Form, file: Any) -> None:
    try:
        chunks = body.__aiter__()
        while True:
            async with asyncio.timeout(_SILENT_SECONDS):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            form.parse(chunk)
            if len(form.pending) >= _CHUNK:
                await run_in_threadpool(form.flush, file)
    except TimeoutError:
        raise RequestError("the upload stopped arriving", status=408) from None
    except MultipartParseError as problem:
        raise RequestError(f"the body is not a multipart form: {problem}") from None
    await run_in_threadpool(form.finish, file)


class _Form:
    """What of a multipart form has arrived: its fields, and the bytes of its file."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        self.pending = bytearray()
        self._fields: dict[str, str] = {}
        self._limit = limit
        self._size = 0
        self._hasher = blake3()
        self._filename: str | None = None
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._part = ("", bytearray())
        self._in_file = self._ended = False
        self._parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def parse(self, chunk: bytes) -> None:
        """Take up the next bytes."""
        self._parser.write(chunk)

    def flush(self, file: Any) -> None:
        """Write what has arrived of the file."""
        self._hasher.update(self.pending)
        file.write(self.pending)
        self.pending.clear()

    def finish(self, file: Any) -> None:
        """Write the rest, and have it on the disk."""
        if not self._ended:
            raise RequestError("the body ends in the middle of the form")
        if self._filename is None:
            raise RequestError("the form has no file: field 'file' is missing", param="file")
        self.flush(file)
        file.flush()
        os.fsync(file.fileno())

    def upload(self, path: Path) -> Upload:
        """The file, complete."""
        assert self._filename is not None
        return Upload(self._filename, path, self._size, self._hasher.hexdigest(), self._fields)

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise RequestError(f"the form has more than {_PARTS} fields")
        self._headers = {}

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = name == "file"
        if self._in_file:
            if self._filename is not None:
                raise RequestError("the form has two files", param="file")
            self._filename = _plain(options.get(b"filename", b"").decode("utf-8", "replace"))
        self._part = (name, bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            if len(self._part[1]) + end - start > _FIELD_BYTES:
                raise RequestError(f"field {self._part[0][:64]!r} is too long")
            self._part[1].extend(data[start:end])
            return
        self._size += end - start
        if self._size > self._limit:
            raise too_large(self._limit)
        self.pending.extend(memoryview(data)[start:end])

    def _end(self) -> None:
        name, value = self._part
        if not self._in_file:
            self._fields[name] = value.decode("utf-8", "replace")
        self._in_file = False

    def _all(self) -> None:
        self._ended = True


def too_large(limit: int) -> RequestError:
    """What is said of an upload above the limit."""
    return RequestError(
        f"the file is larger than this server takes: {limit:,} bytes (motools serve --max-upload)",
        status=413,
        param="file",
        code="file_too_large",
    )


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= _BOUNDARY_BYTES:
        raise RequestError("a file is uploaded as multipart/form-data, with a boundary")
    return boundary


def _plain(filename: str) -> str:
    """A name to show: no path, and nothing that steers a terminal."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(each if each.isprintable() else "_" for each in last[:_NAME_LENGTH])
    return shown or "upload.jsonl"
