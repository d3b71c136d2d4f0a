"""What a network does to transfers: nothing torn, nothing lost, and a second try completes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.errors import CacheError, MotoolsError
from motools.remotes import add_remote, open_remote, pull, push
from motools.remotes.layout import LARGE
from tests import faulty
from tests.faulty import CutShort, Fault, FlippedBit, Hidden, LostAnswer, Proxy, Status
from tests.s3 import Bucket

from .conftest import Opened, commit, contents


@pytest.fixture
def proxy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with faulty.before(bucket.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


@pytest.fixture
def a(opened: Opened, bucket: Bucket, proxy: Proxy) -> Cache:
    """A cache with entries of every size, and an empty remote in the bucket."""
    cache, noise = opened("a"), random.Random(4)
    commit(cache, 1, {"small": noise.randbytes(3_000), "text": b"text " * 99})
    commit(cache, 2, {"large": noise.randbytes(LARGE + 9)})
    add_remote(cache, "there", f"{bucket.url}/team")
    return cache


FAULTS = [Status(403), Status(503), CutShort(), LostAnswer()]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("path", ["/packs/", "/index/"])
def test_a_push_that_fails_goes_on(
    a: Cache, opened: Opened, bucket: Bucket, proxy: Proxy, fault: Fault, path: str
) -> None:
    proxy.fail(fault, "PUT", path, times=9)
    try:
        push(a, open_remote(a))
    except CacheError as problem:
        assert bucket.name in str(problem)
    proxy.heal()
    b = opened("b")
    first = pull(b, add_remote(b, "there", f"{bucket.url}/team"))
    assert not first.problems, "no entry is there without its blobs"
    push(a, open_remote(a))
    assert not pull(b, open_remote(b)).problems
    assert contents(b) == contents(a)


@pytest.mark.parametrize("fault", [*FAULTS, FlippedBit()], ids=str)
@pytest.mark.parametrize("path", ["/packs/", "/blobs/", "motools-remote"])
def test_a_pull_that_fails_goes_on(
    a: Cache, opened: Opened, bucket: Bucket, proxy: Proxy, fault: Fault, path: str
) -> None:
    push(a, open_remote(a))
    b = opened("b")
    add_remote(b, "there", f"{bucket.url}/team")
    for kept in (b.root / "remotes").iterdir():
        for file in kept.iterdir():
            file.unlink()
    proxy.fail(fault, "GET", path, times=9)
    try:
        problems = pull(b, open_remote(b)).problems
        assert not problems or fault == FlippedBit()
    except MotoolsError:
        pass
    every = contents(a)
    assert all(every[key] == files for key, files in contents(b).items())
    proxy.heal()
    assert not pull(b, open_remote(b)).problems
    assert contents(b) == every


def test_a_listing_that_lags_hides_no_entry_that_was_known(
    a: Cache, bucket: Bucket, proxy: Proxy
) -> None:
    push(a, open_remote(a))
    remote = open_remote(a)
    [segment] = remote.index.segments()
    proxy.fail(Hidden(Path(segment).name), "GET", "list-type", times=20)
    remote.refresh()
    assert remote.index.totals()["entries"] == 2


def test_more_objects_than_one_listing_holds(a: Cache, bucket: Bucket) -> None:
    remote = open_remote(a)
    files = bucket.file_system()
    files.pipe({f"{bucket.name}/team/packs/ab/{n:04}": b"x" for n in range(1_005)})
    assert len(list(remote.store.names("packs"))) == 1_005


def test_requests_are_counted(a: Cache, opened: Opened, bucket: Bucket, proxy: Proxy) -> None:
    """Requests cost time: what is known already asks for the marker and one listing."""
    push(a, open_remote(a))
    open_remote(a)
    proxy.requests.clear()
    open_remote(a)
    assert len(proxy.requests) == 2
