"""The host's side of :mod:`.host`: ``python -m motools.training.local.hosted``.

Over a connection go JSON lines. An evaluation says ``{"id": 1, "load": spec}``
(a spec as :func:`.models.load` takes it, with its ``digest``) and is answered
``{"id": 1}`` once the model is there; it stays there at least as long as the
connection. Then it asks ``{"id": 2, "model": digest, "conversation": …,
"max_tokens": …, "sampling": …, "stop": …}`` and is answered
``{"id": 2, "answer": …}``; with ``"told": true`` before that, now and then, with
``{"id": 2, "text": …}``, the answer so far. With ``"fits": true``, a conversation that
has no room in the model's context is an error. ``{"id": 2, "end": true}`` ends an
answer where it is. What cannot be done is answered with an ``error``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any, Final

from motools.training.local import models
from motools.training.local.batches import Batches, Request
from motools.training.local.pool import POOL, Kept
from motools.training.local.sampling import Sampling
from motools.worker import Emit, serve

_TICK: Final = 1.0
_QUESTION: Final = 64


class _Connection:
    """An evaluation that is connected, served by a thread of its own."""

    def __init__(self, end: socket.socket, batches: Batches) -> None:
        self.open = True
        self._end = end
        self._batches = batches
        self._models: dict[str, Kept] = {}
        self._requests: dict[int, Request] = {}
        self._answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        # An evaluation that does not read its answers makes nobody wait but itself.
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        # Closed last: who waits for that finds the models unpinned.
        with self._end:
            lines = self._end.makefile("rb")
            with ExitStack() as pins, contextlib.suppress(ConnectionError), lines:
                for line in lines:
                    self._take(json.loads(line), pins)
            self._batches.drop(self)
            self._answers.put(None)
            self.open = False

    def _write(self) -> None:
        for message in iter(self._answers.get, None):
            with contextlib.suppress(OSError):  # an evaluation that is gone needs no answer
                self._end.sendall(json.dumps(message).encode() + b"\n")

    def _answer(self, number: int, **said: Any) -> None:
        self._answers.put({"id": number, **said})

    def _take(self, message: dict[str, Any], pins: ExitStack) -> None:
        number = message["id"]
        try:
            if "end" in message:
                if (request := self._requests.get(number)) is not None:
                    self._batches.end(request)
            elif "load" in message:
                self._load(message["load"], pins)
                self._answer(number)
            else:
                self._requests[number] = request = self._request(message)
                self._batches.add(request)
        except Exception as problem:  # noqa: BLE001  (told to who asked)
            self._answer(number, error=f"{type(problem).__name__}: {problem}")

    def _load(self, spec: Mapping[str, Any], pins: ExitStack) -> None:
        def load() -> Any:
            models.make_deterministic()
            started = time.monotonic()
            loaded = models.load(spec)
            print(f"loaded {spec['digest']} in {time.monotonic() - started:.1f} s", flush=True)
            return loaded

        expected = sum(size for _, size in spec["base"].get("files", {}).values())
        name = spec["digest"]
        self._models[name] = pins.enter_context(POOL.use(name, load, expected))

    def _request(self, message: Mapping[str, Any]) -> Request:
        sampling, model = message["sampling"], self._models[message["model"]]

        def done(outcome: models.Completion | Exception) -> None:
            self._requests.pop(message["id"], None)
            if isinstance(outcome, Exception):
                self._answer(message["id"], error=f"{type(outcome).__name__}: {outcome}")
            else:
                self._answer(message["id"], answer=dataclasses.asdict(outcome))

        def told(text: str) -> None:
            self._answer(message["id"], text=text)

        return Request(
            model=model,
            conversation=message["conversation"],
            max_tokens=message["max_tokens"],
            sampling=Sampling(**sampling) if sampling else None,
            stop=tuple(message["stop"]),
            done=done,
            told=told if message.get("told") else None,
            asker=self,
            must_fit=message.get("fits", False),
        )


def main(request: dict[str, Any], _emit: Emit) -> None:
    """Serve connections until there were none for a while."""
    batches = Batches()
    connections: list[_Connection] = []
    with socket.socket(fileno=request["control"]) as control:
        last = time.monotonic()
        while True:
            ready, _, _ = select.select([control], [], [], _TICK)
            connections = [one for one in connections if one.open]
            if connections:
                last = time.monotonic()
            if ready:
                question, descriptors, _, _ = socket.recv_fds(control, _QUESTION, 1)
                if descriptors:
                    connections.append(_Connection(socket.socket(fileno=descriptors[0]), batches))
                    _reply(control, pid=os.getpid())
                    continue
                if question:
                    _reply(control, bytes=POOL.release(), ended=not connections)
            if not connections and (ready or time.monotonic() - last > request["idle_seconds"]):
                return


def _reply(control: socket.socket, **said: Any) -> None:
    control.sendall(json.dumps(said).encode() + b"\n")


if __name__ == "__main__":
    serve(main)
