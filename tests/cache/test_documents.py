"""Documents: what rows they cannot be made of keeps nobody from the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from motools.cache import Cache
from motools.cache.document import entry_document
from motools.cache.layout import entry_name
from motools.cache.reindex import reindex
from motools.cache.removal import execute, plan
from motools.errors import CorruptDocumentError
from motools.upkeep.verify import verify
from tests.cache.conftest import Runs, action, lose_the_database

OpenCache = Callable[..., Cache]


def test_a_damaged_row_is_named_and_stops_nobody(
    open_cache: OpenCache, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache()
    bad, good = cache.get_or_run(action(1), runs), cache.get_or_run(action(2), runs)
    cache.store.remove(entry_name(good.key))
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET duration = 9e999 WHERE key = :key", key=bad.key)
        for key in (bad.key, good.key):
            transaction.run("INSERT INTO outbox (name) VALUES (:name)", name=key)
    assert cache.documents.flush() == 1
    assert cache.store.size(entry_name(good.key)), "what is behind it is written"
    assert f"the record of {bad.key[:12]} is damaged" in caplog.text
    assert "motools cache reindex" in caplog.text
    caplog.clear()
    made = cache.get_or_run(action(3), runs)
    assert "damaged" not in caplog.text, "once is enough"
    cache.close()

    again = open_cache()
    assert bad.key[:12] in caplog.text
    assert {entry.key for entry in again.entries()} == {bad.key, good.key, made.key}
    with pytest.raises(CorruptDocumentError, match="motools cache reindex"):
        entry_document([again.entry(bad.key).row])
    execute(again, plan(again, [again.entry(bad.key)]))
    assert {entry.key for entry in again.entries()} == {good.key, made.key}


def test_what_a_damaged_row_was_is_in_its_document(open_cache: OpenCache, runs: Runs) -> None:
    cache = open_cache()
    entry = cache.get_or_run(action(1), runs)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET duration = 9e999")
    [found] = verify(cache).findings
    assert (found.damage, found.remedy) == ("record", "motools cache reindex")
    cache.close()
    assert reindex(cache.root).problems == ()
    again = open_cache()
    assert again.entry(entry.key).duration == entry.duration
    assert verify(again).findings == ()


def test_a_document_that_is_none_is_named_when_reindexing(
    open_cache: OpenCache, runs: Runs
) -> None:
    cache = open_cache()
    bad, good = cache.get_or_run(action(1), runs), cache.get_or_run(action(2), runs)
    cache.store.publish_bytes(entry_name(bad.key), b"[" * 100_000)
    cache.close()
    lose_the_database(cache.root)
    [problem] = reindex(cache.root).problems
    assert problem.name == entry_name(bad.key)
    assert [entry.key for entry in open_cache().entries()] == [good.key]


def test_what_a_file_manager_put_there_is_no_document(open_cache: OpenCache, runs: Runs) -> None:
    cache = open_cache()
    entry = cache.get_or_run(action(1), runs)
    for folder in ("entries", "journal", "marks"):
        cache.store.publish_bytes(f"{folder}/ab/.DS_Store", b"a view")
    cache.close()
    lose_the_database(cache.root)
    assert reindex(cache.root).problems == ()
    again = open_cache()
    assert [each.key for each in again.entries()] == [entry.key]
    assert verify(again).findings == ()
