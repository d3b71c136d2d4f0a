"""Where things are inside a cache.

::

    .motools/
    ├── motools.json            cache id, format version
    ├── cache.db                coordinator: entries, blobs, jobs, leases, statistics
    ├── objects/ab/cdef…        blobs, read-only, named by digest
    ├── entries/ab/cdef….json   one document per key, all generations inside
    ├── journal/ab/cdef….json   one document per key with paid jobs, all attempts inside
    ├── marks/ab/cdef….json     one document per key with pins, tags, notes
    ├── texts/ab/cdef….json     what a digest in a key was made of, for explaining
    ├── evals/*.eval            copies of Inspect logs
    ├── jobs/<key>/             a running job: its lock, action, files/ and scratch/
    ├── tmp/                    what is being written
    ├── trash/                  what was cleared, until the grace period has passed
    └── quarantine/             bytes that were not what their name says
"""

from __future__ import annotations

from typing import Final

FORMAT: Final = 1
"""Version of the layout above; a cache with a higher one is refused."""

SCHEMA: Final = 4
"""Version of the tables in ``cache.db``; older ones are brought up, newer ones refused."""

MARKER: Final = "motools.json"
DATABASE: Final = "cache.db"
OBJECTS: Final = "objects"
ENTRIES: Final = "entries"
JOURNAL: Final = "journal"
MARKS: Final = "marks"
TEXTS: Final = "texts"
EVALS: Final = "evals"
JOBS: Final = "jobs"
TMP: Final = "tmp"
TRASH: Final = "trash"
QUARANTINE: Final = "quarantine"

BLOB_FOLDERS: Final = (OBJECTS, f"{TRASH}/{OBJECTS}", QUARANTINE)
"""Where blobs are, of which some are large."""


def blob_name(digest: str) -> str:
    """Where a blob is."""
    return f"{OBJECTS}/{digest[:2]}/{digest[2:]}"


def entry_name(key: str) -> str:
    """Where the document of an entry is."""
    return f"{ENTRIES}/{key[:2]}/{key[2:]}.json"


def journal_name(key: str) -> str:
    """Where the document of a key's paid jobs is."""
    return f"{JOURNAL}/{key[:2]}/{key[2:]}.json"


def marks_name(key: str) -> str:
    """Where the document of a key's marks is."""
    return f"{MARKS}/{key[:2]}/{key[2:]}.json"


def text_name(digest: str) -> str:
    """Where the text behind a digest is."""
    return f"{TEXTS}/{digest[:2]}/{digest[2:]}.json"


def trashed(name: str) -> str:
    """Where something of this name is while it can still be undeleted."""
    return f"{TRASH}/{name}"


def quarantined(digest: str) -> str:
    """Where bytes are that were found under a digest and are not its own."""
    return f"{QUARANTINE}/{digest}"


def key_in(name: str) -> str:
    """The key or digest that a name was made from."""
    parts = name.rsplit("/", 2)
    return parts[-2] + parts[-1].removesuffix(".json")
