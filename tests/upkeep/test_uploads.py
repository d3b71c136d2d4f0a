"""Uploads that nobody will finish cost money where nobody sees them: prune ends them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from motools.cache import Action, Cache, RunContext
from motools.cache.layout import BLOB_FOLDERS
from motools.cache.s3 import S3Store
from motools.errors import CacheUnavailableError
from motools.remotes import add_remote, open_remote, plan_prune, pull, push
from motools.remotes import prune as prune_remote
from motools.s3 import multipart
from motools.settings import Settings
from motools.upkeep import prune
from motools.upkeep.policy import Policy
from tests import faulty, s3
from tests.faulty import CutShort, Proxy

LARGE = os.urandom(33 << 20)


@pytest.fixture
def proxy(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with faulty.before(bucket.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setattr("motools.s3.connections.ATTEMPTS", 1)
        yield proxy


def run(context: RunContext) -> None:
    (context.directory / "weights").write_bytes(LARGE)


def test_those_to_the_store(bucket: s3.Bucket, proxy: Proxy, tmp_path: Path) -> None:
    def opened(days: float) -> Cache:
        settings = Settings(store=f"{bucket.url}/cache", trash_days=days)
        return Cache.open(tmp_path / "cache", settings=settings)

    proxy.fail(CutShort(), "POST", "uploadId", times=9)
    with pytest.raises(CacheUnavailableError):
        opened(7).get_or_run(Action("function", config={"n": 1}), run)
    proxy.heal()
    assert prune.plan(opened(7), Policy()).empty, "somebody may be about to finish it"
    cache = opened(0)
    pruning = prune.plan(cache, Policy())
    [found] = (each for each in pruning.removal.leftovers if each.what == "upload")
    assert found.size == len(LARGE)
    assert found.name.startswith("objects/")
    assert prune.execute(cache, pruning).bytes_freed >= len(LARGE)
    assert list(cache.store.unfinished(BLOB_FOLDERS)) == []
    assert cache.get_or_run(Action("function", config={"n": 1}), run).files


def test_those_to_a_remote(bucket: s3.Bucket, proxy: Proxy, tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "a", settings=Settings())
    cache.get_or_run(Action("function", config={"n": 1}), run)
    remote = add_remote(cache, "there", f"{bucket.url}/team")
    proxy.fail(CutShort(), "PUT", "partNumber=3", times=9)
    with pytest.raises(CacheUnavailableError):
        push(cache, remote)
    proxy.heal()
    assert plan_prune(remote).unfinished == (), "somebody may be about to finish it"
    planned = plan_prune(remote, grace=0)
    [found] = planned.unfinished
    assert found.name.startswith("blobs/")
    assert planned.bytes_freed == found.size == 2 * multipart.PART
    assert prune_remote(remote, planned, grace=0) == 1
    assert plan_prune(remote, grace=0).unfinished == ()
    push(cache, open_remote(cache))
    other = Cache.open(tmp_path / "b", settings=Settings())
    assert pull(other, add_remote(other, "there", f"{bucket.url}/team")).bytes_received
    assert other.entries()[0].files["weights"].read_bytes() == LARGE


@pytest.mark.parametrize("folder", ["", "/team"])
def test_those_of_others_beside_and_below_a_remote_are_left_alone(
    bucket: s3.Bucket, tmp_path: Path, folder: str
) -> None:
    cache = Cache.open(tmp_path / "a", settings=Settings())
    remote = add_remote(cache, "there", f"{bucket.url}{folder}")
    assert isinstance(remote.store, S3Store)
    prefix = f"{folder}/".lstrip("/")
    others = {"other-teams-backup/db.tar", f"{prefix}cache/objects/ab/cd", f"{prefix}packs-of-dogs"}
    for name in (*others, f"{prefix}packs/ab/cd"):
        multipart._begun(remote.store.bucket, name)
    assert prune_remote(remote, plan_prune(remote, grace=0), grace=0) == 1
    assert {upload.key for upload in multipart.uploads(remote.store.bucket, "")} == others


def test_files_of_others_in_a_directory_are_left_alone(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "a", settings=Settings())
    remote = add_remote(cache, "there", str(tmp_path / "shared"))
    mine, theirs = (tmp_path / "shared" / "tmp" / name for name in (f"{32 * 'a'}.tmp", "thesis"))
    for file in (mine, theirs):
        file.write_bytes(b"half")
    assert prune_remote(remote, plan_prune(remote, grace=0), grace=0) == 1
    assert (mine.exists(), theirs.exists()) == (False, True)
