"""Rows that a step makes: kept as a file of the entry, and read back as a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from motools.cache.current import current_cache
from motools.datasets import Dataset
from motools.errors import DatasetError
from motools.rows import lines_of
from motools.steps.step import Step

if TYPE_CHECKING:
    from motools.cache import Entry, RunContext

FILE: Final = "dataset.jsonl"


def obtain(step: Step[Dataset]) -> Dataset:
    """What a step makes, from the current cache or by running it."""
    cache = current_cache()
    return step.decode(cache.get_or_run(step.action(cache), step.run))


def keep_rows(rows: Iterable[Mapping[str, Any]], context: RunContext) -> dict[str, Any]:
    """Write rows into the entry, one at a time, and return its value.

    Raises:
        DatasetError: a row is not JSON, with its number; or there is none.
    """
    hasher, count = blake3(), 0
    with (context.directory / FILE).open("wb") as stream:
        for line in lines_of(rows):
            stream.write(line)
            hasher.update(line)
            count += 1
    if not count:
        raise DatasetError("there is no row in the dataset")
    return {"digest": hasher.hexdigest(), "rows": count}


def kept_rows(entry: Entry) -> Dataset:
    """The dataset that an entry keeps."""
    return Dataset(path=str(entry.file(FILE)), **entry.value)
