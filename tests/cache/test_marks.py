"""Marks: what people say of a key stays said, in the tables and in documents."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from motools.cache import Cache, layout
from motools.cache.marks import NOTE, PIN, TAG, arrive
from motools.cache.reindex import reindex
from tests.cache.conftest import Runs, action, lose_the_database

pytestmark = pytest.mark.parametrize("coordinator", ["sqlite", "postgresql"], indirect=True)

KEY, OTHER = action(1).key, action(2).key


def document(root: Path, key: str) -> Path:
    return root / layout.marks_name(key)


def test_marks_are_set_replaced_and_dropped(cache: Cache) -> None:
    marks = cache.marks
    marks.set(KEY, NOTE, "first")
    marks.set(KEY, NOTE, "second")
    assert marks.set_many([KEY, OTHER], PIN) == 2
    assert marks.set_many([KEY, OTHER], PIN) == 0
    assert marks.of(KEY) == {NOTE: "second", PIN: ""}
    assert marks.keys(PIN) == {KEY, OTHER}
    assert marks.of_many([KEY, OTHER, action(3).key]) == {
        KEY: {NOTE: "second", PIN: ""},
        OTHER: {PIN: ""},
    }
    assert marks.drop(OTHER, PIN)
    assert not marks.drop(OTHER, PIN)
    assert marks.keys(PIN) == {KEY}


def test_a_document_follows_every_change(cache: Cache, root: Path) -> None:
    cache.marks.set(KEY, TAG + "paper", "")
    cache.marks.set(KEY, NOTE, "caf\u00e9")
    written = json.loads(document(root, KEY).read_text())
    assert {mark["name"]: mark["value"] for mark in written["marks"]} == cache.marks.of(KEY)
    cache.marks.drop(KEY, NOTE)
    cache.marks.drop(KEY, TAG + "paper")
    written = json.loads(document(root, KEY).read_text())
    assert written["marks"] == []
    assert {mark["name"] for mark in written["taken_off"]} == {NOTE, TAG + "paper"}


def test_marks_outlive_the_database(cache: Cache, root: Path, runs: Runs) -> None:
    cache.get_or_run(action(1), runs)
    cache.marks.set(KEY, PIN)
    cache.marks.set(OTHER, NOTE, "of a key without an entry")
    lose_the_database(root)
    found = Cache.open(root).marks
    assert found.of(KEY) == {PIN: ""}
    assert found.of(OTHER) == {NOTE: "of a key without an entry"}


def test_reindexing_brings_nothing_back_that_was_dropped(cache: Cache, root: Path) -> None:
    cache.marks.set(KEY, PIN)
    cache.marks.set(OTHER, NOTE, "new")
    old = document(root, KEY).read_bytes()
    cache.marks.drop(KEY, PIN)
    # As a process leaves it that dies after its commit and before it wrote the document.
    with cache.database.write() as transaction:
        transaction.run("INSERT INTO outbox (name) VALUES (:n)", n=layout.marks_name(KEY))
    document(root, KEY).write_bytes(old)
    damaged = document(root, "ff" * 32)
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(document(root, OTHER).read_bytes())
    found = reindex(root, settings=cache.settings)
    assert (found.marks, [problem.name for problem in found.problems]) == (
        0,
        [layout.marks_name("ff" * 32)],
    )
    assert cache.marks.of(KEY) == {}
    assert json.loads(document(root, KEY).read_text())["marks"] == []


def test_what_was_said_last_counts_by_whatever_clock(cache: Cache, root: Path) -> None:
    ahead = time.time() + 86_400
    with cache.database.write() as transaction:
        assert arrive(transaction, KEY, NOTE, "of a clock that is fast", ahead)
        assert not arrive(transaction, KEY, NOTE, "before it", ahead - 1)
    cache.marks.set(KEY, NOTE, "mine")
    assert cache.marks.of(KEY) == {NOTE: "mine"}
    assert cache.marks.drop(KEY, NOTE)
    with cache.database.write() as transaction:
        assert not arrive(transaction, KEY, NOTE, "before it", ahead)
    lose_the_database(root)
    found = Cache.open(root)
    with found.database.write() as transaction:
        assert not arrive(transaction, KEY, NOTE, "before it", ahead), "it is known to be taken off"
        assert arrive(transaction, KEY, NOTE, "later", ahead + 1)
    found.marks.set(KEY, PIN)
    assert Cache.open(root).marks.of(KEY) == {NOTE: "later", PIN: ""}


def test_a_refresh_keeps_marks(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(action(1), runs)
    cache.marks.set(KEY, PIN)
    assert cache.get_or_run(action(1), runs, refresh=True).generation == 2
    assert cache.marks.of(KEY) == {PIN: ""}
