"""Push and pull: what is on one side comes to be on the other, whole and unaltered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from motools.cache import removal
from motools.cache.selection import Selection
from motools.errors import RemoteError
from motools.remotes import (
    Remote,
    add_remote,
    compare,
    find_keys,
    open_remote,
    pull,
    push,
    registry,
)
from motools.remotes.layout import BLOBS, INDEX, LARGE, PACKS

from .conftest import Opened, There, commit, contents


def test_what_was_pushed_can_be_pulled(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    noise = random.Random(0).randbytes(100_000)
    commit(a, 1, {"x": b"weights " * 1000, "deep.txt": b"", "noise": noise})
    commit(a, 2, {"large": random.Random(1).randbytes(LARGE + 1), "shared": b"s" * 99})
    commit(a, 3, {"shared": b"s" * 99})
    pushed = push(a, there(a))
    assert (len(pushed.entries), pushed.blobs, pushed.problems) == (3, 5, {})
    assert pushed.bytes_sent < LARGE + 1 + 100_000 + 1000, "text shrinks"
    remote = there(b)
    assert [len(list(remote.store.names(folder))) for folder in (PACKS, BLOBS, INDEX)] == [1, 1, 1]
    assert len(compare(b, remote).behind) == 3
    pulled = pull(b, remote)
    assert (set(pulled.entries), pulled.blobs) == (set(pushed.entries), 5)
    assert contents(b) == contents(a)
    assert {e.key: (e.labels, e.provenance, e.value) for e in b.entries()} == {
        e.key: (e.labels, e.provenance, e.value) for e in a.entries()
    }
    assert commit(b, 1).hit


def test_nothing_new_moves_nothing(opened: Opened, there: There) -> None:
    a = opened("a")
    commit(a, 1)
    push(a, there(a))
    before = everything(there(a))
    again = push(a, there(a))
    assert (again.entries, again.blobs, again.bytes_sent) == ((), 0, 0)
    assert pull(a, there(a)).entries == ()
    assert everything(there(a)) == before
    assert compare(a, there(a)).same == 1


def everything(remote: Remote) -> set[tuple[str, int]]:
    return {found for folder in (PACKS, BLOBS, INDEX) for found in remote.store.names(folder)}


def test_two_that_push_at_once_both_win(opened: Opened, there: There) -> None:
    a, b, c = opened("a"), opened("b"), opened("c")
    commit(a, 1), commit(b, 2)
    commit(a, 3, {"same": b"bytes"}), commit(b, 4, {"same": b"bytes"})
    of_a, of_b = there(a), there(b)  # both have listed the index before either pushes
    push(a, of_a), push(b, of_b)
    assert len(pull(c, there(c)).entries) == 4
    assert contents(c) == contents(a) | contents(b)


def test_diverged_results_stay_where_they_are(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    here, other = commit(a, 1, {"f": b"first"}), commit(b, 1, {"f": b"other"}, value="other")
    commit(b, 2)
    push(a, there(a))
    pushed = push(b, there(b))
    assert [d.key for d in pushed.diverged] == [here.key]
    assert len(pushed.entries) == 1, "the rest goes"
    assert pull(b, there(b)).entries == ()
    assert b.entry(here.key).value == "other" == other.value
    assert [d.here for d in compare(b, there(b)).diverged] == [other.row[8]]
    assert not compare(a, there(a)).diverged
    assert len(pull(a, there(a)).entries) == 1
    assert a.entry(here.key).files["f"].read_bytes() == b"first"


def test_generations_follow(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    commit(a, 1, {"f": b"one"})
    push(a, there(a)), pull(b, there(b))
    commit(a, 1, {"f": b"two"}, refresh=True)
    assert len(push(a, there(a)).entries) == 1
    assert len(pull(b, there(b)).entries) == 1
    [entry] = b.entries()
    assert (entry.generation, entry.files["f"].read_bytes()) == (2, b"two")


def test_a_selection_narrows_both_ways(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    one, two, _ = commit(a, 1, kind="eval"), commit(a, 2, kind="model"), commit(a, 3, kind="eval")
    assert push(a, there(a), Selection(kind="eval", model_ids=["model-1"])).entries == (one.key,)
    named = find_keys(a, there(a).index, [two.key[:9]])
    assert push(a, there(a), Selection(keys=named)).entries == (two.key,)
    assert compare(b, there(b), Selection(kind="model")).behind == (two.key,)
    assert pull(b, there(b), Selection(until=1.0)).entries == ()
    assert pull(b, there(b), Selection(kind="model")).entries == (two.key,)


def test_what_was_cleared_here_comes_back_only_from_the_trash(opened: Opened, there: There) -> None:
    a = opened("a")
    entry = commit(a, 1)
    push(a, there(a))
    removal.execute(a, removal.plan(a, [entry], files=True))
    assert compare(a, there(a)).cleared == (entry.key,)
    assert pull(a, there(a)).entries == ()
    removal.purge(a, before=entry.created_at + 1e9)
    assert pull(a, there(a)).entries == (entry.key,)
    assert contents(a)


def test_a_damaged_object_costs_only_what_is_in_it(opened: Opened, there: There) -> None:
    a, b = opened("a"), opened("b")
    bad, good = commit(a, 1, {"f": b"x" * LARGE}), commit(a, 2)
    push(a, there(a))
    store = there(b).store
    [(name, _)] = store.names(BLOBS)
    store.publish_bytes(name, b"y" * LARGE)
    pulled = pull(b, there(b))
    assert pulled.entries == (good.key,)
    assert list(pulled.problems) == [bad.key]
    assert "damaged" in pulled.problems[bad.key]
    [(pack, _)] = store.names(PACKS)
    store.remove(pack)
    c = opened("c")
    assert set(pull(c, there(c)).problems) == {bad.key, good.key}
    assert c.entries() == []
    assert not [path for path in (c.root / "objects").rglob("*") if path.is_file()]


def test_a_place_that_is_not_there_is_no_empty_remote(opened: Opened, tmp_path: Path) -> None:
    a = opened("a")
    registry.add(a.root, "gone", str(tmp_path / "not" / "mounted"))  # as `remotes.json` may say
    with pytest.raises(RemoteError, match="no remote at"):
        open_remote(a, "gone")
    assert not (tmp_path / "not").exists()


def test_a_name_that_is_taken_makes_no_remote(opened: Opened, tmp_path: Path) -> None:
    a = opened("a")
    assert add_remote(a, "team", str(tmp_path / "team")).new
    assert not add_remote(a, "same", str(tmp_path / "team")).new
    with pytest.raises(RemoteError, match="remote remove team"):
        add_remote(a, "team", str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("url", ["s3:/bucket/x", "s3:bucket/x"])
def test_a_url_with_a_slip_is_no_path(url: str) -> None:
    with pytest.raises(RemoteError, match="write s3://bucket/x"):
        registry.checked_url(url)


@pytest.mark.parametrize("url", ["", " ", "s3://", "s3:///", "file://team", "github://x", "CACHE"])
def test_what_names_no_place_makes_no_remote(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    a = opened("a")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RemoteError):
        add_remote(a, "team", str(a.root / "remote") if url == "CACHE" else url)
    assert not list((tmp_path / "here").iterdir())
    assert registry.Registry.of(a.root).urls == {}


@pytest.mark.parametrize(
    "url",
    [
        "sftp://me@host:22/x",
        "sftp://host:2222/dir@lab",
        "az://box@account/x",
        "s3://b/x@y",
        "s3://b/a:b@c",
    ],
)
def test_a_user_is_no_secret(url: str) -> None:
    assert registry.checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/x",
        "s3://key@bucket/x",
        "https://token@host/x",
        "sftp://me:with/slash@host/x",
        "ssh://h/x?password=y",
        "simplecache::s3://key:secret@bucket/x",
        "dir::sftp://me:secret@host",
    ],
)
def test_no_secret_is_written_down(opened: Opened, url: str) -> None:
    a = opened("a")
    with pytest.raises(RemoteError, match="password"):
        registry.add(a.root, "team", url)
    assert not (a.root / "remotes.json").exists()
