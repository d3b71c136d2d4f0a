"""Pruning a remote beside those who push and read."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.cache.selection import Selection
from motools.digest import hash_bytes
from motools.remotes import (
    Remote,
    add_remote,
    compare,
    open_remote,
    plan_prune,
    prune,
    pull,
    push,
    pushing,
)  # fmt: skip
from motools.remotes.layout import MARKER, pack_name

from .conftest import Opened, There, commit, contents
from .test_killed import kills, place
from .test_killed import opened as open_at

assert place  # a fixture

_noise = random.Random(5)


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
        for _ in range(2):
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
        assert push(cache, there(cache)).entries == ()
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
    planned = plan_prune(open_remote(a))
    assert planned.due == ("",) * len(names), "the files that say so"
    prune(open_remote(a), planned)
    assert mine.read_text() == "not theirs to delete"
    assert remote.store.size(MARKER) is not None
    assert not list(remote.store.names("doomed"))
    assert "doomed/0.json in the remote dooms what is no pack, blob or segment" in caplog.text
    a.close()
