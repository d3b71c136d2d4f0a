"""What networks and servers do to a store in a bucket, at each of its operations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Action, Cache
from motools.cache.layout import blob_name
from motools.cache.reindex import reindex
from motools.cache.s3 import S3Store
from motools.digest import hash_bytes
from motools.errors import CacheUnavailableError, CorruptBlobError, MissingBlobError, SettingsError
from motools.s3.connections import ATTEMPTS
from motools.settings import Settings
from tests import faulty, s3
from tests.faulty import CutShort, Fault, FlippedBit, Hidden, LostAnswer, Proxy, Status

OLD, NEW = b"old " * 5000, b"new, and longer " * 5000
NAME = "objects/ab/cd"
LARGE = 40 << 20


@pytest.fixture
def proxy(bucket: s3.Bucket) -> Iterator[Proxy]:
    with faulty.before(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the store give up sooner than for people."""
    monkeypatch.setattr("motools.s3.connections.ATTEMPTS", 2)


@pytest.fixture
def store(bucket: s3.Bucket, proxy: Proxy) -> S3Store:
    """One that is reached through the proxy."""
    store = S3Store(f"{bucket.url}/cache", {"endpoint": proxy.endpoint})
    store.publish_bytes(NAME, OLD)
    return store


@pytest.fixture
def direct(bucket: s3.Bucket) -> S3Store:
    """The same, as it is."""
    return S3Store(f"{bucket.url}/cache", {})


def publish_file(store: S3Store, place: Path) -> bool:
    (place / "private").write_bytes(NEW)
    store.publish_file(NAME, place / "private")
    return store.read(NAME) == NEW


def publish_bytes(store: S3Store, place: Path) -> bool:
    store.publish_bytes(NAME, NEW)
    return store.read(NAME) == NEW


def move(store: S3Store, place: Path) -> bool:
    store.move(NAME, f"trash/{NAME}")  # whether there was something left to move
    return store.size(NAME) is None and store.read(f"trash/{NAME}") == OLD


def remove(store: S3Store, place: Path) -> bool:
    store.remove(NAME)
    return store.size(NAME) is None


def stream(store: S3Store, place: Path) -> bool:
    return b"".join(store.stream(NAME) or ()) == OLD


OPERATIONS: dict[str, tuple[str, Callable[[S3Store, Path], bool]]] = {
    "publish_file": ("PUT", publish_file),
    "publish_bytes": ("PUT", publish_bytes),
    "size": ("HEAD", lambda store, _: store.size(NAME) == len(OLD)),
    "read": ("GET", lambda store, _: store.read(NAME) == OLD),
    "stream": ("GET", stream),
    "move": ("PUT", move),
    "remove": ("DELETE", remove),
    "names": ("GET", lambda store, _: list(store.names("objects")) == [(NAME, len(OLD))]),
}


WITHOUT_BODY = {"size", "remove"}
PASSING = [Status(500), Status(503), CutShort(), LostAnswer()]
STAYING = [Status(401), Status(403), *PASSING]


def faults(kinds: list[Fault], *but: tuple[str, Fault]) -> pytest.MarkDecorator:
    """Each operation with each kind of fault that it can meet."""
    pairs = [
        (operation, fault)
        for operation in OPERATIONS
        for fault in kinds
        if (operation, fault) not in but
        and not (operation in WITHOUT_BODY and isinstance(fault, CutShort))
    ]
    return pytest.mark.parametrize(("operation", "fault"), pairs, ids=str)


@faults(PASSING)
def test_what_passes_goes_unnoticed(
    operation: str, fault: Fault, store: S3Store, proxy: Proxy, tmp_path: Path
) -> None:
    method, work = OPERATIONS[operation]
    proxy.fail(fault, method)
    assert work(store, tmp_path)
    assert proxy.count(method) >= 2


@faults(STAYING)
@pytest.mark.usefixtures("impatient")
def test_what_stays_is_an_error_and_the_second_try_completes(
    operation: str, fault: Fault, store: S3Store, direct: S3Store, proxy: Proxy, tmp_path: Path
) -> None:
    method, work = OPERATIONS[operation]
    proxy.fail(fault, method, times=math.inf)
    with pytest.raises(CacheUnavailableError, match=r"cannot .*; see that"):
        work(store, tmp_path)
    there = direct.read(NAME) or direct.read(f"trash/{NAME}")
    assert there in (OLD, NEW) or (operation == "remove" and there is None)
    proxy.heal()
    assert work(store, tmp_path)


def test_a_server_in_trouble_is_not_waited_for_long(store: S3Store, proxy: Proxy) -> None:
    proxy.fail(Status(503), times=math.inf)
    with pytest.raises(CacheUnavailableError, match="503"):
        store.read(NAME)
    assert proxy.count("GET") == ATTEMPTS


@pytest.mark.usefixtures("impatient")
def test_large_files_are_whole_or_not_there(
    store: S3Store, direct: S3Store, proxy: Proxy, tmp_path: Path
) -> None:
    content = os.urandom(LARGE)
    source = tmp_path / "private"
    source.write_bytes(content)
    proxy.fail(CutShort(), "PUT", "partNumber=3", times=math.inf)
    with pytest.raises(CacheUnavailableError):
        store.publish_file("objects/large", source)
    assert direct.size("objects/large") is None
    assert source.exists(), "it can be tried again"
    proxy.heal()
    # Completed, and nobody was told; completing it again is refused.
    proxy.fail(LostAnswer(), "POST", "uploadId", times=math.inf)
    store.publish_file("objects/large", source)
    proxy.heal()
    proxy.fail(CutShort(), "GET", "objects/large")
    assert b"".join(store.stream("objects/large") or ()) == content


def test_a_listing_of_more_than_a_thousand(store: S3Store) -> None:
    names = [f"entries/ab/{number}.json" for number in range(1100)]
    store.each(lambda name: store.publish_bytes(name, b"{}"), names)
    assert sorted(store.names("entries")) == sorted((name, 2) for name in names)


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"move"}))
def test_a_bucket_that_is_not_there_is_not_an_empty_one(
    operation: str, bucket: s3.Bucket, tmp_path: Path
) -> None:
    with pytest.raises(CacheUnavailableError, match="make the bucket"):
        OPERATIONS[operation][1](S3Store(f"{bucket.url}-not", {}), tmp_path)


def test_a_stranger_is_told_what_to_look_at(
    bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(CacheUnavailableError, match="see that the credentials") as refused:
        S3Store(bucket.url, {}).read("motools.json")
    assert "another" not in str(refused.value)


@pytest.mark.usefixtures("impatient")
def test_nobody_answers(bucket: s3.Bucket) -> None:
    store = S3Store(bucket.url, {"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(CacheUnavailableError, match=r"s3\.endpoint"):
        store.size("a")


def test_settings_that_are_none() -> None:
    for url in ("s3://", "gs://bucket", "s3://key:secret@bucket", "bucket"):
        with pytest.raises(SettingsError) as refused:
            S3Store(url, {})
        assert "secret" not in str(refused.value)
    with pytest.raises(SettingsError, match="endpoint"):
        S3Store("s3://bucket", {"endpont": "x"})


# A cache on it.


def action(number: int = 1) -> Action:
    return Action("function", config={"n": number}, backend={"name": "test", "recipe": 1})


class Runs:
    """A run that counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, context: Any) -> str:
        self.count += 1
        for part in range(3):
            (context.directory / f"{part}.bin").write_bytes(NEW + bytes([part]))
        return "made"


@pytest.fixture
def settings(bucket: s3.Bucket, proxy: Proxy) -> Settings:
    return Settings(store=f"{bucket.url}/cache", s3={"endpoint": proxy.endpoint})


@pytest.fixture
def cache(settings: Settings, tmp_path: Path) -> Cache:
    return Cache.open(tmp_path / "cache", settings=settings)


def whole(cache: Cache) -> bool:
    """Whether each entry has all its bytes, right."""
    return all(
        hash_bytes(entry.files[name].read_bytes()).hex == digest
        for entry in cache.entries()
        for name, digest, *_ in entry.file_rows
    )


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [Status(403), CutShort()], ids=repr)
@pytest.mark.parametrize("what", ["objects/", "entries/"])
def test_a_commit_that_fails_is_no_entry_or_a_whole_one(
    what: str, fault: Fault, cache: Cache, proxy: Proxy
) -> None:
    runs = Runs()
    proxy.fail(fault, "PUT", what, times=math.inf)
    with pytest.raises(CacheUnavailableError):
        cache.get_or_run(action(), runs)
    proxy.heal()
    made = cache.entries()
    assert len(made) == (what == "entries/"), "the row is there, and its document is behind"
    assert whole(cache)
    entry = cache.get_or_run(action(), runs)
    assert (entry.value, runs.count) == ("made", 1 if made else 2)
    cache.flush()
    assert [name for name, _ in cache.store.names("entries")]


def test_a_bit_flipped_on_the_way_is_fetched_again(cache: Cache, proxy: Proxy) -> None:
    entry = cache.get_or_run(action(), Runs())
    proxy.fail(FlippedBit(), "GET", "objects/")
    assert entry.files["0.bin"].read_bytes() == NEW + b"\0"
    digest, size = entry.file_rows[1][1:3]
    proxy.fail(FlippedBit(), "GET", "objects/")
    assert cache.blobs.read(digest, size) == NEW + b"\1"
    assert not list(cache.store.names("quarantine"))


def test_a_blob_that_was_altered_is_not_served(cache: Cache) -> None:
    entry = cache.get_or_run(action(), Runs())
    digest = entry.file_rows[0][1]
    cache.store.publish_bytes(blob_name(digest), NEW + b"!")
    with pytest.raises(CorruptBlobError, match="quarantine"):
        entry.files["0.bin"]
    assert cache.store.read(f"quarantine/{digest}") == NEW + b"!"
    with pytest.raises(MissingBlobError):
        entry.files["0.bin"]


def test_a_lost_database_is_made_again_from_the_bucket(
    cache: Cache, settings: Settings, proxy: Proxy
) -> None:
    runs = Runs()
    keys = [cache.get_or_run(action(number), runs).key for number in (1, 2)]
    cache.close()
    for path in cache.root.glob("cache.db*"):
        path.unlink()
    proxy.fail(Hidden(keys[0][2:]), "GET", "list-type=2.*entries", times=2)
    again = Cache.open(cache.root, settings=settings)
    reindex(cache.root, settings=settings)
    assert all(again.get_or_run(action(number), runs).hit for number in (1, 2))
    assert whole(again)


def test_one_directory_coordinates_until_another_takes_over(
    cache: Cache, settings: Settings, tmp_path: Path
) -> None:
    runs = Runs()
    cache.get_or_run(action(), runs)
    with pytest.raises(CacheUnavailableError, match=rf"{cache.root} coordinates .*reindex"):
        Cache.open(tmp_path / "second", settings=settings)
    cache.close()
    assert reindex(tmp_path / "second", settings=settings).entries == 1
    second = Cache.open(tmp_path / "second", settings=settings)
    assert second.id == cache.id
    assert second.get_or_run(action(), runs).hit
    with pytest.raises(CacheUnavailableError, match="second coordinates"):
        Cache.open(cache.root, settings=settings)


def test_a_directory_has_one_store(cache: Cache, settings: Settings, bucket: s3.Bucket) -> None:
    other = Settings(store=f"{bucket.url}/other", s3=settings.s3)
    for wrong in (Settings(), other):
        with pytest.raises(CacheUnavailableError, match="MOTOOLS_STORE"):
            Cache.open(cache.root, settings=wrong)


@pytest.mark.usefixtures("impatient")
def test_the_answer_to_making_it_is_lost(settings: Settings, proxy: Proxy, tmp_path: Path) -> None:
    proxy.fail(LostAnswer(), "PUT", r"motools\.json", times=math.inf)
    cache = Cache.open(tmp_path / "new", settings=settings)
    assert cache.get_or_run(action(), Runs()).value == "made"


def test_no_credential_is_kept(cache: Cache, bucket: s3.Bucket) -> None:
    cache.get_or_run(action(), Runs())
    cache.close()
    kept = [path.read_bytes() for path in cache.root.rglob("*") if path.is_file()]
    kept += [cache.store.read(name) or b"" for name, _ in cache.store.names("")]
    assert not any(bucket.secret.encode() in data for data in kept)
