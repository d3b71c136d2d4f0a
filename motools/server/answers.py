"""Answers: models that are asked over HTTP, in the process that holds models for evaluations.

So requests of all callers are answered in common batches with the samples of this
process's evaluations, and an answer is what an evaluation would get. A model is
pinned there while it is asked, and for a short while after.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from motools.artifacts import Model
from motools.cache import Cache
from motools.digest import canonical_json, hash_bytes
from motools.evals.connection import Asked, Connection
from motools.steps.models import loadable
from motools.training.local import host
from motools.training.local.models import Completion
from motools.training.local.sampling import Sampling

_IDLE_SECONDS: Final = 20.0
_SEED_BITS: Final = 60


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
        messages: with ``role`` and ``content``.
        max_tokens: most tokens in the answer.
        temperature: 0 takes the likeliest token each time.
        top_p: share of probability to sample from.
        seed: for sampling; None for another one each time.
        stop: texts that end the answer, and are not part of it.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def sampling(self) -> Sampling | None:
        """How tokens are drawn; None: they are not."""
        if not self.temperature:
            return None
        return Sampling(self.temperature, self._seed(), self.top_p)

    def _seed(self) -> int:
        if self.seed is None:
            return secrets.randbits(_SEED_BITS)
        return int(hash_bytes(canonical_json([*self.messages, self.seed])).hex[:15], 16)


class Answers:
    """Has models answer.

    Args:
        cache: that holds them.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._open: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def ask(
        self,
        model: Model,
        digest: str,
        question: Question,
        told: Callable[[str], None] | None = None,
        asked: Asked | None = None,
    ) -> Completion:
        """What a model answers.

        Args:
            model: which.
            digest: that stands for it.
            question: what it is asked.
            told: is told the answer as it grows, in another thread. Must not block.
            asked: see :data:`.connection.Asked`.

        Raises:
            EvaluationError: it cannot be answered.
            BackendError: the model cannot be loaded.
        """
        held = self._hold(digest)
        try:
            held.load(model, digest, self._cache)
            answer = held.ask(digest, question, told, asked)
        except BaseException:
            # Perhaps the process that holds it is gone: whoever asks next gets another one.
            self._forget(digest, held)
            raise
        finally:
            self._release(digest, held)
        return _without_stop(answer, question.stop)

    def close(self) -> None:
        """Let go of all models that nobody is asking."""
        with self._lock:
            idle = [(digest, held) for digest, held in self._open.items() if not held.askers]
        for digest, held in idle:
            self._part(digest, held)

    def _hold(self, digest: str) -> _Held:
        with self._lock:
            held = self._open.setdefault(digest, _Held())
            held.askers += 1
            held.stay()
            return held

    def _forget(self, digest: str, held: _Held) -> None:
        with self._lock:
            if self._open.get(digest) is held:
                del self._open[digest]

    def _release(self, digest: str, held: _Held) -> None:
        with self._lock:
            held.askers -= 1
            if held.askers:
                return
            if self._open.get(digest) is held:
                held.leave_after(_IDLE_SECONDS, lambda: self._part(digest, held))
                return
        held.close()

    def _part(self, digest: str, held: _Held) -> None:
        with self._lock:
            if held.askers or self._open.get(digest) is not held:
                return
            del self._open[digest]
            held.stay()
        held.close()


class _Held:
    """A model that is pinned in the process that holds models."""

    def __init__(self) -> None:
        self.askers = 0
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._timer: threading.Timer | None = None

    def load(self, model: Model, digest: str, cache: Cache) -> None:
        """Have it loaded, if it is not."""
        with self._lock:
            if self._connection is not None:
                return
            with loadable(model, cache) as spec:
                end = self._stack.enter_context(host.connection(spec))
                connection = Connection(os.dup(end.fileno()))
                self._stack.callback(connection.close)
                connection.load({**spec, "digest": digest})()
            self._connection = connection

    def ask(
        self,
        digest: str,
        question: Question,
        told: Callable[[str], None] | None,
        asked: Asked | None,
    ) -> Completion:
        """What it answers."""
        assert self._connection is not None
        return self._connection.answer(
            digest,
            question.messages,
            max_tokens=question.max_tokens,
            sampling=question.sampling,
            stop=question.stop,
            told=told,
            fits=True,
            asked=asked,
        )

    def leave_after(self, seconds: float, leave: Callable[[], None]) -> None:
        """Have it let go of, unless somebody asks it before."""
        self._timer = threading.Timer(seconds, leave)
        self._timer.daemon = True
        self._timer.start()

    def stay(self) -> None:
        """Somebody asks it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._stack.close()


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Of an answer that is not whole yet, what a stop text cannot take away any more."""
    whole = _cut(text, stop)
    begun = max(
        (n for word in stop for n in range(1, len(word)) if whole.endswith(word[:n])), default=0
    )
    return whole[: len(whole) - begun]


def _without_stop(answer: Completion, stop: Sequence[str]) -> Completion:
    """The answer as OpenAI has it; an evaluation on this machine leaves the stop text in."""
    return dataclasses.replace(answer, text=_cut(answer.text, stop))


def _cut(text: str, stop: Sequence[str]) -> str:
    return text[: min((at for word in stop if (at := text.find(word)) >= 0), default=len(text))]
