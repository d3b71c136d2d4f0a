"""A proxy between a client and its server that does to requests what networks do.

::

    with faulty.before(server.endpoint) as proxy:
        proxy.fail(Status(503), "PUT", "objects/", times=2)
        proxy.fail(LostAnswer(), "PUT")
        ...
        assert proxy.count("PUT") == 4
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

_PIECE = 1 << 18
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


@dataclass(frozen=True)
class Status:
    """The answer is an error, and the server has seen nothing."""

    code: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Dropped:
    """The connection is reset, and the server has seen nothing."""


@dataclass(frozen=True)
class DoneBut:
    """The server does it all, and the answer is an error all the same."""

    code: int


@dataclass(frozen=True)
class CutAnswer:
    """The server does it all, and the connection is reset half way through the answer."""


@dataclass(frozen=True)
class Silence:
    """The server does it all, and nothing is answered until the client goes."""


@dataclass(frozen=True)
class NotYet:
    """The answer, a list in OpenAI's manner, is empty: what is there is not listed yet."""


@dataclass(frozen=True)
class CutShort:
    """The connection is reset half way through the body, of the answer if it has one."""


@dataclass(frozen=True)
class LostAnswer:
    """The server does it all, and the connection is reset instead of the answer."""


@dataclass(frozen=True)
class FlippedBit:
    """One bit in the middle of the answer's body is another."""


@dataclass(frozen=True)
class Hidden:
    """A listing that does not know yet of some objects: those whose name has this in it."""

    name: str


Fault = (
    Status | Dropped | DoneBut | CutAnswer | Silence | NotYet | CutShort | LostAnswer | FlippedBit
    | Hidden
)  # fmt: skip

_IN_PLACE = DoneBut | NotYet | Hidden
"""Faults whose answer is another one."""


@dataclass
class _Rule:
    fault: Fault
    method: str
    path: re.Pattern[str]
    left: float

    def takes(self, request: Request) -> bool:
        fits = self.method in ("*", request.method) and self.path.search(request.target)
        if not fits or self.left <= 0:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True)
class Request:
    """What was asked.

    Attributes:
        method: in capitals.
        target: path and query, unquoted.
    """

    method: str
    target: str


class _GoneError(Exception):
    """A connection was ended by the other side, or is to be reset."""


@dataclass
class _Head:
    """First line and headers of a message."""

    first: str
    headers: list[tuple[str, str]]

    def __getitem__(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def bytes(self, *, without: str = "", **replaced: str) -> bytes:
        kept = [(k, v) for k, v in self.headers if k.lower() not in (without, *replaced)]
        kept += [(name.replace("_", "-"), value) for name, value in replaced.items()]
        return "\r\n".join([self.first, *(f"{k}: {v}" for k, v in kept), "", ""]).encode("latin-1")


@dataclass
class Proxy:
    """The proxy. Rules and figures may be changed from any thread while it runs.

    Attributes:
        endpoint: its URL.
        latency: seconds that each request takes longer.
        requests: all that were asked, in order.
    """

    upstream: tuple[str, int]
    endpoint: str = ""
    latency: float = 0.0
    requests: list[Request] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop | None = None

    def fail(self, fault: Fault, method: str = "*", path: str = "", *, times: float = 1) -> None:
        """Have requests fail.

        Args:
            fault: how.
            method: which; ``*``: all.
            path: a regular expression found in path and query.
            times: how many of them; ``math.inf``: all.
        """
        self._rules.append(_Rule(fault, method, re.compile(path), times))

    def heal(self) -> None:
        """Have no request fail any more."""
        self._rules.clear()

    def count(self, method: str = "*", path: str = "") -> int:
        """How many such requests there were."""
        return sum(
            method in ("*", request.method) and bool(re.search(path, request.target))
            for request in self.requests
        )

    def hang_up(self) -> None:
        """End every connection, as servers do with those that are idle."""

        async def end() -> None:
            for writer in list(self._open):
                writer.close()

        assert self._loop
        asyncio.run_coroutine_threadsafe(end(), self._loop).result()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._open.add(writer)
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                head = await _read_head(reader)
                if upstream is None:
                    upstream = await asyncio.open_connection(*self.upstream, limit=1 << 20)
                await self._exchange(head, reader, writer, *upstream)
        except (_GoneError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            for each in (writer, upstream and upstream[1]):
                if each:
                    each.transport.abort()

    async def _exchange(
        self,
        head: _Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        method, target, _ = head.first.split(" ")
        request = Request(method, unquote(target))
        self.requests.append(request)
        fault = next((rule.fault for rule in self._rules if rule.takes(request)), None)
        if self.latency:
            await asyncio.sleep(self.latency)
        if head["expect"]:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if isinstance(fault, Dropped):
            raise _reset(writer)
        if isinstance(fault, Status):
            await _pass(reader, None, head, none=not _has_body(head))
            writer.write(_refusal(fault.code, method, fault.retry_after))
            await writer.drain()
            return
        server.write(head.bytes(without="expect"))
        sending = _has_body(head)
        cut = isinstance(fault, CutShort) and sending
        await _pass(reader, server, head, none=not sending, cut=cut)
        if cut:
            _reset(server)
            raise _reset(writer)
        answer = await _read_head(answers)
        while " 100 " in answer.first:
            answer = await _read_head(answers)
        none = method == "HEAD" or any(f" {code} " in f"{answer.first} " for code in (204, 304))
        await self._answer(fault, answer, reader, writer, answers, none=none)

    async def _answer(
        self,
        fault: Fault | None,
        answer: _Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        *,
        none: bool,
    ) -> None:
        if isinstance(fault, LostAnswer | Silence):
            await _pass(answers, None, answer, none=none)
            if isinstance(fault, Silence):
                await reader.read(1)  # until it goes
            raise _reset(writer)
        if isinstance(fault, _IN_PLACE):
            body = await _pass(answers, None, answer, none=none)
            writer.write(_instead(fault, answer, body))
        else:
            cuts = isinstance(fault, CutShort | CutAnswer)
            writer.write(answer.bytes())
            await _pass(
                answers, writer, answer, none=none, cut=cuts, flip=isinstance(fault, FlippedBit)
            )
            if cuts:
                await writer.drain()
                raise _reset(writer)
        await writer.drain()


@contextlib.contextmanager
def before(endpoint: str) -> Iterator[Proxy]:
    """A proxy before a server, for as long as the block takes."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    proxy = Proxy((host, int(port)))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20), loop
    ).result()
    proxy.endpoint = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    data = await reader.readuntil(b"\r\n\r\n")
    first, *lines = data.decode("latin-1").split("\r\n")[:-2]
    return _Head(first, [tuple(line.split(": ", 1)) for line in lines])  # type: ignore[misc]


def _has_body(head: _Head) -> bool:
    return head["content-length"] not in ("", "0") or bool(head["transfer-encoding"])


async def _pass(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter | None,
    head: _Head,
    *,
    none: bool,
    cut: bool = False,
    flip: bool = False,
) -> bytes:
    """Pass a message's body on, perhaps not all of it; returns it where it goes nowhere."""
    kept = []
    if none:
        return b""
    length = int(head["content-length"] or 0)
    stop, done = length // 2 if cut else length, 0
    async for piece in _chunks(source) if head["transfer-encoding"] else _pieces(source, stop):
        if cut and head["transfer-encoding"]:
            target.write(piece[: len(piece) // 2])  # type: ignore[union-attr]
            return b""
        if flip and done <= length // 2 < done + len(piece):
            at = length // 2 - done
            piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        done += len(piece)
        if target is None:
            kept.append(piece)
        else:
            target.write(piece)
            await target.drain()
    return b"".join(kept)


async def _pieces(source: asyncio.StreamReader, length: int):  # type: ignore[no-untyped-def]
    while length:
        piece = await source.read(min(length, _PIECE))
        if not piece:
            raise _GoneError
        length -= len(piece)
        yield piece


async def _chunks(source: asyncio.StreamReader):  # type: ignore[no-untyped-def]
    """Chunks as they stand, with their sizes."""
    while True:
        line = await source.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        yield line + await source.readexactly(size + 2)
        if not size:
            return


def _reset(writer: asyncio.StreamWriter) -> _GoneError:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
    return _GoneError()


def _instead(fault: _IN_PLACE, answer: _Head, body: bytes) -> bytes:
    if isinstance(fault, DoneBut):
        return _refusal(fault.code, "POST")
    new = _without(body, fault.name) if isinstance(fault, Hidden) else _EMPTY_LIST
    return answer.bytes(without="transfer-encoding", content_length=str(len(new))) + new


_EMPTY_LIST = b'{"object": "list", "data": [], "has_more": false}'


def _refusal(status: int, method: str, retry_after: int | None = None) -> bytes:
    """An error as S3 says it; other clients go by the number."""
    code = {403: "AccessDenied", 401: "InvalidAccessKeyId", 404: "NoSuchKey", 503: "SlowDown"}
    body = b"" if method == "HEAD" else (
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>"
        f"{code.get(status, 'InternalError')}</Code><Message>as the test wants</Message></Error>"
    ).encode()  # fmt: skip
    later = "" if retry_after is None else f"Retry-After: {retry_after}\r\n"
    return (
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/xml\r\n{later}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _without(listing: bytes, name: str) -> bytes:
    """A listing's XML without the objects that have something in their names."""
    said = listing.decode()
    if said[:1] != "<":  # in chunks, whose sizes mean nothing here
        said = "".join(re.findall(r"<.*>", said, re.DOTALL))
    for found in re.findall(r"<Contents>.*?</Contents>", said, re.DOTALL):
        if name in re.findall(r"<Key>(.*?)</Key>", found)[0]:
            said = said.replace(found, "")
    return said.encode()
