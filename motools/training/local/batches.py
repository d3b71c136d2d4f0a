"""Requests of many askers, answered in batches.

A model answers many conversations at once for little more than one. Requests
that are waiting when the device is free, for one model and with equal limits,
are answered together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from motools.training.local import models
from motools.training.local.models import Completion
from motools.training.local.pool import POOL, Kept
from motools.training.local.sampling import Sampling
from motools.training.local.watching import Told

GATHER_SECONDS: Final = 0.02
"""How long a batch that is not full waits for others to join it."""

Done: TypeAlias = Callable[[Completion | Exception], None]


@dataclass(frozen=True, eq=False)
class Request:
    """A conversation that is to be answered.

    Attributes:
        model: that answers; pinned by the asker.
        conversation: messages with ``role`` and ``content``.
        max_tokens: most tokens in the answer.
        sampling: how tokens are drawn; None for greedy.
        stop: texts that end the answer; they stay in it.
        done: receives the answer, or why there is none. Must not block.
        asker: whose it is.
        told: is told the answer as it grows; None: nobody is.
        must_fit: whether a conversation that has no room in the model's context is an error.
        unwanted: set when nobody waits for the answer any more.
    """

    model: Kept
    conversation: Sequence[Mapping[str, Any]]
    max_tokens: int
    sampling: Sampling | None
    stop: tuple[str, ...]
    done: Done
    asker: object = None
    told: Told | None = None
    must_fit: bool = False
    unwanted: threading.Event = field(default_factory=threading.Event)

    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.unwanted.is_set()

    def joins(self, other: Request) -> bool:
        """Whether both can be in one batch."""
        return (self.model, self.max_tokens, self.stop) == (
            other.model,
            other.max_tokens,
            other.stop,
        )


class Batches:
    """Answers requests in a thread of its own, one batch after the other."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, request: Request) -> None:
        """Have a request answered."""
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()

    def drop(self, asker: object) -> None:
        """Forget the requests of an asker that is gone."""
        with self._changed:
            self._waiting = [one for one in self._waiting if one.asker is not asker]

    def end(self, request: Request) -> None:
        """Have a request end where it is, with what there is of its answer."""
        request.unwanted.set()
        with self._changed:
            waits = request in self._waiting
            if waits:
                self._waiting.remove(request)
        if waits:
            request.done(Completion("", "max_tokens", 0, 0))

    def _run(self) -> None:
        while True:
            # Not sooner: a tokenizer is not for two threads at once.
            batch = [one for one in self._next() if not one.must_fit or _can_be_asked(one)]
            if batch and not self._answered(batch):
                self._again(batch)

    def _next(self) -> list[Request]:
        """The request that has waited longest, and those that join it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._changed.wait_for(self._full, GATHER_SECONDS)
            batch = self._batch()
            self._waiting = [one for one in self._waiting if one not in batch]
            return batch

    def _full(self) -> bool:
        batch = self._batch()
        return not batch or len(batch) == batch[0].model.at_once

    def _batch(self) -> list[Request]:
        joining = [one for one in self._waiting if one.joins(self._waiting[0])]
        return joining[: joining[0].model.at_once] if joining else []

    def _again(self, batch: list[Request]) -> None:
        """Put a batch back that was too large for the device's memory."""
        POOL.release()
        batch[0].model.at_once = len(batch) // 2
        self._put_back(batch)

    def _put_back(self, requests: list[Request]) -> None:
        """Have requests answered before all others."""
        with self._changed:
            self._waiting[:0] = requests

    def _answered(self, batch: list[Request]) -> bool:
        """Answer a batch; False when it has to be made smaller."""
        import torch

        first = batch[0]
        try:
            answers: Sequence[Completion | Exception] = models.generate(
                first.model.model,
                first.model.tokenizer,
                [one.conversation for one in batch],
                max_tokens=first.max_tokens,
                sampling=[one.sampling for one in batch],
                stop=first.stop,
                keep_stop=True,
                told=[one.told for one in batch],
                wanted=[one.is_wanted for one in batch],
            )
        except Exception as problem:  # noqa: BLE001  (told to all who asked)
            if isinstance(problem, torch.OutOfMemoryError) and len(batch) > 1:
                return False
            left = [one for one in batch if _can_be_asked(one)]
            if len(left) < len(batch):  # the others are not to blame
                self._put_back(left)
                return True
            answers = [problem] * len(batch)
        for one, answer in zip(batch, answers, strict=True):
            one.done(answer)
        return True


def _can_be_asked(request: Request) -> bool:
    """Whether a conversation can be written, and has room; who asked is told if not."""
    model, tokenizer = request.model.model, request.model.tokenizer
    try:
        if request.must_fit:
            models.check_fits(model, tokenizer, request.conversation)
        else:
            models.prompt(tokenizer, request.conversation)
    except Exception as problem:  # noqa: BLE001  (told to who asked)
        request.done(problem)
        return False
    return True
