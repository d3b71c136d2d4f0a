"""Bundles: entries and all that they need as one file, for a paper or a machine without network.

A bundle is a zip file, stored and not compressed, of what a remote is made of.
"""

from __future__ import annotations

import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from motools.cache import catalogue
from motools.cache.arrival import parse
from motools.cache.cache import Cache
from motools.cache.layout import TMP
from motools.cache.selection import Selection
from motools.cache.store import Store, unavailable
from motools.durable import sync
from motools.errors import CorruptBlobError, CorruptDocumentError, RemoteError
from motools.remotes.fetching import check_blobs
from motools.remotes.layout import TMP as REMOTE_TMP
from motools.remotes.progress import Progress, unseen
from motools.remotes.pulling import Pulled, pull
from motools.remotes.pushing import Pushed, push
from motools.remotes.remote import Remote, found_remote, make_marker, open_store

_DAMAGE: Final = (
    CorruptDocumentError,
    CorruptBlobError,
    # And what the library says of an archive that claims to be encrypted, new, or longer, or
    # whose names are none.
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    ValueError,
    IndexError,
)

_ONLY: Final = {
    "released": "its files were released, so only its record is in it; while they are in the "
    "trash, `motools cache undelete {key}` brings them back",
    "remote": "its files are in a remote, so it is not in it; `motools cache pull {key}` "
    "brings them here",
}

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold: a bundle does not say when it was made."""


def export_bundle(
    cache: Cache, file: Path, selection: Selection | None = None, *, progress: Progress = unseen
) -> Pushed:
    """Write entries, and what they need to be used, into a new file.

    Args:
        cache: whose entries.
        file: the bundle; it appears whole or not at all.
        selection: which entries; None: all.
        progress: is told of bytes that are in it.

    Returns:
        What is in it; ``problems`` says of which entries the files are not.

    Raises:
        RemoteError: the file is there already, or an entry's bytes are not all here.
    """
    if file.exists():
        raise RemoteError(f"{file} is there already: remove it, or choose another name")
    with _scratch(cache) as scratch:
        store = open_store(os.fspath(scratch / "bundle"))
        make_marker(store)
        pushed = push(cache, _remote(cache, store, scratch, file), selection, progress=progress)
        for key, why in pushed.problems.items():
            raise RemoteError(f"{key[:12]} cannot be exported, so nothing was: {why}")
        with unavailable(f"cannot write {file}"):
            _zip(scratch / "bundle", file)
    return replace(pushed, problems=_without_files(cache, selection or Selection()))


def import_bundle(
    cache: Cache, file: Path, *, dry_run: bool = False, progress: Progress = unseen
) -> Pulled:
    """Take over all entries of a bundle, or none.

    All of it is checked first: documents against their keys, bytes against their
    digests. An entry of which another result is kept here is reported as
    diverged, and the one here stays. Bytes that were given up here come back; what
    is in the trash here stays there, and is named.

    Args:
        cache: where they go.
        file: the bundle.
        dry_run: only check it, and say what would come.
        progress: is told of bytes that arrived.

    Raises:
        RemoteError: the file is no bundle, or damaged, or nobody who is trusted vouches for
            what is in it; nothing was changed.
    """
    if not file.is_file():
        raise RemoteError(f"there is no file {file}: nothing was imported")
    with _scratch(cache) as scratch:
        try:
            _unzip(file, scratch / "bundle")
            store = open_store(os.fspath(scratch / "bundle"))
            remote = _remote(cache, store, scratch, file)
            _check(remote)
        except _DAMAGE as problem:
            raise RemoteError(
                f"{file} is no bundle, or damaged; nothing was imported: {problem}"
            ) from problem
        pulled = pull(cache, remote, whole=True, dry_run=dry_run, progress=progress)
    for key, why in pulled.problems.items():
        raise RemoteError(f"nothing was imported, for {key[:12]} cannot be: {why}")
    return pulled


def _without_files(cache: Cache, selection: Selection) -> dict[str, str]:
    """Of entries whose files are not here, what of them is in a bundle, and what to do."""
    return {
        entry.key: _ONLY[entry.state].format(key=entry.key[:12])
        for entry in catalogue.select(cache, selection)
        if entry.state in _ONLY and entry.file_rows
    }


def _check(remote: Remote) -> None:
    """Refuse what is not whole.

    Raises:
        CorruptDocumentError: a document is not the entry that it is named after.
        CorruptBlobError: bytes are not what the index says, or are not there.
    """
    for key, document in remote.index.documents(remote.index.keys()):
        parse(document, key)
    check_blobs(remote, remote.index.needed())


def _remote(cache: Cache, store: Store, scratch: Path, file: Path) -> Remote:
    return found_remote(cache, file.name, store, os.fspath(file), directory=scratch)


@contextmanager
def _scratch(cache: Cache) -> Iterator[Path]:
    path = cache.root / TMP / uuid.uuid4().hex
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _unzip(file: Path, folder: Path) -> None:
    with unavailable(f"cannot read {file}"), zipfile.ZipFile(file) as bundle:
        parts = bundle.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or (
            sum(part.file_size for part in parts) > file.stat().st_size
        ):
            raise zipfile.BadZipFile("its parts are more than it holds")
        bundle.extractall(folder)  # which keeps every name inside the folder


def _zip(folder: Path, file: Path) -> None:
    """Like every file of the cache: whole and durable, or not there."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_STORED) as bundle:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                name = path.relative_to(folder).as_posix()
                if name.startswith(f"{REMOTE_TMP}/"):
                    continue
                with (
                    path.open("rb") as source,
                    bundle.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as target,
                ):
                    shutil.copyfileobj(source, target, 8 << 20)
        sync(temporary)
        temporary.replace(file)
        sync(file.absolute().parent)
    finally:
        temporary.unlink(missing_ok=True)
