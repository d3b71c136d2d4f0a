"""What anybody may write into a remote: it is refused by name, and the rest goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zstandard

from motools.cache import Cache
from motools.digest import hash_bytes
from motools.errors import CacheVersionError, CorruptDocumentError
from motools.remotes import Remote, open_remote, pull, push, verify_remote
from motools.remotes.layout import segment_name
from motools.upkeep.findings import Damage

from .conftest import commit
from .test_trusting import People, person, signers

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
