"""A remote is verified: every kind of damage is found, and the next push mends it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.remotes import Remote, plan_prune, prune, pruning, pull, push, verify_remote
from motools.remotes.layout import BLOBS, INDEX, LARGE, PACKS
from motools.remotes.segments import Draft, Listed
from motools.upkeep.findings import Damage
from motools.upkeep.health import health

from .conftest import Opened, There, commit, contents

NOISE = random.Random(0).randbytes


def only(remote: Remote, folder: str) -> str:
    [(name, _)] = remote.store.names(folder)
    return name


def flipped(remote: Remote, name: str, at: int) -> None:
    data = bytearray(remote.store.read(name) or b"")
    data[at] ^= 1
    remote.store.publish_bytes(name, bytes(data))


def cut(remote: Remote, name: str, at: int) -> None:
    remote.store.publish_bytes(name, (remote.store.read(name) or b"")[:at])


def filled(opened: Opened, there: There) -> tuple[Cache, list[str]]:
    """A cache that has pushed: one entry in a pack, one with a large blob, one without files."""
    a = opened("a")
    small = commit(a, 1, {"x": NOISE(9_000), "y": NOISE(9_000)})
    large = commit(a, 2, {"large": NOISE(LARGE)})
    push(a, there(a))
    return a, [small.key, large.key]


def test_a_whole_remote_is_well(opened: Opened, there: There) -> None:
    a, _ = filled(opened, there)
    assert health(a, there(a).url) is None
    found = verify_remote(a, there(a), read_data=True)
    assert (found.entries, found.blobs, found.findings) == (2, 3, ())
    assert found.bytes >= LARGE
    said = health(a, there(a).url)
    assert said is not None and (said.entries, said.bad) == (2, 0)
    assert health(a) is None, "the cache itself was not looked at"


@pytest.mark.parametrize(
    ("folder", "hurt", "damage", "read"),
    [
        (PACKS, lambda r, n: flipped(r, n, 5), Damage.ALTERED, True),
        (BLOBS, lambda r, n: flipped(r, n, LARGE - 1), Damage.ALTERED, True),
        (PACKS, lambda r, n: cut(r, n, 12_000), Damage.MISSING, False),
        (BLOBS, lambda r, n: cut(r, n, LARGE - 1), Damage.MISSING, False),
        (PACKS, lambda r, n: r.store.remove(n), Damage.MISSING, False),
        (BLOBS, lambda r, n: r.store.remove(n), Damage.MISSING, False),
    ],
    ids=["pack flipped", "blob flipped", "pack cut", "blob cut", "pack gone", "blob gone"],
)
def test_damage_is_found_and_the_next_push_mends_it(
    opened: Opened,
    there: There,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    hurt: Callable[[Remote, str], object],
    damage: Damage,
    read: bool,
) -> None:
    a, keys = filled(opened, there)
    hurt(there(a), only(there(a), folder))
    if read:
        assert verify_remote(a, there(a)).findings == (), "without reading it cannot be seen"
    found = verify_remote(a, there(a), read_data=read).findings
    assert {each.key for each in found} == {keys[folder == BLOBS]}
    for each in found:
        assert (each.damage, each.remote) == (damage, "there")
        assert "motools cache push --remote there" in each.remedy
    pushed = push(a, there(a))
    assert pushed.entries == (keys[folder == BLOBS],)
    assert push(a, there(a)).entries == ()
    b = opened("b")
    assert pull(b, there(b)).problems == {}
    assert contents(b) == contents(a)
    # What is written anew is written from what is whole.
    monkeypatch.setattr(pruning, "_MANY_SEGMENTS", 0)
    for _ in range(2):
        prune(there(a), plan_prune(there(a), grace=0), grace=0)
    assert verify_remote(b, there(b), read_data=True).findings == ()
    c = opened("c")
    assert pull(c, there(c)).problems == {}
    assert contents(c) == contents(a)


def test_a_document_and_its_segment_are_held_against_each_other(
    opened: Opened, there: There
) -> None:
    a, [key, _] = filled(opened, there)
    remote = there(a)
    [listed] = remote.index.listed([key])
    draft = Draft()
    draft.add_entry(Listed(key, listed.generations, (), listed.document))
    draft.add_entry(Listed(key, ((7, "f" * 64, "live"),), listed.blobs, listed.document))
    altered = listed.document.replace(b'"n":1', b'"n":2')
    assert altered != listed.document
    draft.add_entry(Listed(key, listed.generations, listed.blobs, altered))
    draft.publish(remote.store)
    found = verify_remote(a, there(a)).findings
    assert sorted(each.damage for each in found) == [
        Damage.DOCUMENT,
        Damage.LINKS,
        Damage.RECORD,
    ]
    assert len(list(remote.store.names(INDEX))) == 2


def test_a_part_is_verified_alone(opened: Opened, there: There, tmp_path: Path) -> None:
    a, [small, large] = filled(opened, there)
    there(a).store.remove(only(there(a), BLOBS))
    assert verify_remote(a, there(a), [small]).findings == ()
    assert len(verify_remote(a, there(a), [large]).findings) == 1
    assert health(a, there(a).url) is None
    assert not (tmp_path / "quarantine").exists()
