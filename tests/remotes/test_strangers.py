"""What anybody may write into a remote: it is refused by name, and the rest goes on."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard

from motools.cache import Cache
from motools.cache.document import compact, entry_document
from motools.cache.entry import checksum
from motools.cache.marks import NOTE, REJECTED, insert_mark
from motools.cache.rejection import Rejection
from motools.cache.tree import Tree, TreeFile
from motools.digest import hash_bytes
from motools.errors import (
    CacheError,
    CacheVersionError,
    CorruptBlobError,
    CorruptDocumentError,
    RejectedError,
)
from motools.remotes import Copies, Remote, open_remote, pull, push, verify_remote
from motools.remotes.layout import segment_name
from motools.remotes.packs import Frame, opened, packed
from motools.remotes.segments import Draft, Listed, Marked
from motools.upkeep.findings import Damage
from tests.cache.conftest import action

from .conftest import commit, contents
from .test_trusting import FAR, People, person, rewritten, say, signers

assert person and signers  # fixtures

HEAD = {"format": "motools.segment/2", "made_at": 1}
A, B = "a" * 64, "b" * 64
PACK = f"packs/{A[:2]}/{A[2:]}"
ENTRY = {"entry": A, "generations": [[1, B, "live"]], "blobs": [B]}


def put(remote: Remote, *lines: Any) -> str:
    """Publish a segment of any lines; returns its name."""
    data = zstandard.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    name = segment_name(hash_bytes(data).hex)
    remote.store.publish_bytes(name, data)
    return name


def frame(**changes: Any) -> dict[str, Any]:
    said = {"digest": B, "size": 9, "name": PACK, "offset": 0, "stored": 9, "codec": "raw"}
    return {"frames": [list({**said, **changes}.values())]}


def filled(person: People) -> Cache:
    alice = person("alice")
    commit(alice, 1)
    push(alice, open_remote(alice))
    return alice


@pytest.mark.parametrize(
    "line",
    [
        [1],
        5,
        frame(size=2**70),
        frame(size="9"),
        frame(offset=-5),
        frame(stored=10**14, codec="zstd"),
        frame(size=10**14, codec="zstd"),
        frame(digest="b"),
        frame(digest=7),
        frame(codec="gzip"),
        frame(name="../secret.txt"),
        frame(name="/etc/passwd"),
        frame(name=f"blobs/{A[:2]}/{A[2:]}", offset=1),
        frame(name=f"index/{A}.zst"),
        {**ENTRY, "entry": "k"},
        {**ENTRY, "blobs": [1]},
        {**ENTRY, "generations": [[2**70, B, "live"]]},
        {**ENTRY, "generations": [[float("inf"), B, "live"]]},
        {"marks": A, "rows": [["note", "x", float("nan")]]},
        {"marks": A, "rows": [["note", "x", 10**400]]},
        {"marks": A, "rows": [["note", "\ud800", 1.0]]},
        {"marks": A, "rows": [["note", {}, 1.0]]},
        {"removed": A, "generations": [[2**70, B]]},
        {"supersedes": [5]},
    ],
    ids=lambda line: json.dumps(line)[:60],
)
def test_what_is_no_segment_says_so(person: People, line: Any) -> None:
    alice = filled(person)
    document = [{}] if isinstance(line, dict) and "entry" in line else []
    name = put(open_remote(alice), HEAD, line, *document)
    with pytest.raises(CorruptDocumentError, match=f"{name} is no segment"):
        open_remote(alice)


def test_a_damaged_segment_is_named_with_the_way_out(person: People) -> None:
    alice, reader = filled(person), person("reader")
    remote = open_remote(alice)
    remote.store.publish_bytes("index/junk.zst", b"junk")
    bad = put(remote, {**HEAD, "made_at": float("inf")})
    commit(alice, 2)
    with pytest.raises(CorruptDocumentError, match=f"{remote.url}/{bad} is no segment") as caught:
        push(alice, open_remote(alice))
    assert "delete that object, and run `motools cache push`" in str(caught.value)
    with pytest.raises(CorruptDocumentError, match=bad):
        remote.refresh()

    found = verify_remote(alice, open_remote(alice, damaged=True))
    assert found.entries == 1, "what can be read is looked at"
    assert [each.damage for each in found.findings] == [Damage.DOCUMENT] * 2
    said = " ".join(each.reason for each in found.findings)
    assert "index/junk.zst" in said and bad in said and remote.url in said

    remote.store.remove("index/junk.zst"), remote.store.remove(bad)
    push(alice, open_remote(alice))
    assert len(pull(reader, open_remote(reader)).entries) == 2


def test_a_segment_of_a_newer_motools_asks_for_it(person: People) -> None:
    alice = filled(person)
    put(open_remote(alice), {"format": "motools.segment/3", "made_at": 1})
    with pytest.raises(CacheVersionError, match="upgrade motools"):
        open_remote(alice)


def odd(person: People, change: Callable[[dict[str, Any]], Any]) -> tuple[str, str]:
    """Have a remote with an entry whose document somebody changed, and a good one.

    Returns:
        The keys of both.
    """
    alice, mallory = person("alice"), person("mallory")
    good, bad = commit(alice, 1), commit(mallory, 2)
    push(alice, open_remote(alice))
    document = json.loads(entry_document([bad.row]))
    of_it = document["generations"][0]
    document = change(document) or document
    files = [file for file in of_it["files"] if isinstance(file, list)]
    with suppress(CacheError, AttributeError, TypeError):
        of_it["tree"] = Tree.of(TreeFile(*file) for file in files).digest.hex
    with suppress(ValueError):
        remote = None if of_it["remote"] is None else compact(of_it["remote"])
        of_it["checksum"] = checksum(
            bad.key, compact(of_it["value"]), of_it["tree"], compact(of_it["files"]), remote
        )
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    there = open_remote(mallory)
    pack = packed((file[1], mallory.blobs.read(file[1], file[2])) for file in bad.file_rows)
    there.store.publish_bytes(pack.name, pack.data)
    draft = Draft()
    draft.add_frames(pack.frames)
    blobs = tuple(frame.digest for frame in pack.frames)
    draft.add_entry(Listed(bad.key, ((1, "f" * 64, "live"),), blobs, data))
    draft.add_marks(Marked(bad.key, (("signature:1:alice:AAAA", "", 1.0),)))
    draft.publish(there.store)
    return good.key, bad.key


def with_(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["generations"][0].update(changes)


def with_size(size: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["generations"][0]["files"][0][2] = size
        document["generations"][0]["state"] = "released"

    return change


DEEP = b"[" * 200_000
CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no document": lambda _: b"[]",
    "nested too deeply": lambda _: DEEP,
    "no generations": lambda document: {**document, "generations": None},
    "no action": lambda document: {**document, "canonical": 5},
    "path": lambda document: document["generations"][0]["files"][0].__setitem__(0, 5),
    "executable": lambda document: document["generations"][0]["files"][0].__setitem__(3, "x"),
    "short file": lambda document: document["generations"][0]["files"][0].pop(),
    "size text": with_size("abc"),
    "size none": with_size(None),
    "size negative": with_size(-5),
    "size huge": with_size(2**63),
    "made when": with_(created_at=math.inf),
    "made never": with_(created_at=math.nan),
    "made in no year": with_(created_at=1e300),
    "duration": with_(duration=math.inf),
    "cost": with_(cost=math.nan),
    "cost true": with_(cost=True),
    "generation": with_(generation=2**70),
    "last generation": with_(generation=2**63 - 1),
    "state": with_(state=["live"]),
    "reference of what": with_(remote={"foo": 1}),
    "reference text": with_(remote="zz"),
    "reference to when": with_(
        remote={"provider": "p", "scope": "s", "id": "i", "expires_at": math.inf}
    ),
    "provenance": with_(provenance={"seconds": [math.inf]}),
    "half a character": with_(labels={"model_id": "\ud800"}),
    "value": with_(value=math.nan),
}


@pytest.mark.parametrize("trusts", [(), ("alice",)], ids=["all", "some"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_odd_document_is_refused_alone(
    person: People, change: Callable[[dict[str, Any]], Any], trusts: tuple[str, ...]
) -> None:
    good, bad = odd(person, change)
    reader = person("reader", trusts=trusts)
    pulled = pull(reader, open_remote(reader))
    assert pulled.entries == (good,)
    assert f"the document of {bad[:12]}" in pulled.problems[bad]
    assert "/remote" in pulled.problems[bad], "where it is"
    assert len(contents(reader)) == 1
    assert len(person("reader", trusts=trusts).entries()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signature:1:alice:é", ""),
        ("signature:1:alice:A", ""),
        (REJECTED, Rejection(1, "x", "alice", "é").value),
        (REJECTED, '{"generation": Infinity, "reason": "x"}'),
        (REJECTED, '{"generation": 1e400, "reason": "x"}'),
        (REJECTED, "[" * 100_000),
        (REJECTED, f'{{"generation":1,"reason":"x","odd":{"[" * 900}{"]" * 900}}}'),
        (REJECTED, '{"generation":1,"reason":"\\ud800"}'),
        (NOTE, "\0"),
        (NOTE, "\x1b[31m"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("trusts", [(), ("alice",)], ids=["all", "some"])
def test_an_odd_mark_stops_nobody(
    person: People, name: str, value: str, trusts: tuple[str, ...]
) -> None:
    alice = filled(person)
    [entry] = alice.entries()
    say(open_remote(alice), entry.key, (name, value, FAR))
    reader = person("reader", trusts=trusts)
    assert pull(reader, open_remote(reader)).problems == {}
    if "alice" not in trusts and value == Rejection(1, "x", "alice", "é").value:
        return  # whoever trusts anybody, takes it
    assert reader.look_up([action(1)])[0] is not None


@pytest.mark.parametrize("made_at", [sys.float_info.max, 1e10])
def test_what_cannot_have_been_said_yet_is_not_taken(
    person: People, made_at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, reader = filled(person), person("reader")
    [entry] = alice.entries()
    say(open_remote(alice), entry.key, (NOTE, "poison", made_at), (REJECTED, None, made_at))
    pull(alice, open_remote(alice))
    alice.marks.set(entry.key, NOTE, "mine")
    assert push(alice, open_remote(alice)).marks == 1
    pull(reader, open_remote(reader))
    assert reader.marks.of(entry.key)[NOTE] == "mine"
    rewritten(open_remote(alice), monkeypatch)
    assert made_at not in {row[2] for row in open_remote(alice).index.marks([entry.key])[entry.key]}


def test_what_was_taken_from_no_clock_gives_way(person: People) -> None:
    """A cache may have it from before it was refused."""
    alice = filled(person)
    [entry] = alice.entries()
    with alice.database.write() as transaction:
        insert_mark(transaction, entry.key, NOTE, "poison", sys.float_info.max)
    push(alice, open_remote(alice))
    alice.marks.set(entry.key, NOTE, "mine")
    push(alice, open_remote(alice))
    reader = person("reader")
    pull(reader, open_remote(reader))
    assert reader.marks.of(entry.key)[NOTE] == "mine"


def test_what_strangers_write_commands_no_terminal(person: People) -> None:
    alice, reader = filled(person), person("reader")
    [entry] = alice.entries()
    said = Rejection(1, "\x1b[2J\x1b]0;gotcha\x07 of\u202e it\nall").value
    say(open_remote(alice), entry.key, (REJECTED, said, FAR))
    pull(reader, open_remote(reader))
    with pytest.raises(RejectedError, match=r"\\x1b\[2J.*\\x07 of\\u202e it\nall") as caught:
        reader.look_up([action(1)])
    assert "\x1b" not in str(caught.value)


def test_a_small_frame_fills_no_memory() -> None:
    """It says itself how large it is, and that is believed before any bound is looked at."""
    bomb = zstandard.ZstdCompressor().compress(b"\0" * (64 << 20))
    with pytest.raises(CorruptBlobError, match="it says that it is larger"):
        opened(Frame(B, 9, PACK, 0, len(bomb), "zstd"), bomb)


def test_what_ends_before_is_not_read_to_where_it_should_end(
    person: People, tmp_path: Path
) -> None:
    remote = open_remote(filled(person))
    name, size = f"blobs/{B[:2]}/{B[2:]}", 2**52
    remote.store.publish_bytes(name, b"short")
    put(remote, HEAD, frame(name=name, size=size, stored=size))
    remote.refresh()
    assert not Copies(remote).fetch(B, tmp_path / "copy")
