"""The invariants of the design, each by its number.

What takes real processes is in ``test_processes``, what takes any order of
events in ``test_protocol``, paid work in ``test_journal``; invariant 12 (tasks run with
Prefect's ``NO_CACHE``) is in ``tests/tasks``.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache, Claim, RunContext, catalogue, removal, trash
from motools.cache.database import BUSY_SECONDS
from motools.cache.document import compact
from motools.cache.entry import COLUMNS, checksum
from motools.cache.layout import blob_name, entry_name, trashed
from motools.cache.local import LocalStore
from motools.cache.mounts import check_file_system, check_shared
from motools.cache.reindex import reindex
from motools.cache.undelete import undelete
from motools.errors import (
    CacheUnavailableError,
    CorruptBlobError,
    CorruptDatabaseError,
    CorruptDocumentError,
    LeaseLostError,
    MissingBlobError,
    ReleasedError,
    RemovalError,
    ResultError,
)
from motools.steps.train import model_digest
from tests.cache.conftest import Runs, action, lose_the_database
from tests.cache.hosts import second_host
from tests.cache.steps import in_child, watched
from tests.postgresql import BOTH
from tests.s3 import EVERYWHERE

ACTION = action()
OpenCache = Callable[..., Cache]


def write(content: str) -> Callable[[RunContext], Any]:
    def run(context: RunContext) -> Any:
        (context.directory / "file").write_text(content)
        return content

    return run


def everything_in(root: Path) -> list[str]:
    found = (
        path for name in ("objects", "entries", "jobs", "tmp") for path in (root / name).rglob("*")
    )
    return [path.name for path in found if path.is_file() and path.name != "in-use.lock"]


# 1. Commit order: blobs durable, row, document.


@EVERYWHERE
def test_1_blobs_then_row_then_document(cache: Cache, runs: Runs) -> None:
    steps: list[str] = []
    with watched(steps.append):
        entry = cache.get_or_run(ACTION, runs)
    settled = next(n for n, step in enumerate(steps) if step.startswith("after settle"))
    row = next(n for n, step in enumerate(steps) if "'INSERT', 'INTO', 'entries'" in step)
    committed = next(n for n, step in enumerate(steps) if n > row and step == "after COMMIT")
    document = next(n for n, step in enumerate(steps) if f"{entry_name(entry.key)}'" in step)
    assert settled < row < committed < document
    needed = {digest for _, digest, *_ in entry.file_rows} | {entry.tree}
    assert all(blob_name(str(digest)) in steps[settled] for digest in needed)


@EVERYWHERE
def test_1_no_row_without_its_blobs(cache: Cache, runs: Runs) -> None:
    def lose_the_blobs(step: str) -> None:
        if step.startswith("after settle"):
            for name, _ in cache.store.names("objects"):
                cache.store.remove(name)

    with watched(lose_the_blobs), pytest.raises(MissingBlobError, match="has to be run again"):
        cache.get_or_run(ACTION, runs)
    assert cache.look_up([ACTION]) == [None]


def test_1_what_may_be_durable_does_not_give_way_to_what_is_not(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not take a blob of an older entry because a newer run made it again."""
    synced: list[int] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    old = cache.get_or_run(ACTION, write("the same")).files["file"].stat().st_ino
    monkeypatch.setattr(os, "fsync", watch)
    replace = Path.replace

    def check(source: Path, target: Path) -> Path:
        if "objects" in str(target):
            assert source.stat().st_ino in synced
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", check)
    new = cache.get_or_run(action(2), write("the same")).files["file"].stat().st_ino
    assert new != old


@EVERYWHERE
def test_1_what_comes_out_of_the_trash_is_made_durable(cache: Cache) -> None:
    cache.get_or_run(action("old"), write("bytes"))
    steps: list[str] = []

    def clear_it_now(step: str) -> None:
        if step.startswith("after settle") and "cleared" not in steps:
            steps.append("cleared")
            assert in_child(lambda _at: clear_all(cache.root)) == 0
        steps.append(step)

    with watched(clear_it_now):
        entry = cache.get_or_run(ACTION, write("bytes"))
    name = blob_name(entry.file_rows[0][1])
    moved = next(
        n for n, step in enumerate(steps) if step.startswith(f"after move ('{trashed(name)}")
    )
    settled = next(n for n, step in enumerate(steps) if step == f"after settle (['{name}'],)")
    assert moved < settled < steps.index("before COMMIT", moved)


# 2. Publishing is atomic.


@EVERYWHERE
def test_2_a_run_that_raises_leaves_nothing(cache: Cache) -> None:
    def fail(context: RunContext) -> Any:
        (context.directory / "half").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get_or_run(ACTION, fail)
    assert everything_in(cache.root) == []
    assert cache.leases.holder(ACTION.key) is None


def test_2_readers_see_old_or_new(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    store = LocalStore(tmp_path)
    both = [b"a" * 3_000_000, b"b" * 2_000_000]
    store.publish_bytes("folder/name", both[0])
    done = threading.Event()

    def publish() -> None:
        for turn in range(30):
            store.publish_bytes("folder/name", both[turn % 2])
        done.set()

    writer = threading.Thread(target=publish)
    writer.start()
    while not done.is_set():
        assert store.read("folder/name") in both
    writer.join()
    assert everything_in(tmp_path) == []


# 3. Altered bytes are never served.


def alter(path: Path, data: bytes) -> None:
    """Change a blob behind the cache's back, and put its modification time back."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("used_before", [False, True])
def test_3_altered_bytes_are_not_served(cache: Cache, runs: Runs, used_before: bool) -> None:
    entry = cache.get_or_run(ACTION, runs)
    path = cache.root / blob_name(entry.file_rows[1][1])
    if used_before:
        assert entry.files["log.txt"] == path
    alter(path, b"DONE\n")
    found = cache.look_up([ACTION])[0]
    assert found is not None
    with pytest.raises(CorruptBlobError, match="was altered") as caught:
        found.files["log.txt"]
    aside = cache.root / "quarantine" / (path.parent.name + path.name)
    assert aside.read_bytes() == b"DONE\n"
    assert aside.name in str(caught.value)
    with pytest.raises(MissingBlobError, match=r"motools cache clear"):
        cache.look_up([ACTION])


def test_3_a_blob_is_not_trusted_while_a_change_could_go_unnoticed(
    cache: Cache, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of files move in steps; within one, a change of the same size leaves no trace."""
    entry = cache.get_or_run(ACTION, runs)
    changed = (cache.root / blob_name(entry.file_rows[1][1])).stat().st_ctime_ns
    for age, trusted in ((5_000_000, False), (500_000_000, True)):
        monkeypatch.setattr(time, "time_ns", lambda age=age: changed + age)
        assert entry.files["log.txt"].read_text() == "done\n"
        rows = cache.database.read("SELECT 1 FROM blobs WHERE signature IS NOT NULL")
        assert bool(rows) == trusted


def test_3_weights_are_hashed_however_untouched_they_look(
    cache: Cache, runs: Runs, tmp_path: Path
) -> None:
    entry = cache.get_or_run(ACTION, runs)
    path = entry.files["log.txt"]
    alter(path, b"DONE\n")
    with cache.database.write() as transaction:  # as if the file system had shown no change
        from motools.cache.memo import signature

        transaction.run("UPDATE blobs SET signature = :s", s=signature(path.stat()))
    with pytest.raises(CorruptBlobError):
        entry.link(tmp_path / "linked")


def test_3_a_truncated_blob_is_an_error(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    alter(entry.files["log.txt"], b"do")
    with pytest.raises(MissingBlobError, match="missing or cut short"):
        cache.look_up([ACTION])


def test_3_a_run_again_mends_what_was_altered(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    alter(entry.files["log.txt"], b"DONE\n")
    again = cache.get_or_run(ACTION, runs, refresh=True)
    assert again.files["log.txt"].read_bytes() == entry.files["log.txt"].read_bytes() == b"done\n"


def test_3_people_get_copies(cache: Cache, runs: Runs, tmp_path: Path) -> None:
    entry = cache.get_or_run(ACTION, runs)
    mine = entry.checkout(tmp_path / "mine")
    (mine / "log.txt").write_text("mine now")
    assert entry.files["log.txt"].read_text() == "done\n"


def test_3_a_run_cannot_keep_a_hand_on_its_files(cache: Cache, tmp_path: Path) -> None:
    """A file with a second name outside is copied, and the outside one left as it is."""
    outside = tmp_path / "outside"
    outside.write_text("original")
    entry = cache.get_or_run(ACTION, lambda c: os.link(outside, c.directory / "file"))
    outside.write_text("altered!")
    assert entry.files["file"].read_text() == "original"


# 4. An entry says where its bytes are.


@EVERYWHERE
def test_4_a_hit_needs_no_bytes_that_were_released(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET state = 'released'")
    for _, digest, *_ in entry.file_rows:
        cache.store.remove(blob_name(digest))
    found = cache.get_or_run(ACTION, runs)
    assert found.hit and found.value == entry.value
    with pytest.raises(ReleasedError, match=r"again takes \d+ s"):
        found.files["log.txt"]


@pytest.mark.parametrize("goes", ["released", "cleared"])
def test_4_what_goes_during_a_hit_is_not_missing(cache: Cache, goes: str) -> None:
    """Between the row's being read and a look for its bytes, another process takes them away."""
    entry = cache.get_or_run(ACTION, write("bytes"))
    look = cache.blobs.seen_absent

    def absent(files: Any) -> list[str]:
        cache.blobs.seen_absent = look  # type: ignore[method-assign]
        plan = removal.plan(cache, [entry], files=True, release=goes == "released")
        removal.execute(cache, plan)
        return look(files)

    for ask in (lambda: cache.look_up([ACTION]), lambda: cache.look_up([ACTION, action(2)])):
        cache.blobs.seen_absent = absent  # type: ignore[method-assign]
        found = ask()[0]
        if goes == "cleared":
            assert found is None
        else:
            assert found is not None
            with pytest.raises(ReleasedError, match="undelete"):
                found.files["file"]
        undelete(cache, [entry.key])


def test_4_bytes_that_are_in_the_trash_are_put_back(cache: Cache) -> None:
    entry = cache.get_or_run(ACTION, write("bytes"))
    digest = entry.file_rows[0][1]
    cache.store.move(blob_name(digest), trashed(blob_name(digest)))
    with cache.database.write() as transaction:
        transaction.run("UPDATE blobs SET state = 'trash'")
    with pytest.raises(MissingBlobError, match=r"in the trash.*motools cache repair"):
        cache.look_up([ACTION])


def test_4_missing_bytes_are_an_error_not_a_miss(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    entry.files["log.txt"].unlink()
    for ask in (lambda: cache.look_up([ACTION]), lambda: cache.get_or_run(ACTION, runs)):
        with pytest.raises(MissingBlobError):
            ask()
    assert runs.count == 1


# 5. Failures are never entries.


@pytest.mark.parametrize("failure", [ValueError, SystemExit, KeyboardInterrupt])
def test_5_failures_are_never_entries(
    cache: Cache, runs: Runs, failure: type[BaseException]
) -> None:
    def fail(context: RunContext) -> Any:
        runs(context)
        raise failure

    with pytest.raises(failure):
        cache.get_or_run(ACTION, fail)
    assert cache.look_up([ACTION]) == [None]
    assert cache.get_or_run(ACTION, runs).value == {"runs": 2}


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"scores": [1.0, float("nan")]}, r"value\.scores\[1\]: nan"),
        ({"a": {1, 2}}, r"value\.a: builtins\.set"),
        ({"a": b"bytes"}, r"value\.a: builtins\.bytes"),
        ({"a": {(1, 2): 3}}, r"value\.a: key \(1, 2\)"),
        ({1: "an int would come back as text"}, "value: key 1"),
        (["\ud800"], r"value\[0\]: .*surrogate"),
        ([10**5000], r"value\[0\]: .*digits"),
        (object(), "value: builtins.object"),
    ],
)
def test_5_what_is_not_json_is_refused_by_its_path(cache: Cache, value: Any, where: str) -> None:
    def run(context: RunContext) -> Any:
        (context.directory / "file").write_text("kept?")
        return value

    with pytest.raises(ResultError, match=where):
        cache.get_or_run(ACTION, run)
    assert everything_in(cache.root) == []


@pytest.mark.parametrize(
    ("say", "where"),
    [
        (lambda c: c.provenance.update(where=Path("/")), r"provenance\.where"),
        (lambda c: c.label(n=1), r"labels\.n"),
        (lambda c: setattr(c, "cost", float("inf")), "cost"),
    ],
)
def test_5_what_is_said_besides_is_checked_before_anything_is_stored(
    cache: Cache, say: Callable[[RunContext], None], where: str
) -> None:
    def run(context: RunContext) -> Any:
        (context.directory / "file").write_text("kept?")
        say(context)

    with pytest.raises(ResultError, match=where):
        cache.get_or_run(ACTION, run)
    assert everything_in(cache.root) == []


def test_5_provenance_is_checked_before_the_run(cache: Cache, runs: Runs) -> None:
    with pytest.raises(ResultError, match=r"provenance\.when"):
        cache.get_or_run(ACTION, runs, provenance={"when": object()})
    assert runs.count == 0


# 6. Look-up is three-valued.


def put_a_loop(path: Path) -> None:
    """Something that cannot be looked at, even by root."""
    shutil.rmtree(path)
    path.symlink_to(path)


def test_6_a_store_out_of_reach_is_not_a_miss(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(ACTION, runs)
    put_a_loop(cache.root / "objects")
    with pytest.raises(CacheUnavailableError, match="cannot look at"):
        cache.look_up([ACTION])
    with pytest.raises(CacheUnavailableError):
        cache.get_or_run(ACTION, runs)
    assert runs.count == 1


@pytest.mark.parametrize("damage", ["garbage", "truncated", "gone"])
def test_6_a_database_out_of_reach_is_not_a_miss(
    open_cache: OpenCache, runs: Runs, damage: str
) -> None:
    first = open_cache()
    first.get_or_run(ACTION, runs)
    path = first.root / "cache.db"
    with first.database.write() as transaction:
        transaction.run("SELECT 1")
    first.close()
    if damage == "garbage":
        path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(CacheUnavailableError) as caught:
        open_cache().look_up([ACTION])
    if damage != "gone":
        assert isinstance(caught.value, CorruptDatabaseError)
        assert "motools cache reindex" in str(caught.value)
        assert reindex(first.root).entries == 1
        assert open_cache().get_or_run(ACTION, runs).hit


@BOTH
def test_6_an_altered_record_is_not_served_and_reindex_restores_it(
    cache: Cache, runs: Runs
) -> None:
    entry = cache.get_or_run(ACTION, runs)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET value = :value", value='{"runs":7}')
    with pytest.raises(CorruptDocumentError, match="reindex"):
        cache.look_up([ACTION])
    assert reindex(cache.root).problems == ()
    assert cache.look_up([ACTION])[0].value == entry.value  # type: ignore[union-attr]


@BOTH
def test_6_a_record_under_another_key_is_not_served(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(ACTION, runs)
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET key = :key", key=action(2).key)
    with pytest.raises(CorruptDocumentError):
        cache.look_up([action(2)])


# 7. One runner per key (with processes: test_processes).


@BOTH
def test_7_a_commit_with_an_old_token_is_refused(root: Path, tmp_path: Path) -> None:
    from tests.cache.hosts import movable_clock

    cache = Cache.open(root)
    elsewhere = Cache.open(second_host(root, tmp_path / "second"))
    claim = cache.claim(ACTION)
    assert isinstance(claim, Claim)
    with movable_clock() as clock, claim:
        clock.advance(61)
        assert elsewhere.get_or_run(ACTION, write("in time")).generation == 1
        (claim.context.directory / "file").write_text("too late")
        with pytest.raises(LeaseLostError, match="was taken over: this result is not stored"):
            claim.commit("too late")
    assert [entry.value for entry in cache.index.select(generations=True)] == ["in time"]
    assert elsewhere.leases.holder(ACTION.key) is None
    for opened in (cache, elsewhere):
        opened.close()


@BOTH
def test_7_a_lease_that_ended_is_not_one_that_was_lost(cache: Cache) -> None:
    """The heartbeat may beat between a commit and the news of it."""
    lease = cache.leases.try_take(ACTION.key, lambda _why: None)
    assert lease is not None
    cache.leases.release(lease)
    assert cache.leases._extend(lease)
    assert cache.leases.holder(ACTION.key) is None
    again = cache.leases.try_take(ACTION.key, lambda _why: None)
    assert again is not None and again.token > lease.token
    assert not cache.leases._extend(lease)
    cache.leases.release(lease)  # too late to end somebody else's
    assert cache.leases.holder(ACTION.key) is not None
    cache.leases.release(again)


def test_7_a_lease_ends_when_its_run_cannot_be_made_ready(cache: Cache, runs: Runs) -> None:
    job = cache.root / "jobs" / ACTION.key
    job.mkdir()
    (job / "scratch").write_text("a file where a directory has to be")
    with pytest.raises(CacheUnavailableError, match="cannot make"):
        cache.get_or_run(ACTION, runs)
    assert cache.leases.holder(ACTION.key) is None
    (job / "scratch").unlink()
    assert cache.get_or_run(ACTION, runs).generation == 1


def test_7_a_run_may_remove_its_scratch_directory(cache: Cache, runs: Runs) -> None:
    def fail(context: RunContext) -> Any:
        context.scratch.rmdir()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get_or_run(ACTION, fail)
    assert cache.get_or_run(ACTION, runs, timeout=0).generation == 1


@BOTH
def test_7_descriptors_are_given_back(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(action("warm"), runs)
    Cache.open(cache.root).close()
    rounds = 20
    before = len(os.listdir("/proc/self/fd"))
    for n in range(rounds):
        cache.get_or_run(action(n), runs)
        with pytest.raises(ZeroDivisionError):
            cache.get_or_run(action(f"fails {n}"), lambda _: 1 / 0)
        Cache.open(cache.root).close()
    # other threads of this process open some meanwhile, but not one in each round
    assert len(os.listdir("/proc/self/fd")) < before + rounds


# 9. Deleting.


def clear(cache: Cache, *wanted: Any, files: bool = True) -> removal.Removed:
    entries = [entry for entry in cache.look_up(wanted) if entry is not None]
    return removal.execute(cache, removal.plan(cache, entries, files=files))


@EVERYWHERE
def test_9_what_was_cleared_can_be_undeleted(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    assert clear(cache, ACTION).blobs == 3
    assert cache.look_up([ACTION]) == [None]
    assert cache.store.size(trashed(entry_name(entry.key))) is not None
    undelete(cache, [entry.key])
    assert cache.get_or_run(ACTION, runs).files["log.txt"].read_text() == "done\n"
    assert runs.count == 1
    assert cache.store.size(trashed(entry_name(entry.key))) is None


@BOTH
def test_9_what_the_tables_forgot_is_not_undeleted_without_it(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    clear(cache, ACTION)
    digest = entry.file_rows[0][1]
    cache.store.remove(trashed(blob_name(digest)))
    with cache.database.write() as transaction:
        transaction.run("DELETE FROM blobs WHERE digest = :digest", digest=digest)
    with pytest.raises(MissingBlobError):
        undelete(cache, [entry.key])
    assert cache.look_up([ACTION]) == [None]


@BOTH
def test_9_what_is_not_named_is_not_deleted_for_good(cache: Cache) -> None:
    """Clearing one entry does not empty the trash of others."""
    first, second = (cache.get_or_run(action(n), write(str(n))) for n in (1, 2))
    clear(cache, action(1))
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET trashed_at = 1 WHERE state = 'trash'")
        transaction.run("UPDATE blobs SET trashed_at = 1 WHERE state = 'trash'")
    clear(cache, action(2))
    undelete(cache, [first.key, second.key])
    assert cache.look_up([action(1)])[0].files["file"].read_text() == "1"  # type: ignore[union-attr]


@BOTH
def test_9_shared_blobs_stay(cache: Cache) -> None:
    for n in (1, 2):
        cache.get_or_run(action(n), write("shared"))
    assert clear(cache, action(1)).blobs == 0
    removal.purge(cache, before=4e9)
    assert cache.look_up([action(2)])[0].files["file"].read_text() == "shared"  # type: ignore[union-attr]


@EVERYWHERE
def test_9_a_commit_restores_what_it_needs_from_the_trash(cache: Cache) -> None:
    """Whatever moment another process clears, and purges, the same bytes at."""
    cache.get_or_run(action("old"), write("bytes"))
    steps: list[str] = []
    with watched(steps.append):
        cache.get_or_run(action("rehearsal"), write("bytes"))
    moments = sum(map(stores, steps))
    assert moments >= 2  # what is in a bucket already is not sent again
    for moment in range(moments):
        wanted, count = action(moment), 0

        def at(step: str, moment: int = moment) -> None:
            nonlocal count
            if stores(step):
                count += 1
                if count == moment + 1:
                    assert in_child(lambda _at: clear_all(cache.root)) == 0

        with watched(at):
            entry = cache.get_or_run(wanted, write("bytes"))
        assert entry.files["file"].read_text() == "bytes"
        assert cache.look_up([wanted])[0] is not None


def stores(step: str) -> bool:
    """Whether a step is about bytes, which are stored outside any transaction."""
    call = step.split()[1]
    return call in ("publish_file", "upload", "settle") or (
        call == "publish_bytes" and "objects/" in step
    )


def clear_all(root: Path) -> None:
    cache = Cache.open(root)
    removal.execute(cache, removal.plan(cache, cache.entries(), files=True))
    removal.purge(cache, before=4e9)


@BOTH
def test_9_clearing_against_committing(cache: Cache, tmp_path: Path) -> None:
    """Two processes, as fast as they can: what was committed last is there."""
    stop = tmp_path / "stop"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            while not stop.exists():
                clear_all(cache.root)
            status = 0
        finally:
            os._exit(status)
    try:
        for n in range(60):
            entry = cache.get_or_run(action(n), write("the same bytes"))
            assert entry.value == "the same bytes"
    finally:
        stop.touch()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0
    last = cache.get_or_run(action("last"), write("the same bytes"))
    for found in cache.look_up([action(n) for n in [*range(60), "last"]]):
        assert found is None or found.files["file"].read_text() == "the same bytes"
    assert last.files["file"].read_text() == "the same bytes"


@EVERYWHERE
def test_9_others_can_write_while_much_is_deleted(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write lock is held for some blobs at a time."""

    def run(context: RunContext) -> None:
        for number in range(70):
            (context.directory / str(number)).write_text(str(number))

    monkeypatch.setattr(trash, "BATCH", 32)
    entry = cache.get_or_run(ACTION, run)
    calls = {"move": 0, "remove": 0}
    most = dict(calls)

    def at(step: str) -> None:
        call = step.split()[1]
        if step == "after COMMIT":
            calls.update(dict.fromkeys(calls, 0))
        elif step.startswith("after") and call in calls and "objects/" in step:
            calls[call] += 1
            most[call] = max(most[call], calls[call])

    with watched(at):
        removal.execute(cache, removal.plan(cache, [entry], files=True))
        removal.purge(cache, before=4e9)
    assert most == {"move": 32, "remove": 32}
    assert not list(cache.store.names("trash"))


@BOTH
def test_9_a_commit_takes_back_what_is_about_to_be_deleted(cache: Cache) -> None:
    """Between two of the transactions in which the trash is emptied."""
    cache.get_or_run(action("old"), write("bytes"))
    removal.execute(cache, removal.plan(cache, cache.entries(), files=True))
    other = action("new")
    committed = False

    def at(step: str) -> None:
        nonlocal committed
        if step == "after COMMIT" and not committed:
            committed = True
            new = Cache.open(cache.root)
            new.get_or_run(other, write("bytes"))
            new.close()

    with watched(at):
        removal.purge(cache, before=4e9)
    assert committed
    assert cache.look_up([other])[0].files["file"].read_text() == "bytes"  # type: ignore[union-attr]


@BOTH
def test_9_a_plan_removes_only_what_it_named(cache: Cache, runs: Runs) -> None:
    cache.get_or_run(ACTION, runs)
    plan = removal.plan(cache, cache.entries(), files=True)
    newer = cache.get_or_run(ACTION, runs, refresh=True)
    removal.execute(cache, plan)
    found = cache.look_up([ACTION])[0]
    assert found is not None and found.generation == newer.generation
    assert found.files["log.txt"].read_text() == "done\n"


@BOTH
@pytest.mark.parametrize("by", ["file", "model"])
def test_9_what_a_run_reads_is_not_cleared(cache: Cache, runs: Runs, by: str) -> None:
    """Not when it is asked for, nor by a plan that was made before the run began."""
    wanted = Action("model", {"base_model": "b" * 64}, {"n": 1}, {"name": "test"})
    entry = cache.get_or_run(wanted, runs)
    plan = removal.plan(cache, [entry], files=True)
    read = entry.file_rows[0][1] if by == "file" else model_digest(entry)
    claim = cache.claim(Action("eval", {"model": read}, {}, {"name": "test"}))
    assert isinstance(claim, Claim)
    with claim:
        with pytest.raises(RemovalError, match=f"is read by {claim.context.key[:12]}"):
            catalogue.clear(cache, plan)
        assert removal.execute(cache, plan).entries == 0
        assert entry.files["log.txt"].read_text() == "done\n"
        without_files = removal.plan(cache, [entry])
        catalogue.clear(cache, without_files)
        assert entry.files["log.txt"].read_text() == "done\n"


# 10. Documents from outside.


def tampered(root: Path, key: str, change: Callable[[dict[str, Any]], None]) -> Path:
    path = root / entry_name(key)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def rename_action(document: dict[str, Any]) -> None:
    document["canonical"] = document["canonical"].replace('"n":1', '"n":2')


def smuggle_key(document: dict[str, Any]) -> None:
    """An entry of another key, right in itself, in a document of this one."""
    part = document["generations"][0]
    part["key"] = action(2).key
    part["checksum"] = checksum(
        part["key"], compact(part["value"]), part["tree"], compact(part["files"]), None
    )


def change_value(document: dict[str, Any]) -> None:
    document["generations"][0]["value"] = "forged"


def leave_the_store(document: dict[str, Any]) -> None:
    document["generations"][0]["files"][0][1] = "/../../../../etc/passwd".rjust(64, "a")


def leave_the_tree(document: dict[str, Any]) -> None:
    document["generations"][0]["files"][0][0] = "../outside"


@pytest.mark.parametrize(
    "change", [rename_action, change_value, leave_the_store, leave_the_tree, dict.clear]
)
def test_10_documents_that_are_not_their_name_are_refused(
    cache: Cache, runs: Runs, change: Callable[[dict[str, Any]], None]
) -> None:
    entry = cache.get_or_run(ACTION, runs)
    cache.close()
    lose_the_database(cache.root)
    path = tampered(cache.root, entry.key, change)
    done = reindex(cache.root)
    assert (done.entries, [problem.name for problem in done.problems]) == (
        0,
        [path.relative_to(cache.root).as_posix()],
    )
    assert Cache.open(cache.root).look_up([ACTION, action(2)]) == [None, None]


@BOTH
def test_10_a_document_speaks_for_its_own_key_only(cache: Cache, runs: Runs) -> None:
    entry = cache.get_or_run(ACTION, runs)
    cache.close()
    lose_the_database(cache.root)
    tampered(cache.root, entry.key, smuggle_key)
    reindex(cache.root)
    assert Cache.open(cache.root).look_up([action(2)]) == [None]


@BOTH
def test_10_a_diverged_result_is_reported_and_never_overwrites(
    cache: Cache, tmp_path: Path
) -> None:
    kept = cache.get_or_run(ACTION, write("first"))
    other = Cache.open(tmp_path / "other")
    other.get_or_run(ACTION, write("second"))
    shutil.copy(tmp_path / "other" / entry_name(kept.key), cache.root / entry_name(kept.key))
    done = reindex(cache.root)
    assert done.entries == 0
    assert [problem.reason for problem in done.problems] == [
        "diverged: another result of generation 1 is kept"
    ]
    assert cache.look_up([ACTION])[0].value == "first"  # type: ignore[union-attr]
    other.close()


@EVERYWHERE
def test_10_reindexing_restores_all_but_leases_and_statistics(cache: Cache, runs: Runs) -> None:
    for n in range(3):
        cache.get_or_run(action(n), runs)
    cache.get_or_run(action(0), runs, refresh=True)
    clear(cache, action(1))
    before = cache.database.read(f"SELECT {COLUMNS} FROM entries ORDER BY key, generation")
    blobs = cache.database.read("SELECT digest, size, state FROM blobs ORDER BY digest")
    cache.close()
    lose_the_database(cache.root)
    fresh = Cache.open(cache.root)
    rows = fresh.database.read(f"SELECT {COLUMNS} FROM entries ORDER BY key, generation")
    assert rows == before
    assert fresh.database.read("SELECT digest, size, state FROM blobs ORDER BY digest") == blobs
    undelete(fresh, [action(1).key])
    assert fresh.get_or_run(action(1), runs).files["log.txt"].read_text() == "done\n"
    fresh.close()


@BOTH
def test_10_a_row_with_another_action_makes_way_for_the_document(cache: Cache, runs: Runs) -> None:
    """No checksum has it, and people choose results by it."""
    entry = cache.get_or_run(ACTION, runs)
    cache.flush()
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET action = replace(action, 'test', 'tesu')")
    for ask in (lambda: cache.look_up([ACTION]), lambda: cache.look_up([ACTION, action(2)])):
        with pytest.raises(CorruptDocumentError, match="reindex"):
            ask()
    assert not reindex(cache.root).problems
    assert cache.look_up([ACTION])[0].canonical == entry.canonical  # type: ignore[union-attr]


# 11. The database.


def test_11_how_connections_are_configured(cache: Cache) -> None:
    assert BUSY_SECONDS >= 30
    with cache.database.write() as transaction:
        for pragma, wanted in (("synchronous", 2), ("journal_mode", "wal")):
            assert transaction.run(f"PRAGMA {pragma}").scalar() == wanted
        assert transaction.run("PRAGMA busy_timeout").scalar() >= 30_000
    assert cache.database.read("PRAGMA busy_timeout")[0][0] >= 30_000
    with pytest.raises(CacheUnavailableError):
        cache.database.read("DELETE FROM entries")


def test_11_a_write_holds_the_write_lock_from_its_start(cache: Cache) -> None:
    script = (
        "import sqlite3, sys\nsqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    )
    with cache.database.write():
        done = subprocess.run(
            [sys.executable, "-c", script, cache.root / "cache.db"], capture_output=True, text=True
        )
    assert "database is locked" in done.stderr


def test_11_nothing_but_sqlite_opens_the_database(root: Path) -> None:
    script = """
    import sys
    from pathlib import Path
    from motools.cache import Action, Cache, removal
    from motools.cache.reindex import reindex
    def watch(event, arguments):
        if event == "open" and "cache.db" in str(arguments[0]):
            print("opened by", sys._getframe(1).f_code.co_filename, flush=True)
    sys.addaudithook(watch)
    root, action = Path(sys.argv[1]), Action("function", {}, {"n": 1}, {"name": "test"})
    cache = Cache.open(root)
    entry = cache.get_or_run(action, lambda context: (context.directory / "f").write_text("x"))
    cache.look_up([action, action])
    cache.explain(action)
    cache.add(root / "motools.json")
    entry.checkout(root / "tmp" / "out")
    removal.execute(cache, removal.plan(cache, [entry], files=True))
    removal.purge(cache, before=4e9)
    cache.close()
    reindex(root)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), root], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 {device} / {point} rw,relatime shared:1 - {kind} server:/export rw
"""


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p", "lustre", "cifs", "something.new"])
def test_11_file_systems_without_reliable_locks_are_refused(tmp_path: Path, kind: str) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    point = str(tmp_path).replace(" ", "\\040")
    for described in (f"{os.major(device)}:{os.minor(device)}", "0:99"):
        mounts.write_text(MOUNTS.format(device=described, point=point, kind=kind))
        with pytest.raises(CacheUnavailableError, match=f"is on {kind}.*PostgreSQL"):
            check_file_system(tmp_path, mounts)
    mounts.write_text(MOUNTS.format(device=described, point=point, kind="xfs"))
    check_file_system(tmp_path, mounts)


@pytest.mark.parametrize(
    ("kind", "options", "refused"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", False),
        ("nfs", "rw,vers=3,nolock,local_lock=all", True),
        ("nfs4", "rw,local_lock=flock", True),
        ("lustre", "rw,localflock", True),
        ("fuse.sshfs", "rw", True),
        ("xfs", "rw", False),
    ],
)
def test_11_where_machines_do_not_see_each_others_locks(
    tmp_path: Path, kind: str, options: str, refused: bool
) -> None:
    device = tmp_path.stat().st_dev
    described = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        MOUNTS.format(device=described, point="/x", kind=kind).rstrip() + f" {options}\n"
    )
    if refused:
        with pytest.raises(CacheUnavailableError, match="may not see each other's file locks"):
            check_shared(tmp_path, mounts)
    else:
        check_shared(tmp_path, mounts)


def test_11_a_busy_database_is_waited_for(cache: Cache, runs: Runs) -> None:
    other = sqlite3.connect(cache.root / "cache.db", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    assert cache.get_or_run(ACTION, runs).generation == 1
    other.close()
