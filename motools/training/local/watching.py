"""Watching answers while they are generated: who reads along, and who has gone away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import torch

Told: TypeAlias = Callable[[str], None]
"""Receives an answer as far as it has come, longer each time. Must not block."""

_EVERY: Final = 0.05
_UNFINISHED: Final = "\ufffd"
"""What the bytes of a character decode to before all are there."""


class Watch:
    """Tells now and then how far answers have come. Changes nothing about them.

    Args:
        told: for each row of the batch, who is told; None: nobody.
        width: tokens in the prompts.
        text: of the tokens of an answer.
    """

    def __init__(
        self, told: Sequence[Told | None], width: int, text: Callable[[list[int]], str]
    ) -> None:
        self._rows = [(at, tell) for at, tell in enumerate(told) if tell is not None]
        self._width = width
        self._text = text
        self._next = time.monotonic()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are."""
        now = time.monotonic()
        if self._rows and now >= self._next and input_ids.shape[1] > self._width:
            self._next = now + _EVERY
            for at, tell in self._rows:
                tell(self._text(input_ids[at, self._width :].tolist()).rstrip(_UNFINISHED))
        return scores


class Unwanted:
    """Ends the rows of a batch that nobody wants any more, and changes nothing about others.

    Args:
        wanted: for each row, says whether somebody still waits for it.
    """

    def __init__(self, wanted: Sequence[Callable[[], bool]]) -> None:
        self._wanted = wanted
        self._ended = [False] * len(wanted)
        self._said: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, _scores: torch.Tensor, **_: object) -> torch.Tensor:
        """For each row, whether it has ended for this."""
        ended = [not wanted() for wanted in self._wanted]
        if self._said is None or ended != self._ended:
            self._said = input_ids.new_tensor(ended).bool()
            self._ended = ended
        return self._said
