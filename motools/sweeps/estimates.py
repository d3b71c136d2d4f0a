"""What a step will take, as a range from what steps like it took before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from motools.evals.reached import is_reached
from motools.steps import evaluate, train

if TYPE_CHECKING:
    from motools.cache import Cache, Entry
    from motools.settings import Settings

_NEWEST: Final = 500
_HOUR: Final = 3600.0


@dataclass(frozen=True)
class Range:
    """Between what and what a number will be.

    Attributes:
        low: the least that is likely.
        high: the most that is likely.
    """

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Self:
        """The range of so many of it."""
        return type(self)(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Estimate:
    """What a step, or many, will take.

    Attributes:
        seconds: of wall time, one after the other; None: nothing supports a number.
        cost: money, in the currency of the settings; None: nothing supports a number.
    """

    seconds: Range | None = None
    cost: Range | None = None


UNKNOWN: Final = Estimate()
"""What nothing supports a number for."""

FREE: Final = Estimate(Range(0.0, 0.0), Range(0.0, 0.0))
"""What a hit takes."""


def total(estimates: Iterable[Estimate]) -> tuple[Estimate, int]:
    """The sum of those that are known, and how many have an unknown time."""
    seconds = cost = Range(0.0, 0.0)
    unknown = 0
    priced = True
    for each in estimates:
        if each.seconds is None:
            unknown += 1
        else:
            seconds += each.seconds
        if each.cost is None:
            priced = False
        else:
            cost += each.cost
    return Estimate(seconds, cost if priced else None), unknown


def spent(entry: Entry, settings: Settings) -> float | None:
    """What making an entry cost: as it was counted, or else by the hour; None: unknown."""
    if entry.cost is not None:
        return entry.cost
    price = _hour(settings, entry.labels.get("backend", ""))
    return None if price is None else entry.duration * price / _HOUR


def _at_api(model: str) -> str:
    """The name of a model at an API; of all others nothing, since they are priced alike."""
    return model if is_reached(model) else ""


def _hour(settings: Settings, backend: str) -> float | None:
    return settings.prices.get(backend, {}).get("hour")


class Estimator:
    """Estimates from the newest entries of a cache and the prices in its settings.

    Args:
        cache: whose entries tell.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def training(self, base_model: str, backend: str, method: str, work: float) -> Estimate:
        """What a fine-tuning will take.

        Args:
            base_model: the base model's name.
            backend: what trains.
            method: ``supervised`` or ``dpo``.
            work: rows times epochs.
        """
        return self._estimate(self._trainings.get((base_model, backend, method), []), work, backend)

    def evaluation(
        self, task: str, samples: int, model: str = "", backend: str = "inspect"
    ) -> Estimate:
        """What an evaluation will take.

        Args:
            task: its name.
            samples: how many run, epochs counted.
            model: the base model's name, if it is one. That of an API is like no other.
            backend: what its price is listed under.
        """
        past = self._evaluations.get((task, _at_api(model)), [])
        return self._estimate(past, float(samples), backend)

    def _estimate(self, past: list[_Past], work: float, backend: str) -> Estimate:
        if not past or work <= 0:
            return UNKNOWN
        rates = [each.seconds / each.work for each in past]
        # Starting takes its time however little there is to do.
        seconds = Range(min(rates) * work, max(max(rates) * work, min(p.seconds for p in past)))
        costs = [each.cost / each.work for each in past if each.cost is not None]
        if len(costs) == len(past):
            return Estimate(seconds, Range(min(costs), max(costs)).times(work))
        price = _hour(self._cache.settings, backend)
        return Estimate(seconds, None if price is None else seconds.times(price / _HOUR))

    @cached_property
    def _trainings(self) -> Mapping[tuple[str, str, str], list[_Past]]:
        found: dict[tuple[str, str, str], list[_Past]] = {}
        for entry in self._cache.entries(train.KIND, limit=_NEWEST):
            labels, config = entry.labels, entry.action["config"]
            name = labels.get("base_model", ""), labels.get("backend", ""), config.get("method", "")
            value = entry.value
            if isinstance(value, Mapping) and value.get("rows") and value.get("epochs"):
                found.setdefault(name, []).append(_past(entry, value["rows"] * value["epochs"]))
        return found

    @cached_property
    def _evaluations(self) -> Mapping[tuple[str, str], list[_Past]]:
        found: dict[tuple[str, str], list[_Past]] = {}
        for entry in self._cache.entries(evaluate.KIND, limit=_NEWEST):
            value: Any = entry.value
            name = value["task"], _at_api(entry.labels.get("model_id", ""))
            found.setdefault(name, []).append(_past(entry, value["samples"]))
        return found


@dataclass(frozen=True)
class _Past:
    work: float
    seconds: float
    cost: float | None


def _past(entry: Entry, work: float) -> _Past:
    return _Past(work, entry.duration, entry.cost)
