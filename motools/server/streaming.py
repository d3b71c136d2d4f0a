"""Answers as OpenAI sends them: in one piece, or as a stream of what is new."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import anyio

from motools.errors import MotoolsError
from motools.evals.connection import Asked
from motools.server.answers import before_stop
from motools.server.errors import as_refusal, busy
from motools.server.pages import now
from motools.training.local.models import Completion

_log: Final = logging.getLogger(__name__)

Told: TypeAlias = Callable[[str], None] | None
Ask: TypeAlias = Callable[[Told, Asked], Completion]
"""Asks a model. It is given who is told the answer as it grows, and who is given what ends it."""

Gone: TypeAlias = Callable[[], Awaitable[None]]
"""Waits until a client has gone away."""

_AT_ONCE: Final = 256
"""Requests that wait for an answer, in threads; as many again wait for one of these."""

_RETRY_SECONDS: Final = 5


class Askers:
    """Threads that wait for answers, so that other requests need not."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def answer(self, ask: Ask, gone: Gone) -> Completion:
        """The answer, once it is whole.

        Raises:
            RequestError: too many wait for one.
        """
        end = _End()
        asked = self._begin(partial(ask, None, end.asked))
        left = asyncio.ensure_future(gone())
        try:
            await asyncio.wait((asked, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not asked.done():
                end()
        return await asked

    async def stream(self, ask: Ask, stop: tuple[str, ...]) -> AsyncIterator[str | Completion]:
        """What is new of an answer, again and again, and at last the answer.

        Raises:
            RequestError: too many wait for one.
        """
        loop = asyncio.get_running_loop()
        said: asyncio.Queue[str | None] = asyncio.Queue()
        end = _End()

        def told(text: str | None) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended: nobody listens
                loop.call_soon_threadsafe(said.put_nowait, text)

        def work() -> Completion:
            try:
                return ask(told, end.asked)
            finally:
                told(None)

        asked = self._begin(work)
        sent = 0
        try:
            while (text := await said.get()) is not None:
                safe = before_stop(text, stop)
                if len(safe) > sent:
                    yield safe[sent:]
                    sent = len(safe)
            whole = await asked
        finally:
            end()
        if len(whole.text) > sent:
            yield whole.text[sent:]
        yield whole

    def _begin(self, work: Callable[[], Completion]) -> asyncio.Task[Completion]:
        if self._limiter.statistics().tasks_waiting >= _AT_ONCE:
            said = f"{2 * _AT_ONCE} requests wait for answers"
            raise busy(said, "too_many_requests", _RETRY_SECONDS)
        run = anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)
        asked = asyncio.ensure_future(run)
        asked.add_done_callback(_settle)
        return asked


class _End:
    """Ends an answer where it is, at once or as soon as it is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = False
        self._end: Callable[[], None] | None = None

    def asked(self, end: Callable[[], None]) -> None:
        """It is asked for, and this ends it."""
        with self._lock:
            self._end = end
            wanted = self._wanted
        if wanted:
            end()

    def __call__(self) -> None:
        with self._lock:
            self._wanted = True
            end = self._end
        if end is not None:
            end()


def _settle(asked: asyncio.Future[Completion]) -> None:
    """Look at what became of an answer that perhaps nobody waits for any more."""
    if not asked.cancelled():
        asked.exception()


@dataclass(frozen=True)
class Reply:
    """What a client gets for an answer.

    Attributes:
        model: as the client calls it.
        with_usage: whether a stream ends with the numbers of tokens.
        id: of the reply.
        created: in seconds since 1970.
    """

    model: str
    with_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=now)

    def whole(self, answer: Completion) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": _reason(answer),
            "logprobs": None,
        }
        return self._object("chat.completion", choices=[choice], usage=_usage(answer))

    async def lines(self, parts: AsyncIterator[str | Completion]) -> AsyncIterator[str]:
        """The answer as events of a stream, of which the first is there."""
        try:
            async for chunk in self._chunks(parts):
                yield f"data: {json.dumps(chunk)}\n\n"
        except MotoolsError as problem:
            _log.error("a stream was cut off: %s: %s", type(problem).__name__, problem)
            yield f"data: {json.dumps(as_refusal(problem).body)}\n\n"
            return
        yield "data: [DONE]\n\n"

    async def _chunks(
        self, parts: AsyncIterator[str | Completion]
    ) -> AsyncIterator[dict[str, Any]]:
        yield self._chunk({"role": "assistant", "content": ""})
        async for part in parts:
            if isinstance(part, str):
                yield self._chunk({"content": part})
                continue
            yield self._chunk({}, _reason(part))
            if self.with_usage:
                yield self._object("chat.completion.chunk", choices=[], usage=_usage(part))

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return self._object("chat.completion.chunk", choices=[choice])

    def _object(self, kind: str, **fields: Any) -> dict[str, Any]:
        facts = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**facts, **fields}


async def begun(parts: AsyncIterator[str | Completion]) -> AsyncIterator[str | Completion]:
    """A stream whose first part is there, so that what fails at once is an error of its own."""
    first = await anext(parts)

    async def all_of_it() -> AsyncIterator[str | Completion]:
        yield first
        async for part in parts:
            yield part

    return all_of_it()


def _reason(answer: Completion) -> str:
    return "stop" if answer.stop_reason == "stop" else "length"


def _usage(answer: Completion) -> dict[str, int]:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
