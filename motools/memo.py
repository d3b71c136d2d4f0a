"""Memos: facts that are cheap to forget, and what tells that a file is as it was.

A memo says that a subject had a value while its signature was this one: the
digest of a file while its status was so, the identity of an evaluation while
its files were so. Wrong signature, no memo, and the fact is found out again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Protocol

from motools.digest import Digest, hash_file

SETTLED_NS: Final = 20_000_000
"""A file changed this recently may change again without changing its times."""


class Memo(Protocol):
    """Where facts are kept that are cheap to forget."""

    def recall(self, namespace: str, subject: str, signature: str) -> Any:
        """The value recorded under this signature, or None."""

    def record(self, namespace: str, subject: str, signature: str, value: Any) -> None:
        """Remember one fact."""

    def digest_file(self, path: Path) -> Digest:
        """The digest of a file, read only if it changed since it was last hashed."""


class Forgetful:
    """A memo that remembers nothing."""

    def recall(self, namespace: str, subject: str, signature: str) -> Any:  # noqa: ARG002
        """None."""
        return None

    def record(self, namespace: str, subject: str, signature: str, value: Any) -> None:
        """Forget it."""

    def digest_file(self, path: Path) -> Digest:
        """The digest of a file, which is read."""
        return hash_file(path)


def signature(status: os.stat_result) -> str:
    """What changes when a file does: size, mtime, ctime and inode."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether a file's times are old enough to tell the next change from the last one."""
    return max(status.st_mtime_ns, status.st_ctime_ns) < now_ns - SETTLED_NS
