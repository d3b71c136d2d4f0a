"""Where things are inside a remote.

::

    <url>/
    ├── motools-remote.json     the remote's id, format version
    ├── packs/ab/cdef…          small blobs one after another, named by the digest of the whole
    ├── blobs/ab/cdef…          a large blob on its own, as it is
    ├── index/abcdef….zst       segments: what packs hold, and the entries that need them
    ├── doomed/….json           what a prune will delete once nobody can rely on it any more
    ├── doomed/….done.json      that it has
    └── tmp/                    what is being written, on file systems

Nothing is ever changed under its name. Blobs MUST be durable before the segment
that names them is published: whoever reads a segment can have all that it names.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

FORMAT: Final = 1
"""Version of the layout above; a remote with a higher one is refused."""

MARKER: Final = "motools-remote.json"
PACKS: Final = "packs"
BLOBS: Final = "blobs"
INDEX: Final = "index"
DOOMED: Final = "doomed"
TMP: Final = "tmp"

LARGE: Final = 4 << 20
"""Blobs from this size on are objects of their own."""

PACK: Final = 16 << 20
"""Bytes of blobs that go into one pack, at most."""


def pack_name(digest: str) -> str:
    """Where a pack is."""
    return f"{PACKS}/{digest[:2]}/{digest[2:]}"


def blob_name(digest: str) -> str:
    """Where a large blob is."""
    return f"{BLOBS}/{digest[:2]}/{digest[2:]}"


def segment_name(digest: str) -> str:
    """Where a segment of the index is."""
    return f"{INDEX}/{digest}.zst"


def another_name(name: str) -> str:
    """Another place for the bytes of a pack or a large blob."""
    return f"{name}~{uuid.uuid4().hex[:8]}"


def holds_blobs(name: str) -> bool:
    """Whether a remote makes packs or large blobs of such a name."""
    return _HOLDS_BLOBS.fullmatch(name) is not None


def is_object(name: str) -> bool:
    """Whether a remote makes objects of such a name: packs, large blobs and segments.

    Whoever may write to a remote can put any text where a name is expected. Nothing
    else MUST be read or deleted because a remote says so.
    """
    return holds_blobs(name) or _SEGMENT.fullmatch(name) is not None


_HOLDS_BLOBS: Final = re.compile(
    rf"({PACKS}|{BLOBS})/[0-9a-f]{{2}}/[0-9a-f]{{62}}(~[0-9a-f]{{8}})?"
)
_SEGMENT: Final = re.compile(rf"{INDEX}/[0-9a-f]{{64}}\.zst")
