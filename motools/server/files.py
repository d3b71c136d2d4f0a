"""Files that callers uploaded: their bytes in a folder, the rest in the tables.

The bytes are kept as they arrived, since that is what a caller gets back: the
dataset in canonical form, which is trained on, is another file, and the cache's.
They are not blobs of the cache: no entry needs them, so that prune would take
them, and deleting a file here must free its bytes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from motools.cache import Cache
from motools.cache.database import Transaction
from motools.cache.store import unavailable
from motools.digest import hash_bytes
from motools.durable import sync
from motools.errors import CorruptBlobError
from motools.server.errors import RequestError, not_found
from motools.server.job import OPEN
from motools.server.pages import Page, Turn, new_id, now, page
from motools.server.uploads import Upload

FINE_TUNE: Final = "fine-tune"
RESULTS: Final = "fine-tune-results"

_COLUMNS: Final = "id, account, filename, purpose, bytes, digest, created_at"


@dataclass(frozen=True)
class File:
    """A file.

    Attributes:
        id: its name here.
        account: whose it is.
        filename: as its owner calls it; never a path of this machine.
        purpose: what for.
        bytes: its size.
        digest: BLAKE3-256 of its bytes.
        created_at: in seconds since 1970.
    """

    id: str
    account: str
    filename: str
    purpose: str
    bytes: int
    digest: str
    created_at: int


class Files:
    """The files of all callers.

    Args:
        cache: whose tables know them.
        directory: the server's own.
    """

    def __init__(self, cache: Cache, directory: Path) -> None:
        self._cache = cache
        self._database = cache.database
        self._kept = directory / "files"
        self.uploads = directory / "uploads"

    def prepare(self, *, lost: bool) -> Path | None:
        """Make the folders, and clear them of what an earlier server had no time to finish.

        Args:
            lost: whether the tables were made just now, so that files without a row
                are those of a database that is gone.

        Returns:
            Where such files were put, so that no later start takes them for unfinished ones.
        """
        self._kept.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.uploads, ignore_errors=True)
        self.uploads.mkdir()
        known = {name for (name,) in self._database.read("SELECT id FROM server_files")}
        strangers = [path for path in self._kept.iterdir() if path.name not in known]
        if lost and strangers:
            aside = self._kept.with_name(f"files-without-a-row-{time.time_ns()}")
            self._kept.rename(aside)
            self._kept.mkdir()
            return aside
        for path in strangers:
            path.unlink(missing_ok=True)
        return None

    def add(self, account: str, upload: Upload, purpose: str) -> File:
        """Keep what was uploaded.

        Args:
            account: whose it is.
            upload: complete.
            purpose: what for.
        """
        file = self._place(account, upload, purpose)
        try:
            with self._database.write() as transaction:
                insert_file(transaction, file)
        except BaseException:
            self.discard(file)
            raise
        return file

    def make(self, account: str, filename: str, purpose: str, data: bytes) -> File:
        """A file with these bytes, which is there once its row is inserted.

        Raises:
            CacheUnavailableError: it cannot be kept now.
        """
        with unavailable(f"cannot keep {filename}"):
            handle, name = tempfile.mkstemp(dir=self.uploads)
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            digest = hash_bytes(data)
            return self._place(
                account, Upload(filename, Path(name), digest.size, digest.hex, {}), purpose
            )

    def discard(self, file: File) -> None:
        """Remove the bytes of a file that has no row."""
        (self._kept / file.id).unlink(missing_ok=True)

    def _place(self, account: str, upload: Upload, purpose: str) -> File:
        """The bytes in the folder; without a row, they go when a server starts."""
        file = File(
            id=new_id("file"),
            account=account,
            filename=upload.filename,
            purpose=purpose,
            bytes=upload.size,
            digest=upload.digest,
            created_at=now(),
        )
        upload.path.replace(self._kept / file.id)
        sync(self._kept)
        return file

    def get(self, account: str, file_id: str, param: str | None = None) -> File:
        """A file of a caller's own.

        Raises:
            RequestError: there is none of this id.
        """
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM server_files WHERE id = ? AND account = ?",
            (file_id, account),
        )
        if not rows:
            raise not_found("file", file_id, param)
        return File(*rows[0])

    def listed(self, account: str, purpose: str | None, turn: Turn) -> Page[File]:
        """The files of a caller."""
        where, parameters = "account = ?", [account]
        if purpose is not None:
            where, parameters = f"{where} AND purpose = ?", [*parameters, purpose]
        return page(
            self._database, "server_files", _COLUMNS, where, parameters, turn=turn, make=_file
        )

    def path(self, file: File) -> Path:
        """Where the bytes are, held against their digest unless nothing has touched them.

        Raises:
            CorruptBlobError: they are not what was uploaded.
        """
        path = self._kept / file.id
        try:
            digest = self._cache.digest_file(path).hex
        except FileNotFoundError:
            digest = ""
        if digest != file.digest:
            raise CorruptBlobError(
                f"{file.id} ({path}) is not what was uploaded: delete it and upload it again"
            )
        return path

    def delete(self, account: str, file_id: str) -> None:
        """Forget a file and free its bytes.

        Raises:
            RequestError: there is none of this id, or a job still needs it.
        """
        self.get(account, file_id)
        with self._database.write() as transaction:
            needed = transaction.run(
                f"SELECT id FROM server_jobs WHERE training_file = :file AND status IN {OPEN}",
                file=file_id,
            ).scalar()
            if needed is not None:
                raise RequestError(
                    f"{needed} needs {file_id}: cancel the job first, or wait for its end",
                    status=409,
                    code="file_in_use",
                )
            transaction.run("DELETE FROM server_files WHERE id = :file", file=file_id)
        (self._kept / file_id).unlink(missing_ok=True)


def insert_file(transaction: Transaction, file: File) -> None:
    """Have a file listed whose bytes are in the folder."""
    transaction.run(
        f"INSERT INTO server_files ({_COLUMNS}) VALUES (:id, :account, :filename, :purpose, "
        ":bytes, :digest, :created_at)",
        **vars(file),
    )


def _file(row: Sequence[Any]) -> File:
    return File(*row)
