"""Bundles: one file with all that some entries need, taken over whole or not at all."""

from __future__ import annotations

import itertools
import random
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from motools.cache import Cache, removal, trash
from motools.cache.layout import OBJECTS
from motools.cache.marks import NOTE
from motools.cache.rejection import reject
from motools.cache.selection import Selection
from motools.cache.trust import make_signer
from motools.errors import CacheError, RemoteError
from motools.remotes import export_bundle, import_bundle
from motools.remotes.layout import LARGE
from motools.settings import Settings
from motools.upkeep.verify import verify
from tests import s3
from tests.cache.conftest import action

from .conftest import Opened, commit, contents
from .test_killed import check_rejected, kills, place
from .test_killed import opened as open_at

assert place  # a fixture


def filled(cache: Cache) -> None:
    noise = random.Random(9)
    commit(cache, 1, {"x": noise.randbytes(5_000), "text": b"text " * 900, "empty": b""})
    commit(cache, 2, {"large": noise.randbytes(LARGE + 7)})
    commit(cache, 3)


def test_a_bundle_holds_all_that_is_needed(opened: Opened, tmp_path: Path) -> None:
    a, b, file = opened("a"), opened("b"), tmp_path / "paper.motools"
    filled(a)
    assert len(export_bundle(a, file).entries) == 3
    assert import_bundle(b, file, dry_run=True).entries
    assert b.entries() == []
    assert len(import_bundle(b, file).entries) == 3
    assert contents(b) == contents(a)
    assert import_bundle(b, file).entries == ()
    with pytest.raises(RemoteError, match="there already"):
        export_bundle(a, file)


def test_it_goes_into_a_cache_whose_bytes_are_in_a_bucket(
    opened: Opened, bucket: s3.Bucket, tmp_path: Path
) -> None:
    a, file = opened("a"), tmp_path / "paper.motools"
    filled(a)
    export_bundle(a, file)
    b = Cache.open(tmp_path / "far", settings=Settings(store=f"{bucket.url}/cache"))
    assert import_bundle(b, file).blobs == 5
    assert contents(b) == contents(a)
    b.close()


def test_only_what_was_chosen_is_in_it(opened: Opened, tmp_path: Path) -> None:
    a, b, file = opened("a"), opened("b"), tmp_path / "paper.motools"
    filled(a)
    chosen = commit(a, 3)
    export_bundle(a, file, Selection(keys=frozenset([chosen.key])))
    assert file.stat().st_size < 4_000
    assert import_bundle(b, file).entries == (chosen.key,)


def test_a_refused_bundle_changes_nothing(opened: Opened, tmp_path: Path) -> None:
    a, file = opened("a"), tmp_path / "paper.motools"
    entry = commit(a, 1)
    commit(a, 2)
    a.marks.set(entry.key, NOTE, "theirs")
    export_bundle(a, file)
    trusted = {"alice": make_signer(tmp_path / "alice.pem").public}
    b = Cache.open(tmp_path / "b", settings=Settings(trusted_keys=trusted))
    commit(b, 1)
    before = set(b.store.names(OBJECTS))
    for dry_run in (True, False):
        with pytest.raises(RemoteError, match="nothing was imported"):
            import_bundle(b, file, dry_run=dry_run)
        assert (b.marks.of(entry.key), set(b.store.names(OBJECTS))) == ({}, before)
    b.close()


def test_bytes_that_were_given_up_come_back(opened: Opened, tmp_path: Path) -> None:
    a, file = opened("a"), tmp_path / "paper.motools"
    entry = commit(a, 1)
    every = contents(a)
    export_bundle(a, file)
    for purged in (False, True):
        removal.execute(a, removal.plan(a, [entry], release=True))
        if purged:
            trash.purge(a, before=4e9)
        for dry_run in (True, False):
            assert import_bundle(a, file, dry_run=dry_run).entries == (entry.key,)
        assert contents(a) == every
        assert a.entry(entry.key).row[15] is None, "it is not half in the trash"
        assert not verify(a, read_data=True).findings
    removal.execute(a, removal.plan(a, [entry], files=True))
    for dry_run in (True, False):
        pulled = import_bundle(a, file, dry_run=dry_run)
        assert (pulled.entries, pulled.cleared) == ((), (entry.key,))


def test_a_damaged_bundle_changes_nothing(opened: Opened, tmp_path: Path) -> None:
    """Wherever a bit is flipped, or the file cut short."""
    a, b, file = opened("a"), opened("b"), tmp_path / "paper.motools"
    commit(a, 1), commit(a, 2)
    export_bundle(a, file)
    whole, every = file.read_bytes(), contents(a)
    for at in range(0, len(whole), 37):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            import_bundle(b, file)
        except CacheError:
            assert b.entries() == []
        else:  # it was in what nobody reads, such as the time of a file in the zip
            assert contents(b) == every
            b = opened(f"after-{at}")
    file.write_bytes(whole[:-100])
    with pytest.raises(RemoteError):
        import_bundle(b, file)


def test_whatever_is_wrong_with_its_directory_is_damage(opened: Opened, tmp_path: Path) -> None:
    a, b, file = opened("a"), opened("b"), tmp_path / "paper.motools"
    commit(a, 1)
    export_bundle(a, file)
    whole = file.read_bytes()
    for at, bit in itertools.product(range(len(whole) - 300, len(whole)), (0x01, 0x80)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        with suppress(CacheError):
            import_bundle(b, file, dry_run=True)
    assert b.entries() == []


def no_text(part: bytes) -> bytes:
    return part[:9] + b"\x08" + part[10:46] + b"\xa7" + part[47:]  # and it says that it is UTF-8


def no_name(part: bytes) -> bytes:
    return part[:46] + b"\x00" + part[47:]


@pytest.mark.parametrize("change", [no_text, no_name])
def test_names_that_are_none_are_damage(
    opened: Opened, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "paper.motools"
    commit(opened("a"), 1)
    export_bundle(opened("a"), file)
    before, start, after = file.read_bytes().partition(b"PK\x01\x02")
    file.write_bytes(before + change(start + after))
    with pytest.raises(RemoteError, match="no bundle, or damaged"):
        import_bundle(opened("b"), file)


def test_a_bundle_without_a_blob_is_refused(opened: Opened, tmp_path: Path) -> None:
    a, b, file = opened("a"), opened("b"), tmp_path / "whole.motools"
    filled(a)
    export_bundle(a, file)
    less = tmp_path / "less.motools"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(less, "w") as target:
        for name in source.namelist():
            if not name.startswith("blobs/"):
                target.writestr(name, source.read(name))
    with pytest.raises(RemoteError, match="nothing was imported"):
        import_bundle(b, less)
    assert b.entries() == []


def test_an_import_killed_at_every_step(place: Path) -> None:
    a, file, root = open_at(place / "a"), place / "bundle", place / "b"
    for n in range(2):
        commit(a, n)
    every = contents(a)
    reject(a, [a.entry(action(0).key)], "wrong")
    export_bundle(a, file)
    open_at(place / "empty").close()

    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(place / "empty", root)

    for _ in kills(lambda: import_bundle(open_at(root), file) and None, prepare):
        b = open_at(root)
        assert contents(b) in ({}, every)
        check_rejected(b)
        import_bundle(b, file)
        assert contents(b) == every
        b.close()
