"""Entries: what a key came to."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from motools.artifacts import RemoteRef
from motools.cache.blobs import Blobs
from motools.cache.store import copy_file, unavailable
from motools.errors import CacheError, CorruptDocumentError, ReleasedError

COLUMNS: Final = (
    "key, generation, kind, action, value, tree, files, remote, checksum, state, "
    "labels, provenance, created_at, duration, cost, trashed_at"
)
"""What an entry is read from, in the order of :class:`Entry`'s row."""

PAID_TO: Final = "paid_to"
"""The label of what took money that may be known to nobody: who got it."""


@dataclass(frozen=True, eq=False)
class Entry:
    """The result of an action, immutable.

    Attributes:
        row: the columns as stored; everything else is read from them when asked for.
        blobs: where the files are.
        hit: True when it was there already, False when this call made it.
    """

    row: tuple[Any, ...] = field(repr=False)
    blobs: Blobs = field(repr=False)
    hit: bool = True

    @property
    def key(self) -> str:
        """The action's key."""
        return str(self.row[0])

    @property
    def generation(self) -> int:
        """From 1; a refresh adds one."""
        return int(self.row[1])

    @property
    def kind(self) -> str:
        """``dataset``, ``model``, ``eval`` or ``function``."""
        return str(self.row[2])

    @cached_property
    def action(self) -> dict[str, Any]:
        """The key material: schema, kind, inputs, config, backend, replicate."""
        material: dict[str, Any] = json.loads(self.row[3])
        return material

    @property
    def canonical(self) -> str:
        """The canonical JSON whose BLAKE3-256 is the key."""
        return str(self.row[3])

    @property
    def value(self) -> Any:
        """The JSON value, a fresh one each time."""
        return json.loads(self.row[4])

    @property
    def tree(self) -> str | None:
        """The digest of the files as a tree, or None: no files."""
        return self.row[5]  # type: ignore[no-any-return]

    @cached_property
    def file_rows(self) -> list[list[Any]]:
        """``[path, digest, size, executable]`` of each file."""
        rows: list[list[Any]] = json.loads(self.row[6])
        return rows

    @property
    def blob_digests(self) -> frozenset[str]:
        """The digests of its files, and of the tree that they make."""
        tree = () if self.tree is None else (self.tree,)
        return frozenset((*tree, *(row[1] for row in self.file_rows)))

    @property
    def files(self) -> Mapping[str, Path]:
        """Relative path to a read-only file in the store, checked when asked for."""
        return Files(self)

    @property
    def size(self) -> int:
        """Bytes in all files together."""
        return sum(row[2] for row in self.file_rows)

    @cached_property
    def remote(self) -> RemoteRef | None:
        """What lives at a provider, or None."""
        return RemoteRef(**json.loads(self.row[7])) if self.row[7] else None

    @property
    def state(self) -> str:
        """``live``, ``remote``, ``released`` or ``trash``."""
        return str(self.row[9])

    @property
    def released(self) -> bool:
        """Whether its bytes are gone on purpose, and its record is kept."""
        return self.state == "released"

    @cached_property
    def labels(self) -> dict[str, str]:
        """What the entry can be found by besides its key; not hashed."""
        labels: dict[str, str] = json.loads(self.row[10])
        return labels

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Who made it, where, with which versions; not hashed."""
        provenance: dict[str, Any] = json.loads(self.row[11])
        return provenance

    @property
    def created_at(self) -> float:
        """Seconds since 1970."""
        return float(self.row[12])

    @property
    def duration(self) -> float:
        """Seconds that making it took."""
        return float(self.row[13])

    @property
    def cost(self) -> float | None:
        """Money that making it took, in the currency of the settings; None: unknown."""
        return self.row[14]  # type: ignore[no-any-return]

    @property
    def paid(self) -> bool:
        """Whether making it took money, known or not."""
        return bool(self.cost) or self.remote is not None or PAID_TO in self.labels

    @property
    def trashed_at(self) -> float | None:
        """When it, or its files, went into the trash (seconds since 1970); None: not there."""
        return self.row[15]  # type: ignore[no-any-return]

    @property
    def root(self) -> Path:
        """The directory of the cache that the entry is in."""
        return self.blobs.root

    def checkout(
        self,
        directory: str | os.PathLike[str],
        *,
        report: Callable[[int], None] | None = None,
    ) -> Path:
        """Copy the files into a new or empty directory, for a person to own: all, or none.

        Args:
            directory: where they go.
            report: told the bytes of each file that was copied.

        Raises:
            CacheError: something is there already; nothing was copied.
            ReleasedError: the bytes were pruned.
            MissingBlobError: a file's bytes are not there.
            CorruptBlobError: they were altered.
            CacheUnavailableError: the directory cannot be written to.
        """
        target = Path(directory)
        self._require_bytes()
        with unavailable(f"cannot copy the files of {self.key[:12]} to {target}"):
            if target.exists() and not target.is_dir():
                raise CacheError(f"{target} is a file: choose a new or empty directory")
            if target.exists() and any(target.iterdir()):
                raise CacheError(f"{target} is not empty: choose a new directory")
            with _at_once(target) as staging:
                for name, path in self._placed(staging):
                    copy_file(path, staging / name)
                    _, size, executable = self._places[name]
                    (staging / name).chmod(0o755 if executable else 0o644)
                    if report is not None:
                        report(size)
        return target

    def link(self, directory: str | os.PathLike[str]) -> Path:
        """Fill a directory with links to the blobs, for a reader that never writes.

        Every byte is hashed first: this is how weights are loaded.
        """
        target = Path(directory)
        for name, path in self._placed(target, hashed=True):
            (target / name).symlink_to(path.resolve())
        return target

    def file(self, name: str, *, hashed: bool = False) -> Path:
        """One file; with ``hashed`` its bytes are read and checked even if they look untouched.

        Raises:
            KeyError: there is no such file.
            ReleasedError: the bytes were pruned.
            MissingBlobError: the bytes are not there.
            CorruptBlobError: they were altered.
        """
        digest, size, _ = self._places[name]
        self._require_bytes()
        return (self.blobs.hashed_path if hashed else self.blobs.path)(digest, size)

    def _require_bytes(self) -> None:
        if not self.released or not self.file_rows:
            return
        back = ""
        if self.row[15] is not None:
            back = f"`motools cache undelete {self.key[:12]}` takes them out of the trash. "
        raise ReleasedError(
            f"the files of {self.key[:12]} were released; its record is kept. {back}Making them "
            f"again takes {self.duration:.0f} s: pass refresh to run it again"
        )

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, bool]]:
        return {name: (digest, size, x) for name, digest, size, x in self.file_rows}

    def _placed(self, target: Path, *, hashed: bool = False) -> Iterator[tuple[str, Path]]:
        if self.state == "remote":
            self.blobs.gather(self.file_rows)
        for name in self.files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            yield name, self.file(name, hashed=hashed)


@contextmanager
def _at_once(target: Path) -> Iterator[Path]:
    """A directory to fill, whose contents are then in a new or empty one; after an error, none."""
    new = not target.exists()
    place = target.parent if new else target  # which may be where somebody is, or a mount
    place.mkdir(parents=True, exist_ok=True)
    staging = place / f".{uuid.uuid4().hex}"
    try:
        staging.mkdir()
        yield staging
        if new:
            staging.rename(target)
        else:
            for each in sorted(staging.iterdir()):
                each.rename(target / each.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class Files(Mapping[str, Path]):
    """The files of an entry by relative path; each is checked when it is asked for."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._names = [row[0] for row in entry.file_rows]

    def __getitem__(self, name: str) -> Path:
        return self._entry.file(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Files({self._names})"


def checksum(key: str, value: str, tree: str | None, files: str, remote: str | None) -> str:
    """What a hit is checked against, so that a damaged row is never served."""
    return blake3("\0".join((key, value, tree or "", files, remote or "")).encode()).hexdigest()


def check(row: Sequence[Any]) -> None:
    """Refuse a row whose result is not what was committed.

    Raises:
        CorruptDocumentError: it was altered since.
    """
    if checksum(row[0], row[4], row[5], row[6], row[7]) != row[8]:
        raise CorruptDocumentError(
            f"the record of {row[0][:12]} was altered: its checksum does not fit. "
            "Run `motools cache reindex` to restore it from its document"
        )
