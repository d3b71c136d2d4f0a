"""The memos of a cache, in its database; what a memo is: :mod:`motools.memo`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from motools.cache.database import Database
from motools.digest import Digest, hash_bytes, hash_file
from motools.errors import CacheUnavailableError
from motools.memo import settled, signature

FILES: Final = "blake3"
BATCH: Final = 500
_LONGEST: Final = 2_000

_RECORD: Final = (
    "INSERT INTO memos (namespace, subject, signature, value) "
    "VALUES (:namespace, :subject, :signature, :value) ON CONFLICT (namespace, subject) "
    "DO UPDATE SET signature = excluded.signature, value = excluded.value"
)


class Memos:
    """The memos of one cache.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._scope = database.scope

    def recall(self, namespace: str, subject: str, signature: str) -> Any:
        """The value recorded under this signature, or None."""
        return self.recall_many(namespace, {subject: signature}).get(subject)

    def recall_many(self, namespace: str, signatures: Mapping[str, str]) -> dict[str, Any]:
        """The values of all subjects whose signature is as recorded."""
        found: dict[str, Any] = {}
        wanted = {_text(subject): subject for subject in signatures}
        subjects = list(wanted)
        for start in range(0, len(subjects), BATCH):
            part = subjects[start : start + BATCH]
            marks = ",".join("?" * len(part))
            rows = self._database.read(
                "SELECT subject, signature, value FROM memos "
                f"WHERE namespace = ? AND subject IN ({marks})",
                [self._scope + namespace, *part],
            )
            found.update(
                (wanted[subject], json.loads(value))
                for subject, recorded, value in rows
                if recorded == signatures[wanted[subject]]
            )
        return found

    def record(self, namespace: str, subject: str, signature: str, value: Any) -> None:
        """Remember one fact."""
        self.record_many(namespace, [(subject, signature, value)])

    def record_many(self, namespace: str, facts: Iterable[tuple[str, str, Any]]) -> None:
        """Remember facts: subject, signature, JSON value."""
        rows = [
            {
                "namespace": self._scope + namespace,
                "subject": _text(subject),
                "signature": mark,
                "value": json.dumps(fact),
            }
            for subject, mark, fact in facts
        ]
        if rows:
            with self._database.write() as transaction:
                transaction.run_many(_RECORD, rows)

    def digest_file(self, path: str | os.PathLike[str]) -> Digest:
        """The digest of a file, read only if it changed since it was last hashed."""
        return self.digest_files([Path(path)])[0]

    def digest_files(self, paths: Sequence[Path]) -> list[Digest]:
        """The digests of files, in order; only those that changed are read.

        Raises:
            CacheUnavailableError: a file changed while it was read.
        """
        statuses = {os.path.abspath(path): os.stat(path) for path in paths}
        known = self.recall_many(FILES, {p: signature(s) for p, s in statuses.items()})
        facts: list[tuple[str, str, Any]] = []
        for path, status in statuses.items():
            if path in known:
                continue
            started = time.time_ns()
            known[path] = hash_file(path).hex
            after = os.stat(path)
            if signature(after) != signature(status):
                raise CacheUnavailableError(f"{path} changed while it was read: run it again")
            if settled(after, started):
                facts.append((path, signature(status), known[path]))
        self.record_many(FILES, facts)
        return [Digest(known[p], statuses[p].st_size) for p in map(os.path.abspath, paths)]


def _text(subject: str) -> str:
    """Text for the tables. Paths need not be; should two come to the same, signatures differ."""
    data = subject.encode(errors="backslashreplace")
    # An index of PostgreSQL takes no more than 2,700 bytes.
    return data.decode() if len(data) <= _LONGEST else hash_bytes(data).hex
