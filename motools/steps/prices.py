"""Prices: what paid work cost, by what was counted and the prices in the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from motools.training.provider import JobResult

Prices: TypeAlias = Mapping[str, Mapping[str, float]]
"""As in the settings: what is paid for, to its prices by name."""

_TRAINED: Final = "million_tokens"
_ASKED: Final = {
    "input_tokens": "million_input_tokens",
    "output_tokens": "million_output_tokens",
}
_MILLION: Final = 1e6


def of_training(result: JobResult, prices: Prices, backend: str, base_model: str) -> float | None:
    """What a training cost, in the currency of the settings; None: unknown.

    Args:
        result: with the cost as the provider reports it, or the tokens that were trained on.
        prices: of the settings; of a million trained tokens, for a base model by its name, or
            for all others as ``million_tokens``.
        backend: its name in the settings.
        base_model: its name.
    """
    if result.cost is not None:
        return result.cost
    listed = prices.get(backend, {})
    price = listed.get(base_model, listed.get(_TRAINED))
    tokens = result.metrics.get("trained_tokens")
    return None if price is None or tokens is None else price * tokens / _MILLION


@dataclass(frozen=True)
class Spent:
    """What answers of models at APIs cost.

    Attributes:
        cost: in the currency of the settings; None: unknown, or nobody was asked.
        paid_to: the models that are not known to be free, as Inspect names them.
    """

    cost: float | None
    paid_to: tuple[str, ...]


def of_answers(
    usage: Mapping[str, Mapping[str, int]], prices: Prices, listed_as: Mapping[str, str]
) -> Spent:
    """What answers cost, as if no provider had kept any input from before.

    Args:
        usage: ``input_tokens`` and ``output_tokens`` by model.
        prices: of the settings: by what a model is listed as, of a million input tokens and of
            a million output tokens.
        listed_as: the models at APIs to what their prices are listed as; others cost nothing.
    """
    costs = {
        model: _cost(tokens, prices.get(listed_as[model], {}))
        for model, tokens in usage.items()
        if model in listed_as
    }
    known = [cost for cost in costs.values() if cost is not None]
    whole = bool(costs) and len(known) == len(costs)
    return Spent(sum(known) if whole else None, tuple(m for m in costs if costs[m] != 0.0))


def _cost(tokens: Mapping[str, int], listed: Mapping[str, float]) -> float | None:
    if not all(name in listed for name in _ASKED.values()):
        return None
    return sum(listed[price] * tokens.get(counted, 0) for counted, price in _ASKED.items()) / (
        _MILLION
    )
