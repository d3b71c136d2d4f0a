"""The upload step: a dataset in canonical form, kept under its digest."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import Dataset
from motools.cache.action import Action
from motools.errors import DatasetError

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

KIND: Final = "dataset"
RECIPE: Final = 1
FILE: Final = "dataset.jsonl"


@dataclass(frozen=True)
class Upload:
    """Keep a dataset in the cache.

    Attributes:
        dataset: what to keep.
    """

    dataset: Dataset

    def action(self, cache: Cache) -> Action:
        """The dataset's digest, and that it is kept here.

        Raises:
            DatasetError: a row is wrong.
        """
        return Action(
            kind=KIND,
            inputs={"rows": str(self.dataset.identify(cache.memo).digest)},
            backend={"name": "local", "recipe": RECIPE},
        )

    def run(self, context: RunContext) -> Any:
        """Write the canonical form.

        Raises:
            DatasetError: the file changed since the action was made.
        """
        dataset = self.dataset.identify(context.cache.memo)
        planned = context.action.inputs["rows"]
        written = dataset.write(context.directory / FILE)
        if written.hex != planned:
            raise DatasetError(
                f"{dataset.path or 'the dataset'} changed while it was uploaded (digest "
                f"{written.short}, expected {planned[:12]}): run it again"
            )
        file_id = f"file-{written.hex[:24]}"
        context.label(dataset_hash=written.hex, file_id=file_id)
        if dataset.path is not None:
            context.provenance["source"] = dataset.path
        return {"file_id": file_id, "rows": dataset.rows}

    def decode(self, entry: Entry) -> Dataset:
        """The dataset in the cache, with the id of its file.

        Where the cache released the file, the rows are still read from where they were.
        """
        rows = self.dataset if entry.released else Dataset(path=str(entry.file(FILE)))
        return dataclasses.replace(rows, digest=entry.action["inputs"]["rows"], **entry.value)
