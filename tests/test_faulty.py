"""The proxy of the fault tests does what it says, to a real server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests import faulty, s3
from tests.faulty import CutShort, FlippedBit, Hidden, LostAnswer, Proxy, Status

DATA = bytes(range(256)) * 400


@pytest.fixture
def proxy(bucket: s3.Bucket) -> Iterator[Proxy]:
    with faulty.before(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def behind(bucket: s3.Bucket, proxy: Proxy) -> Any:
    """A client that does not try again; but aiohttp does, once, on a connection it has used."""
    through = replace(bucket, endpoint=proxy.endpoint)
    fs = through.file_system(config_kwargs={"retries": {"max_attempts": 0}})
    fs.retries = 1
    return fs


def test_without_rules_nothing_is_changed(bucket: s3.Bucket, behind: Any, proxy: Proxy) -> None:
    name = f"{bucket.name}/a/b c"
    behind.pipe_file(name, DATA)
    assert behind.cat_file(name) == DATA
    assert behind.cat_file(name, start=300, end=310) == DATA[300:310]
    assert behind.find(bucket.name) == [name]
    behind.rm_file(name)
    assert not behind.exists(name)
    assert proxy.count("PUT", "a/b c") == 1


def test_a_status_is_answered_for_the_server(bucket: s3.Bucket, behind: Any, proxy: Proxy) -> None:
    proxy.fail(Status(403), "PUT", "/a/", times=math.inf)
    for _ in range(2):
        with pytest.raises(PermissionError):
            behind.pipe_file(f"{bucket.name}/a/b", DATA)
    behind.pipe_file(f"{bucket.name}/c", DATA)
    proxy.heal()
    assert bucket.file_system().find(bucket.name) == [f"{bucket.name}/c"]


def test_a_body_is_cut_short_both_ways(bucket: s3.Bucket, behind: Any, proxy: Proxy) -> None:
    name = f"{bucket.name}/a"
    proxy.fail(CutShort(), "PUT", times=math.inf)
    with pytest.raises(Exception, match=r"(?i)clos|reset|connect|disconnect|endpoint"):
        behind.pipe_file(name, DATA)
    assert not bucket.file_system().exists(name), "half an object is none"
    proxy.heal()
    behind.pipe_file(name, DATA)
    proxy.fail(CutShort(), "GET", times=math.inf)
    with pytest.raises(Exception, match=r"(?i)clos|reset|connect|payload|complete"):
        behind.cat_file(name)


def test_a_lost_answer_has_been_carried_out(bucket: s3.Bucket, behind: Any, proxy: Proxy) -> None:
    proxy.fail(LostAnswer(), "PUT", times=math.inf)
    with pytest.raises(Exception, match=r"(?i)clos|reset|connect|disconnect|endpoint"):
        behind.pipe_file(f"{bucket.name}/a", DATA)
    assert bucket.file_system().cat_file(f"{bucket.name}/a") == DATA


def test_one_bit_is_flipped(bucket: s3.Bucket, behind: Any, proxy: Proxy) -> None:
    behind.pipe_file(f"{bucket.name}/a", DATA)
    proxy.fail(FlippedBit(), "GET")
    found = int.from_bytes(behind.cat_file(f"{bucket.name}/a"))
    assert (found ^ int.from_bytes(DATA)).bit_count() == 1


def test_a_listing_is_behind(bucket: s3.Bucket, behind: Any, proxy: Proxy) -> None:
    for name in ("old", "new"):
        behind.pipe_file(f"{bucket.name}/{name}", DATA)
    proxy.fail(Hidden("new"), "GET", "list-type")
    assert behind.find(bucket.name) == [f"{bucket.name}/old"]
    assert sorted(behind.find(bucket.name)) == [f"{bucket.name}/new", f"{bucket.name}/old"]
