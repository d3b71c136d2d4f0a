"""Compute every pinned key and print them as JSON. Needs blake3 and nothing else."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import sys
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import subject  # noqa: E402

from motools.arguments import bind, tagged  # noqa: E402
from motools.cache.action import Action  # noqa: E402
from motools.configs import Config, option  # noqa: E402
from motools.digest import canonical_json, hash_bytes, hash_chunks  # noqa: E402
from motools.source import describe  # noqa: E402


class Schedule(enum.Enum):
    LINEAR = "linear"


@dataclasses.dataclass(frozen=True)
class Adapter(Config):
    rank: int = 16
    targets: tuple[str, ...] = ("all-linear",)


@dataclasses.dataclass(frozen=True)
class Recipe(Config):
    base: str
    rate: float = 1e-4
    steps: int | float | None = None
    schedule: Schedule = Schedule.LINEAR
    adapter: Adapter | None = Adapter()
    pair: tuple[int, str] = (1, "a")
    mode: Literal["a", 1, True] = "a"
    trainer: dict[str, Any] = option({})
    added: int = option(7, absent=0)
    label: str = option("", hashed=False)


def digests() -> dict[str, str]:
    return {
        "empty": hash_bytes(b"").hex,
        "text": hash_bytes("ä😀".encode()).hex,
        "chunks": hash_chunks([b"a" * 100_000, b"", b"b" * 3]).hex,
    }


def canonical() -> dict[str, str]:
    values: dict[str, Any] = {
        "literals": [None, True, False, 0, -1, 1.5, "", [], {}],
        "numbers": [1e21, 1e-7, 123456789.125, 5e-324, 1.7976931348623157e308, -0.0, 0.1, 1e20],
        "integers": [2**53 - 1, 2**53, -(2**53), 10**30],
        "order": {"\ufb33": 1, "\U0001f600": 2, "ö": 3, "\r": 4, "1": 5, "€": 6, "$int": 7, "": 8},
        "escapes": '\x00\x1f\x7f"\\/\u2028\n',
        "unnormalised": ["é", "e\u0301"],
    }
    return {name: canonical_json(value).decode() for name, value in values.items()}


def actions() -> dict[str, str]:
    made = {
        "minimal": Action("function"),
        "full": Action(
            "model",
            {"dataset": hash_bytes(b"rows").hex},
            Recipe("tiny", rate=1, trainer={"warmup": 1.0, "cut": 1}).resolved(),
            {"name": "local", "recipe": 1},
            3,
        ),
    }
    return {name: action.key for name, action in made.items()}


def configs() -> dict[str, Any]:
    made = {
        "defaults": Recipe("tiny"),
        "integers": Recipe("tiny", rate=1, steps=2.0, adapter={"rank": 4.0, "targets": ["q"]}),  # type: ignore[arg-type]
        "absent": Recipe("tiny", added=0, label="never seen", adapter=None),
    }
    return {name: canonical_json(config.resolved()).decode() for name, config in made.items()}


def arguments() -> dict[str, Any]:
    def call(x: Any, y: Any = 1.0, *rest: Any, key: Any = None, **more: Any) -> None: ...

    values = {
        "call": bind(call, (1,), {"z": {"$a": 1, "b": (1, [2])}}),
        "types": [True, 1, 1.0, -0.0, "1", b"1", (1,), {1}, frozenset({"a", "b"}), {1: 2}, 3j],
        "objects": tagged([subject.Colour.RED, subject.Base(), subject.PLACE, subject.Pair(1)], ""),
        "functions": tagged([subject.root, len, functools.partial(subject.helper, 1)], ""),
    }
    return {name: hash_bytes(canonical_json(tagged(v, name))).hex for name, v in values.items()}


def sources() -> dict[str, str]:
    reached = {
        "formatted": subject.formatted,
        "literals": subject.literals,
        "modern": subject.modern,
        "helper": subject.helper,
        "root": subject.root,
        "closure 1": subject.closure(1),
        "closure 2": subject.closure(2),
        "class": subject.Derived,
        "method": subject.Derived().area,
        "named tuple": subject.Pair,
        "partial": functools.partial(subject.root, 1, kind="y"),
        **{f"lambda {i}": function for i, function in enumerate(subject.lambdas)},
    }
    return {name: describe(each).digest for name, each in reached.items()}


def everything() -> dict[str, dict[str, Any]]:
    parts = (digests, canonical, actions, configs, arguments, sources)
    return {part.__name__: part() for part in parts}


if __name__ == "__main__":
    json.dump(everything(), sys.stdout, indent=1, ensure_ascii=True, sort_keys=True)
    print()
