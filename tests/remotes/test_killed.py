"""Killed at every step: nothing torn, no entry without its blobs, a second try completes."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import motools.cache.schema
from motools.cache import Cache
from motools.cache.rejection import reject
from motools.errors import RejectedError
from motools.remotes import add_remote, open_remote, pull, push, pushing
from motools.settings import Settings
from tests.cache.conftest import MEMORY, action
from tests.cache.steps import in_child

from .conftest import commit, contents

assert motools.cache.schema  # imported before any fork


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def full(place: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A cache whose push takes several packs, large blobs and segments."""
    monkeypatch.setattr(pushing, "PACK", 3_000)
    monkeypatch.setattr(pushing, "LARGE", 2_000)
    monkeypatch.setattr(pushing, "_CHECKPOINT", 5_000)
    cache = opened(place / "full")
    noise = random.Random(3)
    shared = noise.randbytes(700)
    for n in range(4):
        files = {"own": noise.randbytes(1_000 if n % 3 else 2_500), "shared": shared}
        commit(cache, n, files)
    cache.close()
    return cache


def opened(root: Path) -> Cache:
    return Cache.open(root, settings=Settings(remote_connections=2))


def kills(work: Callable[[], None], prepare: Callable[[], None]) -> Iterator[None]:
    """After each way to be killed in some work, which begins anew each time."""
    for step in itertools.count(1):
        prepare()
        status = in_child(lambda _: work(), step)
        yield
        if status == 0:
            assert step > 10, "the steps were not seen"
            return
        assert status == -signal.SIGKILL


def test_push(full: Cache, place: Path) -> None:
    url = str(place / "remote")

    def prepare() -> None:
        for folder in (url, full.root / "remotes"):
            shutil.rmtree(folder, ignore_errors=True)
        (full.root / "remotes.json").unlink(missing_ok=True)
        add_remote(full, "there", url)
        full.database.close()

    for _ in kills(lambda: push(full, open_remote(full)) and None, prepare):
        reader = opened(place / "reader")
        pulled = pull(reader, add_remote(reader, "there", url))
        assert not pulled.problems
        every = contents(full)
        assert contents(reader) == {key: every[key] for key in pulled.entries}
        pushed = push(full, open_remote(full))
        assert len(pushed.entries) + len(pulled.entries) == 4
        assert len(pull(reader, open_remote(reader)).entries) == len(pushed.entries)
        assert contents(reader) == every
        reader.close()
        shutil.rmtree(reader.root)


def test_what_was_sent_is_not_sent_again(full: Cache, place: Path) -> None:
    """Even if it was not in a segment yet."""
    remote = add_remote(full, "there", str(place / "remote"))
    push(full, remote)
    for name, _ in list(remote.store.names("index")):
        remote.store.remove(name)
    again = push(full, open_remote(full))
    assert (again.blobs, again.bytes_sent) == (0, 0)
    assert len(again.entries) == 4
    assert again.bytes_there > 4_000


def test_what_was_sent_is_made_durable_before_it_is_relied_on(
    full: Cache, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent it may have been killed before that."""
    remote = add_remote(full, "there", str(place / "remote"))
    push(full, remote)
    for name, _ in list(remote.store.names("index")):
        remote.store.remove(name)
    settled: set[str] = set()
    monkeypatch.setattr(type(remote.store), "settle", lambda _, names: settled.update(names))
    assert push(full, open_remote(full)).bytes_sent == 0
    sent = {name for folder in ("packs", "blobs") for name, _ in remote.store.names(folder)}
    assert settled == sent


def check_rejected(cache: Cache) -> None:
    """What was rejected is never served: it is not here, or known to be rejected."""
    with suppress(RejectedError):
        assert cache.look_up([action(0)]) == [None]


def test_pull(full: Cache, place: Path) -> None:
    url = str(place / "remote")
    reject(full, [full.entry(action(0).key)], "wrong")
    push(full, add_remote(full, "there", url))
    root = place / "reader"
    made = opened(root)
    add_remote(made, "there", url)
    made.close()
    shutil.copytree(root, place / "empty")

    def prepare() -> None:
        shutil.rmtree(root)
        shutil.copytree(place / "empty", root)

    def work() -> None:
        reader = opened(root)
        pull(reader, open_remote(reader))
        reader.close()

    every = contents(full)
    for _ in kills(work, prepare):
        reader = opened(root)
        check_rejected(reader)
        had = contents(reader)
        assert had == {key: every[key] for key in had}
        assert len(pull(reader, open_remote(reader)).entries) == 4 - len(had)
        assert contents(reader) == every
        reader.close()
        assert len(list((root / "entries").rglob("*.json"))) == 4


def test_a_look_up_through_the_cache(full: Cache, place: Path) -> None:
    reject(full, [full.entry(action(0).key)], "wrong")
    push(full, add_remote(full, "there", str(place / "remote")))
    empty, root = opened(place / "empty"), place / "reader"
    add_remote(empty, "there", str(place / "remote"))
    empty.close()

    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(empty.root, root)

    def work() -> None:
        with suppress(RejectedError):
            Cache.open(root, settings=Settings(remote_mode="read")).look_up([action(0)])

    for _ in kills(work, prepare):
        reader = opened(root)
        check_rejected(reader)
        reader.close()
