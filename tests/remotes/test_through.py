"""A default remote behind the cache: entries come on a miss, bytes when they are used."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache, removal, trash
from motools.cache.marks import PIN
from motools.cache.selection import Selection
from motools.cache.undelete import undelete
from motools.errors import CacheError, MissingBlobError, RemoteError
from motools.remotes import (
    add_remote,
    compare,
    completing,
    export_bundle,
    open_remote,
    pull,
    push,
    registry,
    through,
)
from motools.settings import Settings
from motools.upkeep import prune
from motools.upkeep.policy import Policy
from motools.upkeep.verify import verify
from tests.cache.conftest import action

from .conftest import commit, contents

With = Callable[..., Cache]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "remote"


@pytest.fixture
def made(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> With:
    """A cache with the remote behind it, in some mode."""
    monkeypatch.setattr(through, "_FRESH", 0.0)
    monkeypatch.setattr(through, "_SHARE", 0.0)

    def made(name: str, mode: str = "read") -> Cache:
        cache = Cache.open(tmp_path / name, settings=Settings(remote_mode=mode))  # type: ignore[arg-type]
        add_remote(cache, "there", str(place))
        return cache

    return made


def refuse(context: Any) -> Any:
    raise AssertionError("it was run again")


def blobs_in(cache: Cache) -> list[Path]:
    return [path for path in (cache.root / "objects").rglob("*") if path.is_file()]


def test_a_miss_here_is_a_hit_there(made: With) -> None:
    a, b = made("a"), made("b")
    own = commit(a, 1, {"x": b"x" * 9_000, "y": b"y" * 10})
    commit(a, 2)
    assert b.look_up([action(1)]) == [None], "nothing is there yet"
    push(a, open_remote(a))
    found, nothing, also = b.look_up([action(1), action(3), action(2)])
    assert nothing is None
    assert found is not None
    assert also is not None
    assert (found.key, found.value, found.state) == (own.key, own.value, "remote")
    assert not blobs_in(b), "bytes come when they are used"
    assert found.files["y"].read_bytes() == b"y" * 10
    assert len(blobs_in(b)) == 1
    assert b.get_or_run(action(1), refuse).hit
    assert found.checkout(b.root / "tmp" / "out").joinpath("x").read_bytes() == b"x" * 9_000
    again = Cache.open(b.root, settings=Settings())
    assert again.get_or_run(action(2), refuse).hit, "it is recorded here"


def test_an_answer_that_cannot_be_had_is_no_miss(made: With, place: Path) -> None:
    a = made("a")
    commit(a, 1)
    shutil.move(place, place.with_name("unmounted"))
    with pytest.raises(RemoteError, match="no remote at"):
        a.get_or_run(action(2), refuse)
    assert a.get_or_run(action(1), refuse).hit, "what is here needs nobody"
    offline = Cache.open(a.root, settings=Settings(remote_mode="off"))
    assert commit(offline, 2).value == {"n": 2}


def test_what_is_committed_goes_there(made: With, caplog: pytest.LogCaptureFixture) -> None:
    a, b = made("a", "read-write"), made("b", "read-write")
    commit(a, 1)
    assert b.get_or_run(action(1), refuse).value == {"n": 1}
    commit(a, 1, value="other", refresh=True)
    assert commit(b, 1, value="mine", refresh=True).value == "mine"
    assert "diverged" in caplog.text
    assert [d.generation for d in compare(b, open_remote(b)).diverged] == [2]


def test_what_cannot_be_pushed_waits(
    made: With, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, reader = made("a", "read-write"), made("b")
    packs = place / "packs"
    shutil.rmtree(packs, ignore_errors=True)
    packs.write_text("in the way")
    assert commit(a, 1).value == {"n": 1}, "it is committed all the same"
    assert "motools cache push" in caplog.text
    assert reader.look_up([action(1)]) == [None]
    packs.unlink()
    a.close()
    assert reader.look_up([action(1)]) != [None]


def test_bytes_that_are_gone_there_stop_only_their_use(made: With, place: Path) -> None:
    a, b = made("a"), made("b")
    commit(a, 1)
    push(a, open_remote(a))
    entry = b.get_or_run(action(1), refuse)
    for pack in (place / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    assert b.get_or_run(action(1), refuse).value == {"n": 1}
    with pytest.raises(MissingBlobError, match="gone from"):
        entry.files["file"]


def test_what_only_the_remote_has_is_not_in_a_bundle(made: With, tmp_path: Path) -> None:
    a, b = made("a"), made("b")
    entry = commit(a, 1)
    push(a, open_remote(a))
    b.look_up([action(1)])
    exported = export_bundle(b, tmp_path / "bundle")
    assert exported.entries == ()
    assert f"motools cache pull {entry.key[:12]}" in exported.problems[entry.key]


def test_a_pull_completes_it(made: With) -> None:
    a, b = made("a"), made("b")
    commit(a, 1)
    push(a, open_remote(a))
    b.look_up([action(1)])
    assert len(pull(b, open_remote(b)).entries) == 1
    assert b.entry(action(1).key).state == "live"
    assert contents(b) == contents(a)
    assert not compare(b, open_remote(b)).behind


@pytest.mark.parametrize("at_once", [True, False])
def test_what_was_fetched_whole_is_like_what_was_made_here(
    made: With, tmp_path: Path, at_once: bool
) -> None:
    a, b = made("a"), made("b")
    commit(a, 1, {name: name.encode() * 9 for name in "xyz"})
    push(a, open_remote(a))
    [entry] = b.look_up([action(1)])
    assert entry is not None
    other = add_remote(b, "other", str(tmp_path / "other"))
    assert (compare(b, other).elsewhere, compare(b, other).same) == ((entry.key,), 0)
    assert push(b, other).elsewhere == (entry.key,)
    assert "pull" in push(b, other, Selection(keys=frozenset([entry.key]))).problems[entry.key]
    if at_once:
        entry.checkout(tmp_path / "out")
    else:
        assert [entry.files[name].stat().st_size for name in "zx"] == [9, 9]
        assert b.entry(entry.key).state == "remote"
        assert entry.files["y"].stat().st_size == 9
    assert b.entry(entry.key).state == "live"
    assert push(b, other).entries == (entry.key,)
    assert not prune.plan(b, Policy()).unused
    assert verify(b, read_data=True).findings == ()


def test_a_newer_generation_is_sent_though_an_older_one_is_elsewhere(
    made: With, tmp_path: Path
) -> None:
    a, b = made("a"), made("b")
    commit(a, 1)
    push(a, open_remote(a))
    b.look_up([action(1)])
    newer = commit(b, 1, value="newer", refresh=True)
    assert newer.generation == 2
    other = add_remote(b, "other", str(tmp_path / "other"))
    pushed = push(b, other, Selection(keys=frozenset([newer.key])))
    assert (pushed.entries, pushed.problems) == ((newer.key,), {})


def test_what_very_many_share_has_none_of_them_looked_at(
    made: With, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "_FEW", 2)
    a, b = made("a"), made("b")
    for n in range(3):
        commit(a, n, {"shared": b"tokens", "own": f"{n}".encode()})
    push(a, open_remote(a))
    found = b.look_up([action(n) for n in range(3)])
    looked: list[str] = []
    absent = b.blobs.absent
    monkeypatch.setattr(b.blobs, "absent", lambda files: looked.append("") or absent(files))
    assert found[0] is not None
    assert found[0].files["shared"].read_bytes() == b"tokens"
    assert not looked
    assert b.entry(found[0].key).state == "remote"
    assert found[0].files["own"].read_bytes() == b"0"
    assert [entry.state for entry in b.entries()].count("live") == 1


def test_what_has_come_of_an_entry_is_kept_while_it_is_used_or_pinned(made: With) -> None:
    a, b = made("a"), made("b")
    commit(a, 1, {"x": b"x" * 9, "y": b"y" * 9})
    push(a, open_remote(a))
    entry = b.get_or_run(action(1), refuse)
    digest = {name: digest for name, digest, *_ in entry.file_rows}["x"]
    entry.file("x")
    later = time.time() + 7_200.0
    assert not prune.plan(b, Policy()).unused
    assert digest in prune.plan(b, Policy(), now=later).unused
    b.marks.set(entry.key, PIN)
    assert not prune.plan(b, Policy(), now=later).unused


def test_what_was_taken_while_the_rest_came_is_fetched_again(made: With) -> None:
    a, b = made("a"), made("b")
    commit(a, 1, {"x": b"x" * 9, "y": b"y" * 9})
    push(a, open_remote(a))
    [entry] = b.look_up([action(1)])
    assert entry is not None
    entry.files["x"].unlink()
    assert entry.files["y"].read_bytes() == b"y" * 9
    assert b.entry(entry.key).state == "remote"
    assert entry.files["x"].read_bytes() == b"x" * 9
    assert b.entry(entry.key).state == "live"


def test_bytes_that_are_about_to_go_into_the_trash_stay(
    made: With, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the prune's transaction and its moving the bytes, an entry comes that has them."""
    a, b = made("a"), made("b")
    commit(a, 1, {"x": b"the same"})
    push(a, open_remote(a))
    going = commit(b, 2, {"x": b"the same"})
    move = trash.move_in

    def move_in(cache: Cache, digests: list[str]) -> None:
        assert b.get_or_run(action(1), refuse).state == "live"
        move(cache, digests)

    monkeypatch.setattr(trash, "move_in", move_in)
    removal.execute(b, removal.plan(b, [going], release=True))
    assert b.get_or_run(action(1), refuse).files["x"].read_bytes() == b"the same"
    assert not verify(b).findings


def test_a_damaged_document_is_no_miss(made: With, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = made("a"), made("b")
    monkeypatch.setattr(
        "motools.remotes.outgoing.entry_document", lambda rows: b'{"format": "another"}'
    )
    commit(a, 1)
    push(a, open_remote(a))
    with pytest.raises(CacheError, match="its format is not"):
        b.get_or_run(action(1), refuse)


def test_what_was_cleared_before_it_was_fetched_can_be_undeleted(made: With) -> None:
    a, b, c = made("a"), made("b"), made("c")
    entry = commit(a, 1)
    push(a, open_remote(a))
    for cache in (b, c):
        [found] = cache.look_up([action(1)])
        assert found is not None and found.state == "remote"
        removal.execute(cache, removal.plan(cache, [found], files=True))
        assert cache.entries() == []
    undelete(b, [entry.key])
    [back] = b.entries()
    assert back.state == "remote"
    assert contents(b) == contents(a)
    registry.remove(c.root, "there")
    with pytest.raises(MissingBlobError):
        undelete(c, [entry.key])
    assert c.entries() == []
