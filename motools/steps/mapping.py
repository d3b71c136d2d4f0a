"""Datasets made by a function, row by row, once for the same source and rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from motools import source
from motools.cache.action import Action
from motools.datasets import Dataset
from motools.errors import DatasetError, SourceError
from motools.steps.function import KIND, Function
from motools.steps.rows import keep_rows, kept_rows, obtain

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

RECIPE: Final = 1
"""Changes only if the same function of the same rows should ever mean other rows."""


def map_rows(dataset: Dataset, function: Callable[..., Any], version: str | None = None) -> Dataset:
    """The rows that a function makes of each row, from the current cache if they are there."""
    return obtain(MapRows(dataset, Function(function, version)))


@dataclass(frozen=True, eq=False)
class MapRows:
    """Make a row of each row.

    Attributes:
        dataset: the rows.
        function: takes a row, and returns one.
    """

    dataset: Dataset
    function: Function

    def action(self, cache: Cache) -> Action:
        """The rows, and the function's source.

        Raises:
            SourceError: the source is out of reach, or the function is async.
            DatasetError: a row is wrong.
        """
        if self.function.is_async:
            raise SourceError(f"{self.function.name} is async; map() takes a plain function")
        described = source.describe(
            self.function.function,
            version=self.function.version,
            equivalent=cache.settings.equivalent,
        )
        return Action(
            kind=KIND,
            inputs={"rows": str(self.dataset.identify(cache.memo).digest)},
            config={"function": self.function.name, "source": described.digest},
            backend={"name": "map", "recipe": RECIPE},
        )

    def run(self, context: RunContext) -> Any:
        """Make the rows.

        Raises:
            DatasetError: what the function returned is not a row, or the dataset changed.
        """
        context.label(function=self.function.name)
        hasher = blake3()

        def rows() -> Iterator[Mapping[str, Any]]:
            for number, line in enumerate(self.dataset.lines(), 1):
                hasher.update(line)
                made = self.function.function(json.loads(line))
                if not isinstance(made, Mapping):
                    kind = type(made).__name__
                    raise DatasetError(
                        f"row {number}: {self.function.name} returned {kind}, not a row"
                    )
                yield made

        value = keep_rows(rows(), context)
        if hasher.hexdigest() != context.action.inputs["rows"]:
            raise DatasetError("the dataset changed while it was mapped: run it again")
        return value

    def decode(self, entry: Entry) -> Dataset:
        """The rows that were made, in the cache."""
        return kept_rows(entry)
