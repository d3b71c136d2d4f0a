"""Somebody can write to the bucket: nobody comes to use a result that nobody trusted made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache
from motools.cache.marks import NOTE, REJECTED, TAG
from motools.cache.rejection import Rejection, reject, withdraw
from motools.cache.selection import Selection
from motools.cache.trust import SIGNATURE, Signer, make_signer, sign
from motools.errors import RejectedError, UntrustedError
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
)
from motools.remotes.segments import Draft, Listed, Marked, Said
from motools.settings import Settings
from tests.cache.conftest import action

from .conftest import commit

FAR = time.time() + 1e8
"""Later than whatever anybody says, and still what a clock may say."""

People = Callable[..., Cache]


@pytest.fixture
def signers(tmp_path: Path) -> dict[str, Signer]:
    return {name: make_signer(tmp_path / f"{name}.pem") for name in ("alice", "bob", "mallory")}


@pytest.fixture
def person(tmp_path: Path, signers: dict[str, Signer]) -> People:
    """The cache of somebody by name, who signs with a key if there is one of that name."""

    def person(name: str, *, trusts: tuple[str, ...] = (), **settings: Any) -> Cache:
        key = str(tmp_path / f"{name}.pem") if name in signers else ""
        trusted = {each: signers[each].public for each in trusts}
        how = replace(Settings(), signing_key=key, trusted_keys=trusted, **settings)
        cache = Cache.open(tmp_path / name, settings=how)
        add_remote(cache, "there", str(tmp_path / "remote"))
        return cache

    return person


def say(remote: Remote, key: str, *said: Said) -> None:
    """Write into the remote what somebody says of a key, as nobody is kept from doing."""
    draft = Draft()
    draft.add_marks(Marked(key, said))
    draft.publish(remote.store)


def rewritten(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody prune who trusts everybody."""
    remote.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(pruning, "_MANY_SEGMENTS", 0)
        prune(remote, plan_prune(remote))


def test_a_stranger_s_generation_is_refused_alone(person: People) -> None:
    alice, mallory = person("alice"), person("mallory")
    entry = commit(alice, 1)
    push(alice, open_remote(alice))
    pull(mallory, open_remote(mallory))
    commit(mallory, 1, value="better", refresh=True)
    push(mallory, open_remote(mallory))
    bob = person("reader", trusts=("alice",))
    pulled = pull(bob, open_remote(bob))
    assert pulled.entries == (entry.key,)
    assert "generation 2) is not trusted: it is signed by mallory" in pulled.problems[entry.key]
    assert [(e.generation, e.value) for e in bob.entries()] == [(1, entry.value)]
    asking = person("asking", trusts=("alice",), remote_mode="read")
    [found] = asking.look_up([action(1)])
    assert found is not None and (found.generation, found.value) == (1, entry.value)


def test_who_comes_first_does_not_stand_in_the_way(person: People) -> None:
    mallory, alice = person("mallory"), person("alice")
    commit(mallory, 1, value="poisoned")
    entry = commit(alice, 1)
    push(alice, open_remote(alice))
    # A segment that says that it is older than all others.
    of_mallory = open_remote(mallory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("motools.remotes.segments.time.time", lambda: 1.0)
        patch.setattr("motools.remotes.pushing.compare", _blind)
        push(mallory, of_mallory)
    reader = person("reader", trusts=("alice",))
    remote = open_remote(reader)
    assert len(list(remote.index.documents([entry.key]))) == 2
    assert pull(reader, remote).entries == (entry.key,)
    assert reader.entry(entry.key).value == entry.value


@pytest.mark.parametrize("names_it", [False, True])
def test_who_pushed_first_does_not_keep_a_signed_result_out(person: People, names_it: bool) -> None:
    mallory, alice = person("mallory"), person("alice", trusts=("alice",))
    poisoned, entry = commit(mallory, 1, value="poisoned"), commit(alice, 1)
    push(mallory, open_remote(mallory))
    selection = Selection(keys=frozenset([entry.key])) if names_it else None
    pushed = push(alice, open_remote(alice), selection)
    assert (pushed.entries, pushed.diverged) == ((entry.key,), ())
    status = compare(alice, open_remote(alice))
    assert (status.same, status.ahead, status.diverged) == (1, (), ())
    reader = person("reader", trusts=("alice",))
    assert pull(reader, open_remote(reader)).entries == (entry.key,)
    assert reader.entry(entry.key).value == entry.value
    # Whoever trusts everybody is told, and has what was there first.
    plain = person("plain")
    commit(plain, 1)
    [diverged] = compare(plain, open_remote(plain)).diverged
    assert poisoned.row[8] in diverged.there


def test_what_only_a_segment_says_keeps_nothing_out(person: People) -> None:
    plain = person("plain")
    entry = commit(plain, 1)
    draft = Draft()
    draft.add_entry(Listed(entry.key, ((1, 64 * "0", "live"),), (), b"{}"))
    draft.publish(open_remote(plain).store)
    pushed = push(plain, open_remote(plain))
    assert (pushed.entries, pushed.diverged) == ((entry.key,), ())
    reader = person("reader")
    assert pull(reader, open_remote(reader)).entries == (entry.key,)


def _blind(cache: Cache, *_: Any) -> Any:
    from motools.remotes import Status

    keys = tuple(entry.key for entry in cache.entries())
    return Status(keys, (), 0, (), (), ())


@pytest.mark.parametrize("prunes", [False, True])
def test_nothing_takes_the_place_of_a_signature(
    person: People, prunes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = person("alice")
    entry = commit(alice, 1)
    push(alice, open_remote(alice))
    remote = open_remote(alice)
    [name] = [n for n in alice.marks.of(entry.key) if n.startswith(SIGNATURE)]
    say(remote, entry.key, (name, "another", FAR), ("signature:1:alice:AAAA", "", FAR))
    say(remote, entry.key, (name, None, FAR + 1))
    if prunes:
        rewritten(remote, monkeypatch)
    reader = person("reader", trusts=("alice",))
    assert pull(reader, open_remote(reader)).problems == {}
    assert reader.entry(entry.key).value == entry.value
    # Nor of one that is not there yet.
    late = commit(alice, 2)
    [name] = [n for n in alice.marks.of(late.key) if n.startswith(SIGNATURE)]
    say(remote, late.key, (name, None, FAR))
    push(alice, open_remote(alice))
    assert pull(reader, open_remote(reader)).entries == (late.key,)


def test_signing_what_was_pushed_already_sends_the_signature(person: People) -> None:
    plain, reader = person("plain"), person("reader", trusts=("alice",))
    commit(plain, 1)
    push(plain, open_remote(plain))
    assert list(pull(reader, open_remote(reader)).problems)
    alice = person("alice")
    pull(alice, open_remote(alice))
    assert sign(alice, alice.entries()) == "alice"
    pushed = push(alice, open_remote(alice))
    assert (pushed.entries, pushed.marks) == ((), 1)
    assert push(alice, open_remote(alice)).marks == 0
    assert len(pull(reader, open_remote(reader)).entries) == 1


def test_only_the_trusted_reject_and_withdraw(
    person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = person("alice"), person("bob")
    entry = commit(alice, 1)
    push(alice, open_remote(alice)), pull(bob, open_remote(bob))
    careful, credulous = person("careful", trusts=("alice", "bob")), person("credulous")

    def follow() -> None:
        for cache in (careful, credulous):
            pull(cache, open_remote(cache))

    reject(person("mallory", trusts=()), [entry], "I do not like it")
    mallory = person("mallory")
    pull(mallory, open_remote(mallory))
    push(mallory, open_remote(mallory))
    follow()
    assert careful.look_up([action(1)])[0] is not None
    with pytest.raises(RejectedError, match="I do not like it"):
        credulous.look_up([action(1)])

    reject(bob, [bob.entry(entry.key)], "poisoned")
    push(bob, open_remote(bob))
    remote = open_remote(mallory)
    forged = Rejection(0, "", "bob", "AAAA").value
    say(remote, entry.key, (REJECTED, forged, FAR), (REJECTED, None, FAR + 1))
    rewritten(remote, monkeypatch)
    follow()
    with pytest.raises(RejectedError, match="poisoned"):
        careful.look_up([action(1)])
    assert credulous.look_up([action(1)])[0] is not None, "whoever trusts anybody, trusts mallory"

    pull(alice, open_remote(alice))
    before = bob.marks.of(entry.key)[REJECTED]
    withdraw(bob, [entry.key])
    push(bob, open_remote(bob))
    follow()
    assert careful.look_up([action(1)])[0] is not None
    # What was said once cannot be said again by somebody else.
    say(remote, entry.key, (REJECTED, before, FAR))
    follow()
    assert careful.look_up([action(1)])[0] is not None


def test_what_is_nonsense_is_not_taken(person: People) -> None:
    alice, plain = person("alice"), person("plain")
    entry = commit(alice, 1)
    push(alice, open_remote(alice))
    say(open_remote(alice), entry.key, (REJECTED, "no rejection", FAR), ("pin", "", FAR))
    pull(plain, open_remote(plain))
    assert plain.look_up([action(1)])[0] is not None
    assert all(name.startswith(SIGNATURE) for name in plain.marks.of(entry.key))
    with pytest.raises(UntrustedError):
        person("asking", trusts=("bob",), remote_mode="read").look_up([action(1)])


def test_a_mark_from_a_fast_clock_can_be_changed_and_taken_off(person: People) -> None:
    one, two = person("one"), person("two")
    entry = commit(one, 1)
    push(one, open_remote(one))
    say(open_remote(one), entry.key, (NOTE, "from the future", FAR), (f"{TAG}odd", "", FAR))
    pull(one, open_remote(one))
    one.marks.set(entry.key, NOTE, "from now")
    one.marks.drop(entry.key, f"{TAG}odd")
    assert push(one, open_remote(one)).marks == 2
    pull(two, open_remote(two))
    assert two.marks.of(entry.key) == {NOTE: "from now"}
    assert math.isfinite(FAR)
