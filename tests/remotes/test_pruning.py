"""Pruning a remote beside those who push and read."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache
from motools.cache.layout import blob_name
from motools.cache.selection import Selection
from motools.cache.store import Store
from motools.digest import hash_bytes
from motools.errors import CacheUnavailableError
from motools.remotes import (
    Remote,
    add_remote,
    compare,
    open_remote,
    plan_prune,
    prune,
    pruning,
    pull,
    push,
    pushing,
    sentences,
    tables,
)  # fmt: skip
from motools.remotes.layout import MARKER, pack_name
from motools.remotes.segments import Draft

from .conftest import Opened, There, commit, contents
from .test_killed import kills, place
from .test_killed import opened as open_at

assert place  # a fixture

_noise = random.Random(5)


class Late:
    """A store to which somebody slow writes: all that was to be done to it waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Callable[[], object]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def remove(self, name: str) -> bool:
        self._waiting.append(lambda: self._store.remove(name))
        return True

    def publish_bytes(self, name: str, data: bytes) -> None:
        self._waiting.append(lambda: self._store.publish_bytes(name, data))

    def catch_up(self) -> None:
        """Have it done."""
        while self._waiting:
            self._waiting.pop(0)()


def orphan(remote: Remote, cache: Cache) -> None:
    """Have a segment and blobs in the remote that no entry needs any more."""
    index = {name for name, _ in remote.store.names("index")}
    push(cache, remote)
    for name, _ in list(remote.store.names("index")):
        if name not in index:
            remote.store.remove(name)


def names(remote: Remote) -> set[str]:
    return {
        name
        for folder in ("packs", "blobs", "index", "doomed")
        for name, _ in remote.store.names(folder)
    }


def test_in_two_phases(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    commit(a, 1)
    push(a, there(a))
    kept = names(there(a))
    commit(b, 2)
    orphan(there(b), b)
    planned = plan_prune(there(a))
    assert set(planned.dead) == names(there(a)) - kept
    assert prune(there(a), planned) == 0, "nothing goes at once"
    assert len(names(there(a))) == 3 + 1
    assert plan_prune(there(a)).dead == {}, "it is doomed already"
    assert prune(there(a), plan_prune(there(a))) == 0, "the grace period is not over"
    assert prune(there(a), plan_prune(there(a), grace=0), grace=0) == 1
    assert {name for name in names(there(a)) if not name.startswith("doomed/")} == kept
    assert plan_prune(there(a), grace=0).due == {}, "it went already"
    assert prune(there(a), plan_prune(there(a), grace=0), grace=0) == 0
    assert names(there(a)) == kept
    assert set(contents(a)) == set(pull(opened("c"), there(opened("c"))).entries)


def test_what_is_doomed_is_not_relied_upon(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    commit(b, 2, {"f": b"wanted again"})
    orphan(there(b), b)
    prune(there(a), plan_prune(there(a)))
    pushed = push(b, there(b))
    assert pushed.blobs == 1, "sent again, under a name that is not doomed"
    prune(there(a), plan_prune(there(a), grace=0), grace=0)
    assert len(pull(a, there(a)).entries) == 1
    assert contents(a) == contents(b)


def test_doomed_while_a_push_relies_on_it(
    opened: Opened, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = opened("a"), opened("b")
    commit(b, 2, {"f": b"wanted again"})
    orphan(there(b), b)
    listed = pushing.Draft.publish
    began = []

    def doomed_just_before(self: pushing.Draft, *arguments: object) -> str | None:
        if not began and self.size:
            began.append(prune(there(a), plan_prune(there(a))))
        return listed(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing.Draft, "publish", doomed_just_before)
    pushed = push(b, there(b))
    assert began
    assert pushed.bytes_there, "it relied on what was there"
    prune(there(a), plan_prune(there(a), grace=0), grace=0)
    assert len(pull(a, there(a)).entries) == 1


def test_what_cannot_be_sent_again_is_a_problem(
    opened: Opened, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what a prune doomed while it was pushed."""
    b = opened("b")
    lost, kept = commit(b, 1), commit(b, 2)
    remote = there(b)
    listed = pushing.Draft.publish

    def doomed_and_lost(self: pushing.Draft, *arguments: object) -> str | None:
        if not list(remote.store.names("doomed")):
            sentences.doom(remote.store, [name for name, _ in remote.store.names("packs")])
            [(_, digest, _, _)] = lost.file_rows
            b.store.remove(blob_name(digest))
        return listed(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing.Draft, "publish", doomed_and_lost)
    pushed = push(b, remote)
    assert list(pushed.problems) == [lost.key]
    assert pushed.entries == (kept.key,)


def test_a_slow_prune_deletes_nothing_that_was_pushed_meanwhile(
    opened: Opened, there: There
) -> None:
    a, b, slow = opened("a"), opened("b"), opened("slow")
    commit(b, 2, {"f": b"wanted again"})
    orphan(there(b), b)
    prune(there(a), plan_prune(there(a)))
    late = Late(there(slow).store)
    assert sentences.carry_out(replace(there(slow), store=late), 0) == 1
    assert prune(there(a), plan_prune(there(a), grace=0), grace=0) == 1
    assert push(b, there(b)).blobs == 1
    late.catch_up()
    assert len(pull(a, there(a)).entries) == 1
    assert contents(a) == contents(b)


@pytest.mark.parametrize("said", ["1e300", "NaN", "-Infinity", "0"])
def test_time_is_the_store_s(
    opened: Opened, there: There, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = opened("a")
    remote, week = there(a), 7 * 86_400
    name = f"packs/ab/{62 * 'c'}"
    remote.store.publish_bytes(name, b"nobody's")
    remote.store.publish_bytes(
        "doomed/a.json", f'{{"made_at": {said}, "names": ["{name}"]}}'.encode()
    )
    with monkeypatch.context() as patch:  # on a machine that is ahead of the others
        patch.setattr("motools.remotes.sentences.time.time", lambda: 1e10)
        assert sentences.carry_out(remote, week) == 0
    assert sentences.carry_out(remote, 0) == 1
    assert remote.store.size(name) is None


def test_mostly_dead_packs_are_written_anew(opened: Opened, there: There) -> None:
    a, b, late = opened("a"), opened("b"), opened("late")
    shared = _noise.randbytes(50_000)
    commit(a, 1, {"shared": shared, "own": _noise.randbytes(1_000)})
    commit(b, 2, {"shared": shared, "own": _noise.randbytes(100_000)})
    of_a, of_b = there(a), there(b)
    push(a, of_a)
    push(b, of_b)  # it had listed the index before, so `shared` is in two packs now
    reading = there(late)
    planned = plan_prune(there(a))
    [sparse] = planned.sparse
    assert sparse.startswith("packs/")
    prune(there(a), planned)
    assert set(pull(late, reading).entries) == {*contents(a), *contents(b)}, "who reads goes on"
    prune(there(a), plan_prune(there(a), grace=0), grace=0)
    assert there(a).store.size(sparse) is None
    assert there(a).index.totals()["bytes"] < 152_000
    c = opened("c")
    pull(c, there(c))
    assert contents(c) == contents(a) | contents(b)


@pytest.mark.parametrize("cut", [False, True])
def test_the_only_copy_that_is_there_stays(opened: Opened, there: There, cut: bool) -> None:
    a, b = opened("a"), opened("b")
    shared = _noise.randbytes(50_000)
    entry = commit(a, 1, {"shared": shared})
    commit(b, 2, {"shared": shared, "own": _noise.randbytes(1_000)})
    of_a, of_b = there(a), there(b)
    push(a, of_a)
    push(b, of_b)  # it had listed the index before, so `shared` is in two packs now
    [(heavier, size)] = [each for each in of_a.store.names("packs") if each[1] > 50_500]
    if cut:
        data = of_a.store.read(heavier) or b""
        of_a.store.publish_bytes(heavier, data[: size // 2])
    else:
        of_a.store.remove(heavier)
    planned = plan_prune(there(a))
    assert planned.missing == (heavier,)
    prune(there(a), planned)
    prune(there(a), plan_prune(there(a), grace=0), grace=0)
    c = opened("c")
    pull(c, there(c))
    assert contents(c)[entry.key] == {"shared": shared}


def test_a_prune_that_fails_before_it_has_doomed_anything_is_made_up_for(
    opened: Opened, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = opened("a"), opened("b")
    gone, *_ = [commit(a, n) for n in range(3)]
    push(a, there(a))
    planned = plan_prune(there(a), remove=[gone])
    with monkeypatch.context() as patch, pytest.raises(CacheUnavailableError):
        patch.setattr(pruning, "doom", refused)
        prune(there(a), planned)
    assert gone.key not in set(there(b).index.keys())
    for n in range(3, 6):
        newer = commit(a, n)
        push(a, there(a))
        prune(there(a), plan_prune(there(a), grace=0, remove=[newer]), grace=0)
        fresh = opened(f"fresh {n}")
        assert gone.key not in set(there(fresh).index.keys()), "removed for everybody"
        assert not pull(fresh, there(fresh)).problems
    for _ in range(3):
        prune(there(a), plan_prune(there(a), grace=0), grace=0)
    assert sorted(there(a).store.names("index")) == sorted(
        (name, there(a).store.size(name)) for name in there(b).index.segments()
    )


def refused(*_: object) -> None:
    raise CacheUnavailableError("503")


def test_what_says_that_segments_are_superseded_stays_as_long_as_they_do(
    opened: Opened, there: There
) -> None:
    """Segments of which each supersedes the one before alone, as was written once."""
    a = opened("a")
    entry = commit(a, 1)
    push(a, there(a))
    remote = there(a)
    [first] = remote.index.segments()
    chain = [first]
    for _ in range(2):
        draft = Draft()
        draft.supersede(chain[-1:])
        chain.append(str(draft.publish(remote.store)))
    sentences.doom(remote.store, [chain[1]])
    assert sentences.carry_out(there(a), 0) == 0
    assert entry.key not in set(there(opened("b")).index.keys())
    for _ in range(5):
        prune(there(a), plan_prune(there(a), grace=0), grace=0)
    assert len(list(remote.store.names("index"))) == 1
    assert entry.key not in set(there(opened("c")).index.keys())


def test_an_index_in_several_segments_can_be_written_anew_twice(
    opened: Opened, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has not changed says the same, and is not among what is superseded."""
    monkeypatch.setattr(pruning, "_SEGMENT", 100)
    monkeypatch.setattr(pruning, "_MANY_SEGMENTS", 0)
    a, b = opened("a"), opened("b")
    for n in range(3):
        commit(a, n)
    push(a, there(a))
    for _ in range(3):
        prune(there(a), plan_prune(there(a), grace=0), grace=0)
        assert len(there(b).index.keys()) == 3
    pull(b, there(b))
    assert contents(b) == contents(a)


def test_what_is_superseded_is_dropped_once_and_read_again_when_it_counts_again(
    opened: Opened, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = opened("a")
    for n in range(3):
        commit(a, n)
        push(a, there(a))
    monkeypatch.setattr(pruning, "_MANY_SEGMENTS", 1)
    prune(there(a), plan_prune(there(a)))
    assert len(there(a).index.segments()) == 1
    dropped: list[list[int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_empty", lambda *arguments: dropped.append(arguments[2]))
        there(a)
    assert not any(dropped)
    there(a).store.remove(*there(a).index.segments())  # not by a prune
    assert len(there(a).index.keys()) == len(there(opened("b")).index.keys()) == 3


def test_many_segments_become_one(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    for n in range(34):
        commit(a, n)
        push(a, there(a))
    before = there(b)
    assert len(before.index.segments()) == 34
    assert prune(there(a), plan_prune(there(a))) == 0
    assert len(there(a).index.segments()) == 1
    assert prune(there(a), plan_prune(there(a), grace=0), grace=0) > 33
    assert len(pull(b, there(b)).entries) == 34
    assert contents(b) == contents(a)
    assert before.index.totals()["entries"] == 34
    assert prune(there(a), plan_prune(there(a), grace=0), grace=0) == 0, "there is no more to do"


def test_killed_at_every_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motools.remotes.pruning._MANY_SEGMENTS", 1)
    full, url = opened_at(place), place / "remote"
    remote = add_remote(full, "there", str(url))
    for n in range(3):
        commit(full, n)
        push(full, open_remote(full))
    stray = pack_name(hash_bytes(b"nobody's").hex)
    remote.store.publish_bytes(stray, b"nobody's")
    full.close()
    shutil.copytree(url, place / "before")

    def prepare() -> None:
        shutil.rmtree(url)
        shutil.copytree(place / "before", url)
        shutil.rmtree(full.root / "remotes")

    def work() -> None:
        for _ in range(3):
            prune(open_remote(full), plan_prune(open_remote(full), grace=0), grace=0)

    every = contents(full)
    for _ in kills(work, prepare):
        reader = open_at(place / "reader")
        pull(reader, add_remote(reader, "there", str(url)))
        assert contents(reader) == every
        reader.close()
        shutil.rmtree(reader.root)
        work()
        assert remote.store.size(stray) is None
        assert not list(remote.store.names("doomed"))
        full.database.close()


def opened_at(place: Path) -> Cache:
    return open_at(place / "full")


def test_what_is_removed_stays_removed_until_somebody_names_it(
    opened: Opened, there: There
) -> None:
    a, b = opened("a"), opened("b")
    gone, kept = (
        commit(a, 1, {"f": b"only its own", "s": b"shared"}),
        commit(a, 2, {"s": b"shared"}),
    )
    push(a, there(a)), pull(b, there(b))
    objects = set(there(a).store.names("packs"))
    plan = plan_prune(there(a), remove=[gone])
    assert [entry.key for entry in plan.removed] == [gone.key]
    assert plan_prune(there(a)).removed == (), "only when it is asked for"
    prune(there(a), plan)
    assert set(objects) <= set(there(a).store.names("packs")), "bytes go a grace period later"
    for cache in (a, b):
        pushed = push(cache, there(cache))
        assert (pushed.entries, pushed.removed) == ((), ((gone.key, 1),))
        assert compare(cache, there(cache)).removed == ((gone.key, 1),)
    assert contents(b) == contents(a), "who had it has it"
    c = opened("c")
    assert pull(c, there(c)).entries == (kept.key,)

    # It is remembered when segments are written anew, and a new result is none of it.
    prune(there(a), plan_prune(there(a), remove=[kept]))
    assert len(compare(a, there(a)).removed) == 2
    assert commit(a, 1, {"f": b"made again"}, refresh=True).generation == 2
    assert push(a, there(a)).entries == (gone.key,)
    assert [row[1] for row in there(a).index.generations([gone.key])] == [2]

    assert push(b, there(b), Selection(keys=frozenset([gone.key]))).entries == (gone.key,)
    prune(there(a), plan_prune(there(a), grace=0), grace=0)
    d = opened("d")
    assert set(pull(d, there(d)).entries) == {gone.key}
    assert [e.generation for e in d.entries(generations=True)] == [2, 1]


def test_who_pushes_while_something_is_removed_has_it_there(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    entry = commit(a, 1)
    push(a, there(a)), pull(b, there(b))
    plan = plan_prune(there(a), remove=[entry])
    again = commit(b, 1, {"f": b"newer"}, refresh=True)
    push(b, there(b))
    prune(there(a), plan)
    assert again.generation in {row[1] for row in there(a).index.generations([entry.key])}
    c = opened("c")
    assert pull(c, there(c)).entries == (entry.key,)


def test_what_is_no_object_of_a_remote_is_never_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = open_at(tmp_path / "a")
    remote = add_remote(a, "there", str(tmp_path / "remote"))
    commit(a, 1)
    push(a, remote)
    mine = tmp_path / "mine.txt"
    mine.write_text("not theirs to delete")
    remote.store.publish_bytes("packs/.DS_Store", b"nor ours")
    assert plan_prune(open_remote(a)).dead == {}
    names = [
        str(mine),
        "../mine.txt",
        f"packs/ab/../../{MARKER}",
        MARKER,
        "packs/../../mine.txt",
        f"packs/ab/{'c' * 62}\n",
    ]
    for number, name in enumerate(names):
        facts = json.dumps({"made_at": 1.0, "names": [name]}).encode()
        remote.store.publish_bytes(f"doomed/{number}.json", facts)
    for _ in range(2):  # after the second one, the files that say so are gone, too
        planned = plan_prune(open_remote(a), grace=0)
        assert planned.due == {}
        prune(open_remote(a), planned, grace=0)
    assert mine.read_text() == "not theirs to delete"
    assert remote.store.size(MARKER) is not None
    assert not list(remote.store.names("doomed"))
    assert "doomed/0.json in the remote dooms what is no pack, blob or segment" in caplog.text
    a.close()
