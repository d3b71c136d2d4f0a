"""What arrives from a store over a network, where bytes are altered on the way as well."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from motools.cache.landing import land
from motools.cache.layout import TMP, blob_name
from motools.cache.staging import private
from motools.cache.store import Store, unavailable
from motools.digest import Digest, hash_private_file
from motools.errors import CacheUnavailableError

FETCHED: Final = "fetched"
"""Folder below ``tmp/`` of copies of blobs."""

_FETCHES: Final = 3


def arrives(wanted: Digest, fetch: Callable[[], Digest]) -> bool:
    """Fetch until the bytes are what their name says; False: they are altered where they are.

    What arrives wrong may be right where it is stored: only the same wrong bytes, twice,
    are an altered blob.

    Args:
        wanted: what the name says.
        fetch: fetches, and returns the digest of what arrived.

    Raises:
        CacheUnavailableError: they arrive altered each time in another way.
    """
    wrong: set[Digest] = set()
    for _ in range(_FETCHES):
        found = fetch()
        if found == wanted:
            return True
        if found in wrong:
            return False
        wrong.add(found)
    raise CacheUnavailableError(
        f"blob {wanted.hex[:12]} arrived {_FETCHES} times, altered each time in another way: "
        "see what is between here and the store, then run it again"
    )


class Downloads:
    """Copies of a far store's blobs on this machine, hashed whenever one is asked for.

    Args:
        root: the cache's directory on this machine.
        store: the far one.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._store = store

    def path(self, wanted: Digest) -> Path | None:
        """A local file with the bytes of a blob; None: they are altered in the store.

        Raises:
            FileNotFoundError: the store does not have them.
            CacheUnavailableError: they cannot be fetched.
        """
        target = self._root / TMP / FETCHED / wanted.hex
        with unavailable(f"cannot fetch blob {wanted.hex[:12]}"):
            if _is_here(target, wanted):
                return target
            target.parent.mkdir(parents=True, exist_ok=True)
        with private(self._root) as temporary:

            def fetch() -> Digest:
                found = land(self._root, self._store, blob_name(wanted.hex), temporary, wanted)
                if found is None:
                    raise FileNotFoundError
                return found

            if not arrives(wanted, fetch):
                return None
            with unavailable(f"cannot keep blob {wanted.hex[:12]}"):
                temporary.chmod(0o444)
                temporary.replace(target)
        return target

    def digest_at(self, name: str) -> Digest | None:
        """The digest of the bytes under a name of the store; None: not there."""
        with private(self._root) as temporary:
            return land(self._root, self._store, name, temporary, None)


def _is_here(target: Path, wanted: Digest) -> bool:
    """Whether a copy is there and right; it is in use from now on, so that no prune takes it."""
    with contextlib.suppress(FileNotFoundError):  # a prune was quicker
        os.utime(target)
        return hash_private_file(target) == wanted and target.exists()
    return False
