"""How far a transfer is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told how far a transfer is, by several threads."""

    def start(self, what: str, total: int) -> None:
        """A transfer of so many bytes begins."""

    def advance(self, count: int) -> None:
        """So many bytes more are done."""


class _Unseen:
    """For transfers that nobody watches."""

    def start(self, what: str, total: int) -> None:
        """Nobody is told."""

    def advance(self, count: int) -> None:
        """Nobody is told."""


unseen: Progress = _Unseen()
"""Tells nobody."""
