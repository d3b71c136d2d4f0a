"""Policy: what a cache may hold, and what has to go when it holds more."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from motools.configs import unknown_name
from motools.errors import SettingsError

KINDS: Final = ("dataset", "model", "eval", "function")

GOES_FIRST: Final = {"model": 0, "function": 0, "dataset": 1, "eval": 2}
"""Weights are large and are made again by a recipe; a log is what scores are checked against."""

_BYTES: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_NUMBER: Final = r"(\d+(?:\.\d+)?)\s*"


@dataclass(frozen=True)
class Budget:
    """How much may be held, and for how long.

    Attributes:
        max_size: bytes; None: any number.
        max_age: seconds since an entry was made or last used; None: for ever.
    """

    max_size: int | None = None
    max_age: float | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """A budget as settings have it: ``{max_size = "50GB", max_age = "90d"}``.

        Raises:
            SettingsError: an unknown name or a wrong value, with where it stands.
        """
        for name in values:
            if name not in ("max_size", "max_age"):
                known = ["max_size", "max_age", *KINDS]
                raise SettingsError(unknown_name(f"{where}.{name}", name, known))
        size, age = values.get("max_size"), values.get("max_age")
        return cls(
            None if size is None else parse_size(size, f"{where}.max_size"),
            None if age is None else parse_age(age, f"{where}.max_age"),
        )


@dataclass(frozen=True)
class Policy:
    """What prune goes by.

    Attributes:
        overall: for all entries together.
        kinds: kind to a budget of its own.
        paid: whether what cost money may go, too.
        spare: seconds for which what was made or used is left alone, whatever the budget:
            a flow may be about to use it.
    """

    overall: Budget = field(default_factory=Budget)
    kinds: Mapping[str, Budget] = field(default_factory=dict)
    paid: bool = False
    spare: float = 3_600.0

    @classmethod
    def of_settings(cls, budget: Mapping[str, Any]) -> Self:
        """The policy in the settings' ``budget``.

        Raises:
            SettingsError: an unknown name or a wrong value.
        """
        kinds = {kind: values for kind, values in budget.items() if kind in KINDS}
        rest = {name: value for name, value in budget.items() if name not in kinds}
        return cls(
            Budget.parse(rest, "budget"),
            {kind: Budget.parse(_table(kind, kinds[kind]), f"budget.{kind}") for kind in kinds},
        )

    @classmethod
    def given(
        cls,
        budget: Mapping[str, Any],
        *,
        max_size: str | None = None,
        max_age: str | None = None,
        paid: bool = False,
        spare: str = "1h",
    ) -> Self:
        """The limits that are given; where there are none, those in the settings' ``budget``.

        Raises:
            SettingsError: a value is wrong.
        """
        if max_size is None and max_age is None:
            policy = cls.of_settings(budget)
        else:
            asked = {"max_size": max_size, "max_age": max_age}
            policy = cls(Budget.parse(asked, "prune"))
        return replace(policy, paid=paid, spare=parse_age(spare, "prune.spare"))


def parse_size(text: object, where: str) -> int:
    """Bytes from ``50GB``; units are powers of 1000, as in all that motools prints.

    Raises:
        SettingsError: it is no size.
    """
    found = re.fullmatch(_NUMBER + "([KMGT]?B)", str(text).strip().upper())
    if not found:
        raise SettingsError(f"{where}: {text!r} is not a size: write it as in 500MB, 50GB or 1.5TB")
    return math.floor(float(found[1]) * _BYTES[found[2]])


def parse_age(text: object, where: str) -> float:
    """Seconds from ``90d``.

    Raises:
        SettingsError: it is no age.
    """
    found = re.fullmatch(_NUMBER + "([smhdw])", str(text).strip())
    if not found:
        raise SettingsError(f"{where}: {text!r} is not an age: write it as in 12h, 90d or 8w")
    return float(found[1]) * _SECONDS[found[2]]


def _table(kind: str, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise SettingsError(f'budget.{kind}: write a table, as in {kind} = {{max_size = "20GB"}}')
    return values
