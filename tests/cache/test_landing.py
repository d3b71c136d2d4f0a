"""Large files land here: hashed as they come, and where they stopped."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from motools.cache import landing
from motools.cache.file_system import FsspecStore
from motools.cache.landing import land
from motools.cache.local import LocalStore
from motools.cache.s3 import S3Store
from motools.cache.store import Store
from motools.digest import Digest, hash_bytes
from motools.errors import CacheUnavailableError
from tests import faulty, s3
from tests.faulty import CutShort, Proxy

DATA = os.urandom((40 << 20) + 7)
WANTED = hash_bytes(DATA)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture
def store() -> Store:
    store = FsspecStore(lambda: fsspec.filesystem("memory"), f"/{os.urandom(8).hex()}")
    store.publish_bytes("blob", DATA)
    return store


def partial(root: Path) -> Path:
    return root / "tmp" / "partial" / WANTED.hex


def arrive(root: Path, store: Store, seen: Callable[[int], None] = int) -> Digest | None:
    return land(root, store, "blob", root / "target", WANTED, seen=seen)


def test_it_is_here_and_it_is_known_what_it_is(root: Path, store: Store) -> None:
    told: list[int] = []
    assert arrive(root, store, told.append) == WANTED
    assert (root / "target").read_bytes() == DATA
    assert sum(told) == len(DATA)
    assert not partial(root).exists()


def test_a_disk_that_fails_while_it_arrives_is_not_passed_over(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever syncs the file afterwards need not be told of it again."""
    synced: list[int] = []

    def fail_once(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(landing, "_SYNC", 8 << 20)
    monkeypatch.setattr(os, "fsync", fail_once)
    with pytest.raises(CacheUnavailableError, match="Input/output error"):
        arrive(root, store)
    assert arrive(root, store) == WANTED


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_no_more_comes_than_shows_that_it_is_another(
    root: Path, store: Store, kind: str, tmp_path: Path
) -> None:
    if kind == "local":
        (tmp_path / "there" / "tmp").mkdir(parents=True)
        store = LocalStore(tmp_path / "there")
        store.publish_bytes("blob", DATA)
    told: list[int] = []
    wanted = hash_bytes(DATA[: 9 << 20])
    found = land(root, store, "blob", root / "target", wanted, seen=told.append)
    assert found == hash_bytes(DATA[: wanted.size + 1])
    assert (root / "target").stat().st_size == sum(told) == wanted.size + 1
    assert not list((root / "tmp").glob("partial/*"))


def test_what_is_not_there_leaves_nothing(root: Path, store: Store) -> None:
    assert land(root, store, "no", root / "target", WANTED) is None
    assert not partial(root).exists()
    assert not (root / "target").exists()


@pytest.mark.parametrize("kept", [0, 5, 9 << 20, len(DATA)])
def test_what_has_come_is_not_asked_for_again(
    root: Path, store: Store, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial(root).parent.mkdir()
    partial(root).write_bytes(DATA[:kept])
    asked: list[int] = []
    stream = store.stream

    def watched(name: str, start: int = 0, *, ahead: int = 4) -> Iterator[bytes] | None:
        asked.append(start)
        return stream(name, start, ahead=ahead)

    monkeypatch.setattr(store, "stream", watched)
    assert arrive(root, store) == WANTED
    assert (root / "target").read_bytes() == DATA
    assert asked == [kept]


@pytest.mark.parametrize("altered", [b"x", DATA + b"more"])
def test_what_was_kept_is_not_trusted(root: Path, store: Store, altered: bytes) -> None:
    partial(root).parent.mkdir()
    partial(root).write_bytes(altered)
    found = arrive(root, store)
    assert found is not None
    assert found != WANTED
    assert arrive(root, store) == WANTED, "it began anew"


def test_two_who_want_the_same_are_not_in_each_others_way(root: Path, store: Store) -> None:
    began, go_on = threading.Event(), threading.Event()

    def seen(_count: int) -> None:
        began.set()
        assert go_on.wait(60)

    first = threading.Thread(
        target=lambda: land(root, store, "blob", root / "first", WANTED, seen=seen)
    )
    first.start()
    assert began.wait(60)
    assert arrive(root, store) == WANTED
    go_on.set()
    first.join()
    assert (root / "first").read_bytes() == (root / "target").read_bytes() == DATA
    assert not partial(root).exists()


@pytest.fixture
def proxy(bucket: s3.Bucket) -> Iterator[Proxy]:
    with faulty.before(bucket.endpoint) as proxy:
        yield proxy


def test_a_connection_that_breaks_for_good_loses_nothing(
    root: Path, bucket: s3.Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motools.s3.connections.ATTEMPTS", 1)
    far = S3Store(bucket.url, {"endpoint": proxy.endpoint})
    far.publish_bytes("blob", DATA)
    done: list[int] = []

    def seen(count: int) -> None:
        done.append(count)
        if len(done) == 2:
            proxy.fail(CutShort(), "GET", times=math.inf)

    with pytest.raises(CacheUnavailableError):
        arrive(root, far, seen)
    kept = partial(root).stat().st_size
    assert kept >= landing._READ * 2
    proxy.heal()
    proxy.requests.clear()
    assert arrive(root, far) == WANTED
    assert proxy.count("GET") == math.ceil((len(DATA) - kept) / (8 << 20))
    assert (root / "target").read_bytes() == DATA
