"""Datasets of Hugging Face's formats, from files on this machine or from the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache.action import Action
from motools.datasets import Dataset
from motools.errors import DatasetError
from motools.steps.function import KIND
from motools.steps.rows import keep_rows, kept_rows, obtain

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

RECIPE: Final = 1
"""Changes only if the same files should ever mean other rows."""

_NAME: Final = "motools.Dataset.from_hf"
_COMMIT: Final = re.compile("[0-9a-f]{40}")
_SAVED: Final = ("dataset_dict.json", "state.json")
_FORMATS: Final = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".arrow": "arrow",
}


def import_hf(name: str, revision: str | None, split: str) -> Dataset:
    """The rows of a dataset in Hugging Face's formats, from the current cache if they are there.

    Raises:
        DatasetError: it cannot be found, read, pinned or reached.
    """
    if Path(name).expanduser().exists():
        return obtain(ImportFiles(Path(name).expanduser().absolute(), split))
    return obtain(ImportHub(name, _commit(name, revision), split))


@dataclass(frozen=True)
class ImportFiles:
    """Take the rows of files on this machine.

    Attributes:
        path: a file, or a directory of files.
        split: which part of them.
    """

    path: Path
    split: str

    def action(self, cache: Cache) -> Action:
        """The files by their content.

        Raises:
            DatasetError: there is no file.
        """
        return _import_action({"files": self._manifest(cache), "split": self.split})

    def run(self, context: RunContext) -> Any:
        """Read the rows.

        Raises:
            DatasetError: they cannot be read, or a file changed meanwhile.
        """
        context.label(function=_NAME)
        context.provenance["source"] = str(self.path)
        with _told(self.path):
            value = keep_rows(self._rows(context.scratch / "datasets"), context)
        if self._manifest(context.cache) != context.action.config["files"]:
            raise DatasetError(f"{self.path} changed while it was read: run it again")
        return value

    def decode(self, entry: Entry) -> Dataset:
        """The rows, in the cache."""
        return kept_rows(entry)

    def _manifest(self, cache: Cache) -> dict[str, str]:
        if self.path.is_file():
            return {self.path.name: cache.memo.digest_file(self.path).hex}
        paths = sorted(path for path in self.path.rglob("[!.]*") if path.is_file())
        if not paths:
            raise DatasetError(f"{self.path}: there is no file in it")
        digests = cache.memo.digest_files(paths)
        names = (path.relative_to(self.path).as_posix() for path in paths)
        return {name: digest.hex for name, digest in zip(names, digests, strict=True)}

    def _rows(self, place: Path) -> Any:
        import datasets

        # A place of its own: the library would take files for unchanged by their times.
        options: dict[str, Any] = {"split": self.split, "cache_dir": str(place)}
        if self.path.is_file():
            kind = _FORMATS.get(self.path.suffix)
            if kind is None:
                known = ", ".join(_FORMATS)
                raise DatasetError(f"{self.path}: cannot be read; known endings are {known}")
            files = {self.split.partition("[")[0]: str(self.path)}
            return datasets.load_dataset(kind, data_files=files, **options)
        if not any((self.path / name).exists() for name in _SAVED):
            return datasets.load_dataset(str(self.path), **options)
        saved = datasets.load_from_disk(str(self.path))
        splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        if self.split not in splits:
            raise DatasetError(
                f"{self.path}: there is no split {self.split!r}, but {', '.join(splits)}"
            )
        return splits[self.split]


@dataclass(frozen=True)
class ImportHub:
    """Take the rows of a dataset of the Hugging Face Hub.

    Attributes:
        repo: its name there.
        commit: which state of it, as 40 hexadecimal characters.
        split: which part of it.
    """

    repo: str
    commit: str
    split: str

    def action(self, _cache: Cache) -> Action:
        """The commit, which stands for the files."""
        return _import_action({"repo": self.repo, "commit": self.commit, "split": self.split})

    def run(self, context: RunContext) -> Any:
        """Download and read the rows.

        Raises:
            DatasetError: they cannot be reached or read.
        """
        context.label(function=_NAME)
        context.provenance["source"] = f"{self.repo}@{self.commit}"
        with _told(f"dataset {self.repo!r} at {self.commit[:12]}"):
            return keep_rows(self._rows(context.scratch / "datasets"), context)

    def decode(self, entry: Entry) -> Dataset:
        """The rows, in the cache."""
        return kept_rows(entry)

    def _rows(self, place: Path) -> Any:
        import datasets

        return datasets.load_dataset(
            self.repo, revision=self.commit, split=self.split, cache_dir=str(place)
        )


@contextmanager
def _told(what: object) -> Iterator[None]:
    """Have whatever the library raises name the dataset."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise DatasetError(f"{what}: {type(problem).__name__}: {reason}") from problem


def _import_action(config: dict[str, Any]) -> Action:
    try:
        library = version("datasets")
    except PackageNotFoundError:
        raise DatasetError(
            "Dataset.from_hf needs the package datasets: pip install 'motools[local]'"
        ) from None
    return Action(
        kind=KIND,
        config={"function": _NAME, "library": library, **config},
        backend={"name": "datasets", "recipe": RECIPE},
    )


def _commit(name: str, revision: str | None) -> str:
    """The commit that a revision means on the Hub now.

    Raises:
        DatasetError: no revision, no such dataset or revision, or the Hub is out of reach.
    """
    if revision is None:
        raise DatasetError(
            f"{name!r} is neither a file nor a directory here; for a dataset of the Hugging Face "
            "Hub give revision=, best a commit"
        )
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision, timeout=30).sha)
    except Exception as problem:  # the HTTP library has two names
        reason = str(problem).strip().partition("\n")[0]
        raise DatasetError(
            f"dataset {name!r}: the Hugging Face Hub did not say which commit {revision!r} is "
            f"({type(problem).__name__}: {reason}); without a network, give a commit of 40 "
            "characters that was imported before, or a directory"
        ) from problem
