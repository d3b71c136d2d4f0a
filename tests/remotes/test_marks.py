"""Marks travel, and where the settings name whom to trust, nobody else's entries are taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.cache.marks import NOTE, PIN, TAG
from motools.cache.rejection import reject, withdraw
from motools.cache.selection import Selection
from motools.cache.trust import make_signer
from motools.errors import RejectedError, RemoteError, UntrustedError
from motools.remotes import add_remote, compare, open_remote, plan_prune, prune, pruning, pull, push
from motools.remotes.bundles import export_bundle, import_bundle
from motools.settings import Settings
from tests.cache.conftest import action

from .conftest import commit, contents


def cache(place: Path, name: str, **settings: object) -> Cache:
    opened = Cache.open(place / name, settings=replace(Settings(), **settings))
    add_remote(opened, "there", str(place / "remote"))
    return opened


def test_tags_notes_and_rejections_travel_and_pins_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = cache(tmp_path, "a"), cache(tmp_path, "b")
    entry = commit(a, 1)
    a.marks.set(entry.key, f"{TAG}paper")
    a.marks.set(entry.key, PIN)
    push(a, open_remote(a))
    pull(b, open_remote(b))
    assert b.marks.of(entry.key) == {f"{TAG}paper": ""}

    a.marks.set(entry.key, NOTE, "of the first run")
    reject(a, [entry], "the rows were shuffled")
    assert push(a, open_remote(a)).entries == ()
    monkeypatch.setattr(pruning, "_MANY_SEGMENTS", 0)  # so that segments are written anew
    prune(open_remote(a), plan_prune(open_remote(a)))
    b.marks.set(entry.key, NOTE, "mine, and later")
    pull(b, open_remote(b))
    assert b.marks.of(entry.key)[NOTE] == "mine, and later"
    with pytest.raises(RejectedError, match="the rows were shuffled"):
        b.look_up([action(1)])
    push(b, open_remote(b))
    pull(a, open_remote(a))
    assert a.marks.of(entry.key)[NOTE] == "mine, and later"


def test_only_what_a_trusted_person_signed_is_taken(tmp_path: Path) -> None:
    alice = make_signer(tmp_path / "alice.pem")
    make_signer(tmp_path / "mallory.pem")
    ours = cache(tmp_path, "a", signing_key=str(tmp_path / "alice.pem"))
    theirs = cache(tmp_path, "m", signing_key=str(tmp_path / "mallory.pem"))
    mine, unsigned = commit(ours, 1), commit(cache(tmp_path, "n"), 2)
    forged = commit(theirs, 3)
    for pushing in (ours, theirs, cache(tmp_path, "n")):
        push(pushing, open_remote(pushing))

    trusted = {"alice": alice.public}
    b = cache(tmp_path, "b", trusted_keys=trusted)
    pulled = pull(b, open_remote(b))
    assert pulled.entries == (mine.key,)
    assert "it is not signed" in pulled.problems[unsigned.key]
    assert "signed by mallory" in pulled.problems[forged.key]
    assert list(contents(b)) == [mine.key]

    through = cache(tmp_path, "c", trusted_keys=trusted, remote_mode="read")
    [found] = through.look_up([action(1)])
    assert found is not None
    with pytest.raises(UntrustedError, match=f"{forged.key[:12]}.*mallory"):
        through.look_up([action(3)])

    export_bundle(theirs, tmp_path / "bundle")
    with pytest.raises(RemoteError, match=f"{forged.key[:12]}.*mallory"):
        import_bundle(b, tmp_path / "bundle")


def test_tags_say_what_is_exchanged(tmp_path: Path) -> None:
    a, b = cache(tmp_path, "a"), cache(tmp_path, "b")
    tagged, _ = commit(a, 1), commit(a, 2)
    a.marks.set(tagged.key, f"{TAG}paper")
    paper = Selection(tags=["paper"])
    assert push(a, open_remote(a), paper).entries == (tagged.key,)
    push(a, open_remote(a))
    assert compare(b, open_remote(b), paper).behind == (tagged.key,)
    assert pull(b, open_remote(b), paper).entries == (tagged.key,)
    assert b.marks.of(tagged.key) == {f"{TAG}paper": ""}
    assert pull(b, open_remote(b), Selection(tags=["other"])).entries == ()


@pytest.mark.parametrize("prunes", [False, True])
def test_what_is_taken_off_is_taken_off_elsewhere(
    tmp_path: Path, prunes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = cache(tmp_path, "a"), cache(tmp_path, "b")
    entry = commit(a, 1)
    paper = f"{TAG}paper"
    for name, value in ((paper, ""), (NOTE, "figure 3")):
        a.marks.set(entry.key, name, value)
    reject(a, [entry], "wrong")
    push(a, open_remote(a))
    pull(b, open_remote(b))
    assert set(b.marks.of(entry.key)) == {paper, NOTE, "rejected"}
    a.marks.drop(entry.key, paper)
    a.marks.drop(entry.key, NOTE)
    withdraw(a, [entry.key])
    assert push(a, open_remote(a)).marks == 3
    if prunes:
        monkeypatch.setattr(pruning, "_MANY_SEGMENTS", 0)
        prune(open_remote(a), plan_prune(open_remote(a)))
    assert push(b, open_remote(b)).marks == 0, "what b says is older"
    assert pull(b, open_remote(b)).marks == 3
    assert b.marks.of(entry.key) == {}
    assert b.look_up([action(1)])[0] is not None
    b.marks.set(entry.key, paper)
    push(b, open_remote(b)), pull(a, open_remote(a))
    assert a.marks.of(entry.key) == {paper: ""}, "and on again"
