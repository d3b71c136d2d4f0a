"""Sampling tokens, each answer by random numbers of its own.

An answer depends on its seed alone, not on what is answered beside it, so that
requests with different seeds can share a batch. Counting is done in whole
numbers, whose sums are the same in any order and on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from motools.errors import ConfigError

if TYPE_CHECKING:
    import torch

_UNITS: Final = 2**40
"""What a probability of 1 is counted as: room for 2**22 tokens in 63 bits."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of one answer are drawn.

    Attributes:
        temperature: above 0; the logits are divided by it.
        seed: of this answer's random numbers, below 2**63.
        top_p: share of probability to draw from, the likeliest tokens first; None for all of it.
            0 leaves the likeliest one.

    Raises:
        ConfigError: a value is out of its range.
    """

    temperature: float
    seed: int
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature: {self.temperature!r} is not 0 or a number above it")
        if self.top_p is not None and not 0 <= self.top_p <= 1:
            raise ConfigError(f"top_p: {self.top_p!r} is not from 0 to 1")
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"seed: {self.seed} is not below 2**63")


class Draw:
    """Leaves each row that is sampled its drawn token alone, for generation that is greedy.

    Args:
        rows: how each row of the batch is sampled; None for one that stays greedy.
        width: tokens in the prompts.
        most: tokens that may be drawn.
    """

    def __init__(self, rows: Sequence[Sampling | None], width: int, most: int) -> None:
        import torch

        self._rows = [(at, row) for at, row in enumerate(rows) if row is not None]
        self._width = width
        streams = [torch.Generator().manual_seed(row.seed) for _, row in self._rows]
        drawn = [torch.rand(most, generator=one, dtype=torch.float64) for one in streams]
        self._numbers = torch.stack(drawn, dim=1) if drawn else None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores from which the next tokens are chosen."""
        import torch

        if self._numbers is None:
            return scores
        device = scores.device
        at = torch.tensor([at for at, _ in self._rows], device=device)
        weights = self._weights(scores[at].double())
        counts = weights.cumsum(dim=1)
        total = counts[:, -1:]
        number = self._numbers[input_ids.shape[1] - self._width].to(device)[:, None]
        drawn = torch.searchsorted(counts, (number * total).long(), right=True)
        scores = scores.clone()
        scores[at] = torch.full_like(scores[at], -torch.inf).scatter(1, drawn, 0.0)
        return scores

    def _weights(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities as whole numbers; 0 for what is outside ``top_p``."""
        import torch

        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64, device=logits.device)[:, None]

        temperatures = column([row.temperature for _, row in self._rows])
        weights = (torch.softmax(logits / temperatures, dim=1) * _UNITS).long()
        if all(row.top_p is None for _, row in self._rows):
            return weights
        shares = column([1.0 if row.top_p is None else row.top_p for _, row in self._rows])
        ordered, places = weights.sort(dim=1, descending=True, stable=True)
        before = ordered.cumsum(dim=1) - ordered
        beyond = before >= shares * weights.sum(dim=1, keepdim=True)
        ordered[beyond & (before > 0)] = 0  # the likeliest has none before it, and stays
        return torch.zeros_like(weights).scatter(1, places, ordered)
