"""Datasets: rows to train on, as small values that say where the rows are.

A dataset is a file, rows in memory, or rows of other datasets; they are read
when somebody needs them, in constant memory. Shuffled ones read their file out
of order, which takes sixteen bytes a row. However a dataset was made, its
digest is that of its canonical lines, so equal rows are one dataset.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any, Final, Self, overload

from blake3 import blake3

from motools.digest import SHORT, Digest, canonical_json, hash_bytes
from motools.errors import DatasetError
from motools.lines import Chosen, InFile, InMemory, Joined, Lines, remembered
from motools.markup import table
from motools.memo import Memo
from motools.order import Choice
from motools.reading import noted
from motools.rows import line_number, lines_of

_NAMESPACE: Final = "dataset/1"
_SHOWN: Final = 5


@dataclass(frozen=True)
class Dataset:
    """Rows to train on, in a file, in memory, or taken from other datasets.

    ``len``, ``for row in dataset`` and ``dataset[3]`` are as with lists; slices
    and ``+`` are datasets.

    Attributes:
        path: the JSON Lines file, absolute; None for other datasets.
        digest: of the canonical lines; None while nobody has asked.
        rows: how many; None while nobody has asked.
        file_id: what the backend calls it, once uploaded.
        data: the canonical lines of rows in memory.
        parts: the datasets whose rows these are, one after the other.
        choice: which rows of the parts; None: all.
    """

    path: str | None = None
    digest: str | None = None
    rows: int | None = None
    file_id: str | None = None
    data: bytes | None = field(default=None, repr=False)
    parts: tuple[Dataset, ...] = ()
    choice: Choice | None = None

    @classmethod
    def from_jsonl(cls, path: str | os.PathLike[str]) -> Self:
        """The rows of a JSON Lines file. They are read, and checked, when first needed.

        Raises:
            DatasetError: there is no such file, or nothing in it.
        """
        found = Path(path).absolute()
        if not found.is_file():
            raise DatasetError(f"{found}: there is no such file")
        if not found.stat().st_size:
            raise DatasetError(f"{found}: the file is empty")
        return cls(path=str(found))

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """Rows in memory; they are copied now.

        Raises:
            DatasetError: a row is not JSON, with its number; or there is none.
        """
        made = list(lines_of(rows))
        if not made:
            raise DatasetError("a dataset needs at least one row")
        data = b"".join(made)
        return cls(digest=hash_bytes(data).hex, rows=len(made), data=data)

    @classmethod
    def from_hf(cls, source: str, *, revision: str | None = None, split: str = "train") -> Dataset:
        """The rows of a dataset in Hugging Face's formats, kept in the current cache.

        They are read once; the same files again come from the cache.

        Args:
            source: a file or directory on this machine (Parquet, JSON, CSV, Arrow
                or what ``save_to_disk`` wrote), or the name of a dataset of the Hub.
            revision: of a dataset of the Hub: a commit, or a branch or tag, which
                is resolved to its commit now.
            split: which part of it.

        Raises:
            DatasetError: it cannot be found, read, pinned or reached, or a row is not JSON.
        """
        from motools.steps.importing import import_hf

        return import_hf(source, revision, split)

    def map(
        self, function: Callable[[dict[str, Any]], Mapping[str, Any]], *, version: str | None = None
    ) -> Dataset:
        """The rows that a function makes of these, kept in the current cache.

        The function runs once for the same source and the same rows, as with
        ``@cached_task``.

        Args:
            function: makes a row of a row, which is its own to change.
            version: stands for the function's source; see :func:`motools.cached_task`.

        Raises:
            SourceError: the function's source is out of reach and no version was given.
            DatasetError: what it returned is not a row, with the row's number.
        """
        from motools.steps.mapping import map_rows

        return map_rows(self, function, version)

    def shuffle(self, seed: int) -> Dataset:
        """The rows in an order drawn from a seed: the same everywhere, for the same seed."""
        return self._chosen(seed=seed)

    def sample(self, count: int, seed: int) -> Dataset:
        """Rows drawn without putting back, in the order drawn.

        Args:
            count: how many. A smaller sample of one seed is the beginning of a larger one.
            seed: draws them.

        Raises:
            DatasetError: there are fewer rows than ``count``.
        """
        if not 0 < count <= len(self):
            raise DatasetError(f"sample: {count} of {len(self)} rows cannot be drawn")
        return self._chosen(seed=seed, stop=count)

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Two datasets that share no row and together have them all, each in an order drawn.

        Args:
            fraction: of the rows that go into the first, between 0 and 1; rounded.
            seed: draws them.

        Raises:
            DatasetError: one of the two would have no rows.
        """
        count = round(fraction * len(self))
        if not 0 < count < len(self):
            raise DatasetError(f"split: {fraction} of {len(self)} rows leaves one side empty")
        return self._chosen(seed=seed, stop=count), self._chosen(seed=seed, start=count)

    def identify(self, memo: Memo | None = None) -> Self:
        """The same dataset with its digest and number of rows.

        Args:
            memo: remembers them while no file changes.

        Raises:
            DatasetError: a line is wrong, with the file and the line; or there is no row.
        """
        if self.digest is not None:
            return self
        subject = self.path or hash_bytes(canonical_json(self._recipe())).hex
        with remembered(memo, _NAMESPACE, subject, self._files()) as known:
            if known.value is None:
                hasher, count = blake3(), 0
                for line in self.lines():
                    hasher.update(line)
                    count += 1
                if not count:
                    raise DatasetError("there is no row in the dataset")
                known.value = [hasher.hexdigest(), count]
        return dataclasses.replace(self, digest=known.value[0], rows=known.value[1])

    def lines(self) -> Iterator[bytes]:
        """The canonical lines, in constant memory."""
        with ExitStack() as stack:
            yield from self._open(stack)

    def place_of(self, row: int) -> str:
        """Where a row stands, for people: its file and line, or else its number.

        Args:
            row: its number, from 1.
        """
        if self.path is None:
            return f"row {row}"
        return f"{self.path}, line {line_number(Path(self.path), row)}"

    def write(self, target: Path) -> Digest:
        """Write the canonical form, which is what is uploaded and trained on."""
        hasher, size = blake3(), 0
        with target.open("wb") as stream:
            for line in self.lines():
                stream.write(line)
                hasher.update(line)
                size += len(line)
        return Digest(hasher.hexdigest(), size)

    def to_jsonl(self, path: str | os.PathLike[str]) -> Dataset:
        """Write the rows to a JSON Lines file, in canonical form, and return it as a dataset.

        The file appears whole or not at all, so it may be one that the rows are read from.
        """
        target = Path(path).absolute()
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            self.write(partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return Dataset.from_jsonl(target)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, for a result that contains it."""
        data = self.data.decode() if self.data is not None else None
        parts = [part.to_json() for part in self.parts]
        return {**dataclasses.asdict(self), "data": data, "parts": parts}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The dataset that :meth:`to_json` wrote."""
        data = value["data"].encode() if value["data"] is not None else None
        parts = tuple(cls.from_json(part) for part in value.get("parts", ()))
        choice = Choice(**value["choice"]) if value.get("choice") else None
        return cls(**{**value, "data": data, "parts": parts, "choice": choice})

    def __add__(self, other: object) -> Dataset:
        if not isinstance(other, Dataset):
            return NotImplemented
        return Dataset(parts=(*self._joined(), *other._joined()))

    def __len__(self) -> int:
        if self.rows is not None:
            return self.rows
        with ExitStack() as stack:
            return len(self._open(stack))

    def __bool__(self) -> bool:
        return True  # not by its length: asking for it may read a file

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.lines())

    @overload
    def __getitem__(self, which: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, which: slice) -> Dataset: ...

    def __getitem__(self, which: int | slice) -> dict[str, Any] | Dataset:
        if isinstance(which, slice):
            range(0)[which]  # raises what is wrong with the slice
            names = ("start", "stop", "step")
            given = {n: v for n in names if (v := getattr(which, n)) is not None}
            return self._chosen(**{name: index(value) for name, value in given.items()})
        with ExitStack() as stack:
            row: dict[str, Any] = json.loads(self._open(stack)[which])
            return row

    def __motools_digest__(self) -> str:
        """What stands for it in the key of a cached function.

        Its files are asked, whatever digest is remembered: the function reads them.
        """
        if self.digest is not None and self._is_fixed():
            return self.digest
        return noted(self._digest_now, self._files())

    def _repr_html_(self) -> str:
        first, count = list(itertools.islice(self, _SHOWN)), len(self)
        columns = list(dict.fromkeys(name for row in first for name in row))
        cells = [
            [json.dumps(row[c], ensure_ascii=False) if c in row else "" for c in columns]
            for row in first
        ]
        digest = f", {self.digest[:SHORT]}" if self.digest else ""
        more = f"and {count - len(first):,} more" if count > len(first) else ""
        title = f"Dataset of {count:,} row{'s' * (count != 1)}{digest}"
        return table(title, columns, cells, more)

    def _chosen(self, **choice: int | None) -> Dataset:
        return Dataset(parts=(self,), choice=Choice(**choice))

    def _joined(self) -> tuple[Dataset, ...]:
        return self.parts if self.parts and self.choice is None else (self,)

    def _open(self, stack: ExitStack) -> Lines:
        if self.data is not None:
            return InMemory(self.data)
        if self.path is not None:
            return InFile(Path(self.path), stack)
        joined = Joined([part._open(stack) for part in self.parts])  # noqa: SLF001
        return joined if self.choice is None else Chosen(joined, self.choice)

    def _files(self) -> list[str]:
        """Every file that the rows are read from."""
        below = [path for part in self.parts for path in part._files()]  # noqa: SLF001
        return below if self.path is None else [self.path]

    def _digest_now(self, memo: Memo | None = None) -> str:
        """The digest of what its files hold now, whatever is remembered.

        Once a file is gone nothing else can be read: what was found before holds.

        Args:
            memo: remembers it while no file changes.

        Raises:
            DatasetError: as :meth:`identify`.
        """
        gone = self.digest is not None and not all(map(os.path.exists, self._files()))
        known = self if gone else dataclasses.replace(self, digest=None).identify(memo)
        return str(known.digest)

    def _is_fixed(self) -> bool:
        """Whether its rows can change no more: in memory, or in files of a cache.

        Those are read-only and named by the digest of what is in them.
        """
        if self.path is not None:
            return "".join(Path(self.path).parts[-2:]) == self.digest
        return all(part._is_fixed() for part in self.parts)  # noqa: SLF001

    def _recipe(self) -> Any:
        """How the rows are made from files and rows in memory."""
        if not self.parts:
            return self.path or self.digest
        choice = dataclasses.asdict(self.choice) if self.choice else None
        return {"parts": [part._recipe() for part in self.parts], "choice": choice}  # noqa: SLF001
