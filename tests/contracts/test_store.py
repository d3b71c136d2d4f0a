"""What every store must do, run against each of them."""

from __future__ import annotations

import errno
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from motools.cache.file_system import FsspecStore
from motools.cache.local import LocalStore
from motools.cache.s3 import S3Store
from motools.cache.store import Store
from motools.errors import CacheUnavailableError
from motools.s3 import multipart


def _local(place: Path) -> Store:
    (place / "store" / "tmp").mkdir(parents=True)
    return LocalStore(place / "store")


def _memory(place: Path) -> Store:
    return FsspecStore(lambda: fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}")


def _through_fsspec(place: Path) -> Store:
    (place / "store").mkdir()
    return FsspecStore(lambda: fsspec.filesystem("file", auto_mkdir=True), str(place / "store"))


MAKERS = {"local": _local, "memory": _memory, "file": _through_fsspec}


@pytest.fixture(params=[*MAKERS, "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return S3Store(f"{request.getfixturevalue('bucket').url}/some/folder", {})
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def private(tmp_path: Path) -> Callable[[bytes], Path]:
    def private(data: bytes) -> Path:
        path = tmp_path / uuid.uuid4().hex
        path.write_bytes(data)
        return path

    return private


def test_what_is_published_can_be_read(store: Store, private: Callable[[bytes], Path]) -> None:
    source = private(b"weights")
    store.publish_file("objects/ab/cd", source)
    store.publish_bytes("entries/ab/cd.json", b"{}")
    store.settle(["objects/ab/cd", "entries/ab/cd.json"])
    assert not source.exists(), "publishing a file moves it"
    assert store.read("objects/ab/cd") == b"weights"
    assert store.size("objects/ab/cd") == 7
    assert store.read("entries/ab/cd.json") == b"{}"
    ranges = {(1, 3): b"eig", (4, 99): b"hts", (3, 0): b"", (7, 5): b""}
    assert {span: store.read_range("objects/ab/cd", *span) for span in ranges} == ranges
    assert store.read_range("no/such", 0, 0) is None


def test_publishing_again_replaces(store: Store, private: Callable[[bytes], Path]) -> None:
    store.publish_bytes("a/b", b"one")
    store.publish_bytes("a/b", b"two, longer")
    assert store.read("a/b") == b"two, longer"
    store.publish_file("a/b", private(b"three"))
    assert (store.read("a/b"), store.size("a/b")) == (b"three", 5)


def test_what_is_not_there_is_none_and_no_error(store: Store) -> None:
    assert store.size("no/such") is None
    assert store.read("no/such") is None
    assert store.stream("no/such") is None
    assert store.read_range("no/such", 0, 9) is None
    assert store.move("no/such", "else/where") is False
    assert store.remove("no/such") is False
    assert list(store.names("no")) == []


def test_moving_is_safe_to_repeat(store: Store) -> None:
    store.publish_bytes("objects/ab/cd", b"bytes")
    assert store.move("objects/ab/cd", "trash/objects/ab/cd")
    assert store.size("objects/ab/cd") is None
    assert store.move("objects/ab/cd", "trash/objects/ab/cd") is False
    assert store.read("trash/objects/ab/cd") == b"bytes"


def test_removing_is_safe_to_repeat(store: Store) -> None:
    store.publish_bytes("a/b", b"bytes")
    assert store.remove("a/b")
    assert store.remove("a/b") is False
    assert store.read("a/b") is None


def test_names_lists_everything_below_and_nothing_else(store: Store) -> None:
    for name in ("entries/ab/1.json", "entries/cd/2.json", "entriesx/ab/3.json", "objects/ab/4"):
        store.publish_bytes(name, name.encode())
    assert sorted(store.names("entries")) == [("entries/ab/1.json", 17), ("entries/cd/2.json", 17)]
    assert list(store.names("entries", but={"entries/ab/1.json"})) == [("entries/cd/2.json", 17)]


@pytest.mark.parametrize("start", [0, 1, 8 << 20, 17 << 20, (17 << 20) + 3, 18 << 20])
def test_a_stream_is_all_there_is_from_some_place_on(store: Store, start: int) -> None:
    data = os.urandom((17 << 20) + 3)
    store.publish_bytes("a/b", data)
    pieces = store.stream("a/b", start, ahead=2)
    assert pieces is not None
    assert b"".join(pieces) == data[start:]


def test_what_is_unfinished_can_be_abandoned(store: Store) -> None:
    store.publish_bytes("a/b", b"bytes")
    assert list(store.unfinished(["a"])) == []
    if isinstance(store, S3Store):
        multipart._begun(store.bucket, "some/folder/a/b")
        multipart._begun(store.bucket, "some/folder/ab/c")
    elif store.path("") is None and store._whole:
        pytest.skip("nothing is ever unfinished there")
    else:
        store.publish_bytes(f"tmp/{32 * 'a'}", b"half")
        store.publish_bytes("tmp/another's", b"half")
    [found] = store.unfinished(["a"])
    assert abs(found.started - time.time()) < 60
    assert store.abandon(found) is True
    assert store.abandon(found) is False
    assert list(store.unfinished(["a"])) == []
    assert store.read("a/b") == b"bytes"


def test_a_local_path_reads_in_place_or_is_none(store: Store) -> None:
    store.publish_bytes("a/b", b"bytes")
    path = store.path("a/b")
    assert path is None or path.read_bytes() == b"bytes"


@pytest.mark.parametrize("kind", ["local", "file"])
def test_readers_see_all_or_nothing(kind: str, tmp_path: Path) -> None:
    store = MAKERS[kind](tmp_path)
    contents = {bytes([letter]) * 300_000 for letter in b"ab"}
    seen: set[bytes | None] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(store.read("x/y"))

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        for data in contents:
            store.publish_bytes("x/y", data)
    stop.set()
    reader.join()
    assert seen <= {None, *contents}


def test_a_file_in_the_way_is_unknown_not_missing(tmp_path: Path) -> None:
    store = _local(tmp_path)
    store.publish_bytes("a", b"a file where a folder should be")
    with pytest.raises(CacheUnavailableError):
        store.publish_bytes("a/b", b"x")
    store.publish_bytes("folder/b", b"x")
    with pytest.raises(CacheUnavailableError):
        store.read("folder")


class _Closed(LocalFileSystem):
    """One folder may not be read, as is true of root for no folder of this machine."""

    protocol = "closed"

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        if path.endswith("/index/ab"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return super().ls(path, detail=detail, **options)


def test_a_folder_that_may_not_be_read_is_not_empty(tmp_path: Path) -> None:
    store = FsspecStore(lambda: _Closed(auto_mkdir=True), str(tmp_path))
    store.publish_bytes("index/ab/cd", b"1")
    store.publish_bytes("packs/ab/cd", b"1")
    assert list(store.names("packs")) == [("packs/ab/cd", 1)]
    with pytest.raises(CacheUnavailableError, match=r"index.*[Pp]ermission denied"):
        list(store.names("index"))


@pytest.mark.parametrize("kind", [*MAKERS])
@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/{place}/outside"])
def test_no_name_leads_out_of_a_store(kind: str, name: str, tmp_path: Path) -> None:
    store = MAKERS[kind](tmp_path)
    outside = tmp_path / "outside"
    outside.write_bytes(b"not theirs")
    name = name.format(place=str(tmp_path).lstrip("/"))
    for touch in (store.remove, store.read, store.size, store.modified):
        with pytest.raises(CacheUnavailableError, match="leads out of the store"):
            touch(name)
    with pytest.raises(CacheUnavailableError, match="leads out of the store"):
        store.publish_bytes(name, b"theirs")
    with pytest.raises(CacheUnavailableError, match="leads out of the store"):
        store.move("a", name)
    assert outside.read_bytes() == b"not theirs"
