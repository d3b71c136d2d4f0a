"""What stores over a network have in common: many requests at once, and nothing on this disk."""

# ruff: noqa: D102 - the methods of every store are described by `Store`
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from motools.cache.store import T, unavailable

_AT_ONCE: Final = 16
"""Requests that are under way at once; each waits for an answer most of its time."""


class NetworkedStore(ABC):
    """A store over a network, which has written an object when it says so."""

    far = True

    @abstractmethod
    def upload(self, name: str, path: Path) -> None: ...

    @abstractmethod
    def size(self, name: str) -> int | None: ...

    def publish_file(self, name: str, path: Path) -> None:
        self.upload(name, path)
        with unavailable(f"cannot delete {path}"):
            path.unlink()

    def settle(self, names: Iterable[str]) -> None:  # noqa: B027 - there is nothing to do
        pass

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.size, names))

    def each(self, work: Callable[[T], object], items: Sequence[T]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _ in pool.map(work, items):
                pass

    def path(self, name: str) -> Path | None:  # noqa: ARG002 - as in `Store`
        return None
