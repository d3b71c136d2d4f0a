"""An evaluation's connection to the process that holds the models."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

from motools.errors import EvaluationError
from motools.training.local.host import ENDED
from motools.training.local.models import Completion
from motools.training.local.sampling import Sampling

Asked: TypeAlias = Callable[[Callable[[], None]], None]
"""Is given what ends an answer, once the answer is asked for."""


class Connection:
    """Asks the host of models, from any number of threads at once.

    Args:
        descriptor: of a socket whose other end the host has.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._numbers = itertools.count()
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._told: dict[int, Callable[[str], None]] = {}
        self._open = True
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def load(self, spec: Mapping[str, Any]) -> Callable[[], object]:
        """Begin to have a model loaded, if it is not, and kept while this connection lasts.

        Args:
            spec: as :func:`motools.training.local.models.load` takes it, with its ``digest``.

        Returns:
            Waits until it is loaded; raises EvaluationError if it cannot be.

        Raises:
            EvaluationError: the host has ended.
        """
        return self._ask({"load": spec})[1]

    def answer(
        self,
        model: str,
        conversation: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        sampling: Sampling | None,
        stop: Sequence[str],
        told: Callable[[str], None] | None = None,
        fits: bool = False,
        asked: Asked | None = None,
    ) -> Completion:
        """What a model answers; a stop text stays in it.

        Args:
            model: digest of one that was loaded.
            conversation: messages with ``role`` and ``content``.
            max_tokens: most tokens in the answer.
            sampling: how tokens are drawn; None for greedy.
            stop: texts that end the answer.
            told: is told the answer as it grows, in another thread. Must not block.
            fits: whether to refuse a conversation that has no room in the model's context.
            asked: see :data:`Asked`.

        Raises:
            EvaluationError: it cannot be answered, or the host has ended.
        """
        question = {
            "model": model,
            "conversation": conversation,
            "max_tokens": max_tokens,
            "sampling": sampling and dataclasses.asdict(sampling),
            "stop": list(stop),
            "told": told is not None,
            "fits": fits,
        }
        number, wait = self._ask(question, told)
        if asked is not None:
            asked(lambda: self._end(number))
        return Completion(**wait()["answer"])

    def close(self) -> None:
        """End the connection: the models that were loaded over it are no longer needed."""
        with contextlib.suppress(OSError):  # the host may have ended
            self._socket.shutdown(socket.SHUT_WR)
        self._reader.join()
        self._socket.close()

    def _ask(
        self, question: Mapping[str, Any], told: Callable[[str], None] | None = None
    ) -> tuple[int, Callable[[], dict[str, Any]]]:
        """Ask, and return the question's number and what waits for the answer."""
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            number = next(self._numbers)
            if not self._open:
                raise _gone()
            self._asked[number] = future
            if told is not None:
                self._told[number] = told
            try:
                self._socket.sendall(json.dumps({"id": number, **question}).encode() + b"\n")
            except ConnectionError:
                raise _gone() from None

        def wait() -> dict[str, Any]:
            answer = future.result()
            if "error" in answer:
                raise EvaluationError(answer["error"])
            return answer

        return number, wait

    def _end(self, number: int) -> None:
        """Have a question answered with what there is."""
        with self._lock, contextlib.suppress(OSError):  # the host may have ended
            if number in self._asked:
                self._socket.sendall(json.dumps({"id": number, "end": True}).encode() + b"\n")

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except ConnectionError:
            pass  # as at the end of the lines: the host is gone
        with self._lock:
            self._open = False
            left = list(self._asked.values())
        for future in left:
            future.set_exception(_gone())

    def _take(self, answer: dict[str, Any]) -> None:
        number = answer["id"]
        if "text" in answer:
            self._told[number](answer["text"])
            return
        self._told.pop(number, None)
        self._asked.pop(number).set_result(answer)


def _gone() -> EvaluationError:
    return EvaluationError(f"{ENDED}; run the evaluation again")
