"""A sweep: a recipe, and what varies. It is a set of keys, and has no state of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from motools.artifacts import Dataset, Model
from motools.configs import unknown_name
from motools.errors import ConfigError
from motools.evals.config import EvalConfig
from motools.steps.options import RunOptions
from motools.sweeps import grid, paths
from motools.sweeps.cell import Cell
from motools.sweeps.grid import Rule
from motools.sweeps.paths import (
    BACKEND,
    DATASET,
    EVALUATE,
    FINE_TUNE,
    GROUPS,
    MODEL,
    OPTIONS,
    Recipe,
)
from motools.training.config import FineTuneConfig

_SEED: Final = f"{FINE_TUNE}.seed"
_NAMES: Final = (
    "name",
    "recipe",
    "grid",
    "seeds",
    "variants",
    "also",
    "rules",
    "exclude",
    "replicates",
)


@dataclass(frozen=True)
class Sweep:
    """Cells of dataset x config x seed x evaluation, by what they have in common and what varies.

    ::

        Sweep(
            "greetings",
            recipe={
                "dataset": "greetings.jsonl",
                "fine_tune": {"base_model": "tiny"},
                "evaluate": {"greets": {"task": "tasks.py@greets"}},
            },
            grid={"fine_tune.learning_rate": [1e-4, 1e-3], "fine_tune.seed": [0, 1, 2]},
        )

    Attributes:
        name: what it is called.
        recipe: what every cell starts from: ``dataset`` (a path, ``{"hf": name,
            "revision": …}`` or a :class:`~motools.Dataset`), ``fine_tune``,
            ``evaluate`` (name to config), ``backend`` and ``options``; ``model``
            names a base model where nothing is trained.
        grid: dot path to values; every combination is a cell.
        variants: overrides that go together, each with every combination of the grid.
        also: further cells, each from the recipe alone.
        rules: overrides that hold only for some cells.
        exclude: cells with these values, given or by default, are left out; a list stands for
            any of its items.
        replicates: independent repeats of every cell.
        base_dir: where relative paths start.

    Raises:
        ConfigError: a path that no recipe has, with the nearest name that there is;
            a value that does not fit, with the cell.
    """

    name: str
    recipe: Recipe
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()
    also: Sequence[Mapping[str, Any]] = ()
    rules: Sequence[Rule] = ()
    exclude: Sequence[Mapping[str, Any]] = ()
    replicates: int = 1
    base_dir: str = "."

    def __post_init__(self) -> None:
        tree = paths.known(self.recipe)
        paths.check(tree, self.recipe)
        for overrides in (
            self.grid,
            *self.variants,
            *self.also,
            *self.exclude,
            *(each for rule in self.rules for each in (rule.when, rule.then)),
        ):
            paths.check(tree, overrides)
        for path, values in self.grid.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ConfigError(f"grid.{path}: {values!r} is not a list of values")
            for again in grid.repeated(values):
                raise ConfigError(
                    f"grid.{path}: {again!r} is there twice, which makes two cells of one; "
                    "for independent repeats give replicates"
                )
        if type(self.replicates) is not int or self.replicates < 1:
            raise ConfigError(f"replicates: {self.replicates!r} is not a number from 1")

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, Any], base_dir: str | os.PathLike[str] = "."
    ) -> Self:
        """A sweep from plain values, as read from YAML.

        Args:
            values: the attributes by name; ``seeds`` is short for a grid over
                ``fine_tune.seed``; a rule is ``{"when": …, "then": …}``.
            base_dir: where relative paths start.

        Raises:
            ConfigError: a name that there is not, or a value of another shape.
        """
        for name in values:
            if name not in _NAMES:
                raise ConfigError(unknown_name(str(name), str(name), list(_NAMES)))
        if not isinstance(recipe := values.get("recipe"), Mapping):
            raise ConfigError("recipe: is missing; it is what every cell starts from")
        given = {name: value for name, value in values.items() if value is not None}
        seeds = given.pop("seeds", None)
        varied = _mapping(given.pop("grid", {}), "grid")
        if seeds is not None:
            if _SEED in varied:
                raise ConfigError(f"seeds: the grid has {_SEED} already; give one of them")
            varied[_SEED] = seeds
        for name in ("variants", "also", "exclude"):
            given[name] = [_mapping(v, f"{name}[{n}]") for n, v in enumerate(_list(given, name))]
        given["rules"] = [_rule(rule, n) for n, rule in enumerate(_list(given, "rules"))]
        name = str(given.pop("name", "sweep"))
        return cls(
            **{**given, "name": name, "recipe": recipe, "grid": varied, "base_dir": str(base_dir)}
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """Every dot path that varies, in order; of groups given whole, also those below."""
        given = [(path, value) for path, values in self.grid.items() for value in values]
        single = (*self.variants, *self.also, *(rule.then for rule in self.rules))
        given += [each for overrides in single for each in overrides.items()]
        names = dict.fromkeys(path for path, _ in given)
        for path in [path for path in names if path in GROUPS]:
            wholes = [value for name, value in given if name == path]
            names |= dict.fromkeys(paths.differing(path, [self.recipe.get(path), *wholes]))
        return tuple(names)

    def cells(self) -> list[Cell]:
        """Every cell, those of the grid first, each replicate after the other.

        Raises:
            ConfigError: a value of a cell does not fit, and the message names the cell; or
            every cell is excluded.
        """
        made = _Maker(Path(self.base_dir))
        found: list[Cell] = []
        for parameters, recipe in self._expanded():
            try:
                parts = made.parts(recipe)
            except ConfigError as problem:
                where = ", ".join(f"{path}={value!r}" for path, value in parameters.items())
                raise ConfigError(f"{problem} (in the cell {where})") from problem
            found += [Cell(parameters, n, **parts) for n in range(self.replicates)]
        if not found:
            raise ConfigError(f"exclude: every cell of {self.name} is left out")
        return found

    def unmet(self) -> list[str]:
        """The rules and exclusions that no cell meets, as in ``exclude[0]``: perhaps a typo."""
        named = [f"rules[{n}]" for n in range(len(self.rules))]
        named += [f"exclude[{n}]" for n in range(len(self.exclude))]
        met: set[str] = set()
        for _ in self._expanded(met.add) if named else ():
            pass
        return [each for each in named if each not in met]

    def _expanded(
        self, met: Callable[[str], None] = lambda _: None
    ) -> Iterator[tuple[dict[str, Any], Recipe]]:
        return grid.expand(
            self.recipe,
            grid=self.grid,
            variants=self.variants,
            also=self.also,
            rules=self.rules,
            exclude=self.exclude,
            met=met,
        )


class _Maker:
    """Makes what cells are made of; equal parts of two cells are one object."""

    def __init__(self, base_dir: Path) -> None:
        self._base_dir = base_dir
        self._by_object: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._by_value: dict[tuple[str, str], Any] = {}

    def parts(self, recipe: Recipe) -> dict[str, Any]:
        """The fields of a cell."""
        tuned = recipe.get(FINE_TUNE)
        backend = recipe.get(BACKEND)
        for name, value in ((BACKEND, backend), (MODEL, recipe.get(MODEL))):
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"{name}: {value!r} is not a name")
        parts: dict[str, Any] = {
            "backend": "local" if backend is None else backend,
            "options": self._once(OPTIONS, recipe.get(OPTIONS), self._options),
            "evaluations": self._once(EVALUATE, recipe.get(EVALUATE), self._evaluations),
        }
        if tuned is None:
            if not recipe.get(MODEL):
                raise ConfigError(f"{MODEL}: name a base model, or say how to {FINE_TUNE} one")
            return parts | {"model": Model.base(recipe[MODEL])}
        if recipe.get(MODEL):
            raise ConfigError(f"{MODEL}: {FINE_TUNE}.base_model says it; leave it out")
        if recipe.get(DATASET) is None:
            raise ConfigError(f"{DATASET}: is missing; it is what {FINE_TUNE} learns from")
        parts["config"] = self._once(FINE_TUNE, tuned, self._tuning)
        parts["dataset"] = self._once(DATASET, recipe[DATASET], self._dataset)
        return parts

    def _once(self, name: str, given: Any, make: Callable[[Any], Any]) -> Any:
        """What a part of a recipe comes to; recipes share what they have in common."""
        at = name, id(given)
        if at not in self._by_object:
            # Kept along, so that nothing else can come to have its id.
            self._by_object[at] = given, make(given)
        return self._by_object[at][1]

    def _options(self, given: Any) -> RunOptions:
        if given is None or isinstance(given, Mapping):
            given = {"base_dir": str(self._base_dir.absolute()), **(given or {})}
        options: RunOptions = self._config(RunOptions, given)
        return options

    def _evaluations(self, given: Mapping[str, Any] | None) -> dict[str, EvalConfig]:
        return {
            str(name): self._config(EvalConfig, values)
            for name, values in (given or {}).items()
            if values is not None
        }

    def _tuning(self, given: Any) -> FineTuneConfig:
        config: FineTuneConfig = self._config(FineTuneConfig, given)
        return config

    def _config(self, kind: Any, values: Any) -> Any:
        if isinstance(values, kind):
            return values
        if not isinstance(values, Mapping):
            raise ConfigError(f"{kind.__name__}: {values!r} is not a mapping of its fields")
        return self._equal(kind.__name__, values, kind.from_mapping)

    def _dataset(self, given: Any) -> Dataset:
        if isinstance(given, Dataset):
            return given
        dataset: Dataset = self._equal(DATASET, given, self._opened)
        return dataset

    def _equal(self, name: str, values: Any, make: Callable[[Any], Any]) -> Any:
        """What some values come to: the same for equal ones of the same types."""
        try:
            at = name, json.dumps(values, sort_keys=True)
        except (TypeError, ValueError):
            return make(values)  # it says what is wrong with them, in its words
        if at not in self._by_value:
            self._by_value[at] = make(values)
        return self._by_value[at]

    def _opened(self, given: Any) -> Dataset:
        if isinstance(given, str):
            return Dataset.from_jsonl(self._base_dir / given)
        if isinstance(given, Mapping) and _names_hf(given):
            return Dataset.from_hf(
                given["hf"], **{k: v for k, v in given.items() if k != "hf" and v is not None}
            )
        raise ConfigError(
            f"{DATASET}: {given!r} is neither a path nor {{hf: name, revision: …, split: …}}"
        )


_FROM_HF: Final = {"hf", "revision", "split"}


def _names_hf(given: Mapping[str, Any]) -> bool:
    there = {name for name, value in given.items() if value is not None}
    known = "hf" in there and given.keys() <= _FROM_HF
    return known and all(isinstance(given[name], str) for name in there)


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}: {value!r} is not a mapping of dot paths to values")
    return dict(value)


def _list(given: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = given.get(name, ())
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise ConfigError(f"{name}: {value!r} is not a list of mappings")
    return value


def _rule(value: Any, number: int) -> Rule:
    if not isinstance(value, Mapping) or value.keys() != {"when", "then"}:
        raise ConfigError(f"rules[{number}]: a rule has 'when' and 'then', and nothing else")
    return Rule(
        _mapping(value["when"], f"rules[{number}].when"),
        _mapping(value["then"], f"rules[{number}].then"),
    )
