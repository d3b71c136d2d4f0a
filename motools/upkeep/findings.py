"""What is wrong with a cache, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from motools.digest import SHORT


class Damage(StrEnum):
    """What kind of thing is wrong."""

    RECORD = "record"
    """The row of an entry is not what was committed."""
    DOCUMENT = "document"
    """The durable copy of an entry's rows is missing, damaged or says something else."""
    LINKS = "links"
    """The tables do not say that an entry needs a blob, so a prune would take it."""
    JOURNAL = "journal"
    """The durable copy of what is known of paid jobs is damaged, and may have had more than
    the tables do."""
    ATTEMPTS = "attempts"
    """The durable copy of what is known of paid jobs lacks some that the tables have."""
    MISSING = "missing"
    """A blob is not there."""
    ALTERED = "altered"
    """A blob was there with other bytes; they are in ``quarantine/`` now, but in a dry run."""
    UNREADABLE = "unreadable"
    """The disk does not give a blob's bytes."""


REMEDY: Final = {
    Damage.RECORD: "motools cache reindex",
    Damage.DOCUMENT: "motools cache repair",
    Damage.LINKS: "motools cache repair",
    Damage.JOURNAL: (
        "hold motools jobs show KEY --status against what the provider lists for it, remove that "
        "file, then motools cache repair; a job that was not shown: motools jobs adopt KEY JOB_ID"
    ),
    Damage.ATTEMPTS: "motools cache repair",
    Damage.MISSING: "motools cache repair",
    Damage.ALTERED: "motools cache repair",
    Damage.UNREADABLE: "check the disk, then motools cache verify --read-data",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one entry, or with the paid jobs of a key.

    Attributes:
        key: of the entry, or of the jobs.
        generation: which of its results.
        kind: of the entry.
        damage: what kind of thing is wrong.
        reason: what exactly.
        file: the path in the entry whose bytes are meant; None: none of its files.
        digest: of the blob that is meant; None: none.
        remote: the name of the remote that it is in; None: it is here.
    """

    key: str
    generation: int
    kind: str
    damage: Damage
    reason: str
    file: str | None = None
    digest: str | None = None
    remote: str | None = None

    @property
    def remedy(self) -> str:
        """The next command."""
        if self.remote is not None:
            return f"motools cache push --remote {self.remote}, where the entry is whole"
        return REMEDY[self.damage].replace("KEY", self.key[:SHORT])
