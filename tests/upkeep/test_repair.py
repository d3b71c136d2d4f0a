"""Repair: good copies come back; an entry without one is released, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from motools.cache import Cache, removal
from motools.cache.layout import blob_name, entry_name, quarantined, trashed
from motools.cache.undelete import undelete
from motools.errors import ReleasedError
from motools.upkeep import repair
from motools.upkeep.repair import Repaired
from motools.upkeep.verify import verify
from tests.cache.steps import in_child
from tests.filled import SHARED, Filled
from tests.s3 import EVERYWHERE

from .conftest import alter
from .test_verify import for_good


class Folder:
    """A source: copies in a folder, some of which are bad."""

    name = "folder"

    def __init__(self, place: Path) -> None:
        self.place = place

    def has(self, digests: list[str]) -> set[str]:
        return set(digests) & set(os.listdir(self.place))

    def fetch(self, digest: str, target: Path) -> bool:
        if not (self.place / digest).exists():
            return False
        target.write_bytes((self.place / digest).read_bytes())
        return True


def blob(filled: Filled, name: str) -> tuple[str, Path]:
    digest = {path: digest for path, digest, *_ in filled.models[0].file_rows}[name]
    return digest, filled.root / blob_name(digest)


def repaired(cache: Cache, *sources: Folder) -> Repaired:
    return repair.execute(cache, repair.plan(cache, verify(cache).findings, sources), sources)


def test_a_copy_that_is_right_after_all_comes_back(cache: Cache, filled: Filled) -> None:
    for name, place in (("tokenizer.json", quarantined), ("weights.safetensors", None)):
        digest, path = blob(filled, name)
        target = filled.root / (place(digest) if place else trashed(blob_name(digest)))
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    plan = repair.plan(cache, verify(cache).findings)
    assert {copy.origin for copy in plan.copies} == {"quarantine", "trash"}
    assert plan.released == ()
    assert not blob(filled, "tokenizer.json")[1].exists()  # a plan changes nothing
    assert repair.execute(cache, plan).copies == 2
    assert verify(cache, read_data=True).findings == ()


@EVERYWHERE
def test_what_has_no_copy_is_released_and_stays_a_hit(cache: Cache, filled: Filled) -> None:
    [entry] = [cache.entry(filled.models[1].key)]
    digest = {path: digest for path, digest, *_ in entry.file_rows}["weights.safetensors"]
    cache.store.remove(blob_name(digest))
    plan = repair.plan(cache, verify(cache).findings)
    assert [each.key for each in plan.released] == [entry.key]
    assert plan.cost_to_remake == 1.25
    assert plan.seconds_to_remake == entry.duration
    assert repair.execute(cache, plan).released == 1
    hit = cache.index.get(entry.key)
    assert hit is not None
    assert hit.value == entry.value
    with pytest.raises(ReleasedError):
        hit.file("weights.safetensors")
    assert cache.entry(filled.models[0].key).file("tokenizer.json").read_bytes() == SHARED
    assert verify(cache, read_data=True).findings == ()


def test_bytes_that_a_wrong_copy_has_are_not_taken(cache: Cache, filled: Filled) -> None:
    digest, path = blob(filled, "weights.safetensors")
    alter(path, lambda data: data[:-1] + b"!")
    verify(cache, read_data=True)
    assert (filled.root / quarantined(digest)).exists()
    plan = repair.plan(cache, verify(cache).findings)
    assert plan.copies == ()
    assert [entry.key for entry in plan.released] == [filled.models[0].key]


def test_a_source_gives_copies_and_its_lies_are_not_taken(
    cache: Cache, filled: Filled, tmp_path: Path
) -> None:
    source = Folder(tmp_path / "source")
    source.place.mkdir()
    good, bad = blob(filled, "tokenizer.json"), blob(filled, "weights.safetensors")
    (source.place / good[0]).write_bytes(good[1].read_bytes())
    (source.place / bad[0]).write_bytes(b"something else")
    good[1].unlink()
    bad[1].unlink()
    done = repaired(cache, source)
    assert (done.copies, done.released, done.failed) == (1, 0, (bad[0],))
    findings = verify(cache, read_data=True).findings  # it was not in the plan to release it
    assert {finding.digest for finding in findings} == {bad[0]}


def test_records_are_made_again(cache: Cache, filled: Filled) -> None:
    tree = filled.models[0].tree
    assert tree is not None
    (filled.root / blob_name(tree)).unlink()
    (filled.root / entry_name(filled.models[1].key)).unlink()
    with cache.database.write() as transaction:
        transaction.run("DELETE FROM entry_blobs WHERE key = :key", key=filled.evals[0].key)
    done = repaired(cache)
    assert (done.copies, done.records, done.released) == (1, 2, 0)
    assert verify(cache, read_data=True).findings == ()


@EVERYWHERE
def test_what_was_released_can_be_cleared_and_undeleted(cache: Cache, filled: Filled) -> None:
    entry = filled.models[1]
    digest = {path: digest for path, digest, *_ in entry.file_rows}["weights.safetensors"]
    cache.store.remove(blob_name(digest))
    assert repaired(cache).released == 1
    plan = removal.plan(cache, [entry], files=True)
    assert plan.bytes_freed == 0, "what is left of it is a leftover, and counted there"
    removal.execute(cache, plan)
    undelete(cache, [entry.key])
    assert cache.entry(entry.key).state == "released"
    assert verify(cache, read_data=True).findings == ()


def test_records_of_a_released_entry_are_made_again_without_its_files(
    cache: Cache, filled: Filled
) -> None:
    """Or else clearing and undeleting it would make an entry without bytes."""
    entry = filled.models[0]
    for_good(cache, entry)
    (filled.root / entry_name(entry.key)).unlink()
    assert repaired(cache).records == 1
    removal.execute(cache, removal.plan(cache, [entry], files=True))
    undelete(cache, [entry.key])
    assert cache.entry(entry.key).state == "released"


def test_what_came_back_meanwhile_is_not_released(cache: Cache, filled: Filled) -> None:
    path = blob(filled, "weights.safetensors")[1]
    data = path.read_bytes()
    path.unlink()
    plan = repair.plan(cache, verify(cache).findings)
    path.write_bytes(data)
    assert repair.execute(cache, plan).released == 0
    assert cache.entry(filled.models[0].key).state == "live"


def damage(filled: Filled) -> None:
    """One blob altered, one in quarantine though it is right, one lost; a document lost."""
    alter(blob(filled, "weights.safetensors")[1], lambda data: data[:-1])
    digest, path = blob(filled, "tokenizer.json")
    path.rename(filled.root / quarantined(digest))
    (filled.root / blob_name(filled.datasets[0].file_rows[0][1])).unlink()
    (filled.root / entry_name(filled.evals[0].key)).unlink()


def test_killed_at_every_step(
    tmp_path: Path, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verify with its quarantine and then repair: wherever both die, doing them again completes."""
    import shutil

    import motools.cache.schema

    assert motools.cache.schema  # before any fork, or else each child takes a second for it
    damage(filled)

    def work(_at: Callable[[str], None]) -> None:
        cache = Cache.open(root)
        verify(cache, read_data=True)
        repaired(cache)

    for step in range(1, 200):
        root = tmp_path / "copy" / str(step)
        shutil.copytree(filled.root, root)
        died = in_child(work, die_at=step)
        cache = Cache.open(root)
        repaired(cache)
        assert verify(cache, read_data=True).findings == (), step
        states = {entry.key: entry.state for entry in cache.entries()}
        assert len(states) == 8
        gone = {key for key, state in states.items() if state == "released"}
        assert gone == {filled.models[0].key, filled.datasets[0].key}, step
        cache.database.close()
        shutil.rmtree(root)
        if died == 0:
            assert step > 20
            return
    raise AssertionError("it never came to its end")
