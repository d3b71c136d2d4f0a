"""Two caches and one remote, in any order: they come to agree, or say where they do not."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from motools.cache import Cache, removal
from motools.remotes import (
    Remote,
    add_remote,
    compare,
    open_remote,
    plan_prune,
    prune,
    pull,
    push,
    sentences,
)  # fmt: skip
from motools.settings import Settings
from tests.cache.conftest import MEMORY

from .conftest import commit, contents
from .test_pruning import Late

GRACE = 86_400.0
WHO = st.sampled_from(["a", "b"])
KEYS = st.integers(0, 3)


class Interleaved(RuleBasedStateMachine):
    """Entries differ in their files where their makers do, but share some."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.url = str(Path(self.folder.name) / "remote")
        self.caches = {name: self.opened(name) for name in ("a", "b")}
        self.stale: dict[str, Remote] = {}
        self.slow: list[Late] = []

    def opened(self, name: str) -> Cache:
        root = Path(self.folder.name) / name
        cache = Cache.open(root, settings=Settings(remote_connections=1))
        add_remote(cache, "there", self.url)
        return cache

    @rule(who=WHO, key=KEYS, same=st.booleans(), refresh=st.booleans())
    def run(self, who: str, key: int, same: bool, refresh: bool) -> None:
        maker = "either" if same else who
        files = {"own": f"{key} by {maker}".encode() * 9, "shared": b"shared" * 9}
        commit(self.caches[who], key, files, value=maker, refresh=refresh)

    @rule(who=WHO)
    def look(self, who: str) -> None:
        """From here on, until it looks again, it may go by an old index."""
        self.stale[who] = open_remote(self.caches[who])

    @rule(who=WHO)
    def push(self, who: str) -> None:
        push(self.caches[who], self.stale.pop(who, None) or open_remote(self.caches[who]))

    @rule(who=WHO)
    def begin_to_push(self, who: str) -> None:
        """And be killed before a segment says what is there."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("motools.remotes.pushing.Draft.publish", _killed)
            with contextlib.suppress(KeyboardInterrupt):
                push(self.caches[who], open_remote(self.caches[who]))

    @rule(who=WHO)
    def pull(self, who: str) -> None:
        cache = self.caches[who]
        before = contents(cache)
        pulled = pull(cache, self.stale.pop(who, None) or open_remote(cache))
        assert not pulled.problems
        assert contents(cache).keys() >= before.keys()

    @rule(who=WHO)
    def prune(self, who: str) -> None:
        _prune(open_remote(self.caches[who]))

    @rule(who=WHO)
    def begin_to_delete(self, who: str) -> None:
        """Another prune, that is slow: it has decided what to delete and has not deleted it."""
        remote = open_remote(self.caches[who])
        self.slow.append(Late(remote.store))
        sentences.carry_out(replace(remote, store=self.slow[-1]), GRACE)

    @rule()
    def go_on_deleting(self) -> None:
        while self.slow:
            self.slow.pop().catch_up()

    @rule()
    def a_day_goes_by(self) -> None:
        if self.stale or self.slow:
            return  # the grace period is longer than any push or prune takes
        a_day_goes_by(self.url)

    @rule(who=WHO, key=KEYS)
    def clear(self, who: str, key: int) -> None:
        cache = self.caches[who]
        entries = [e for e in cache.entries() if e.action["config"]["n"] == key]
        removal.execute(cache, removal.plan(cache, entries, files=True))
        removal.purge(cache, before=1e12)

    def teardown(self) -> None:
        if not hasattr(self, "caches"):
            return
        a, b = self.caches.values()
        self.go_on_deleting()
        for _ in range(2):
            for cache in (a, b):
                pull(cache, open_remote(cache))
                push(cache, open_remote(cache))
        reader = self.opened("reader")
        assert not pull(reader, open_remote(reader)).problems
        sides = {name: compare(c, open_remote(c)) for name, c in (("a", a), ("b", b))}
        assert all(not side.behind for side in sides.values())
        told = {d.key for side in sides.values() for d in side.diverged}
        for key, files in contents(a).items():
            if key not in told:
                assert contents(b)[key] == contents(reader)[key] == files
        assert contents(a).keys() == contents(b).keys() == contents(reader).keys()
        for cache in (a, b, reader):
            cache.close()
        self.folder.cleanup()


def a_day_goes_by(url: str) -> None:
    for file in (Path(url) / "doomed").glob("*"):
        os.utime(file, (0, file.stat().st_mtime - GRACE))


def _prune(remote: Remote) -> None:
    prune(remote, plan_prune(remote, grace=GRACE), grace=GRACE)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


Interleaved.TestCase.settings = settings(max_examples=12, stateful_step_count=18, deadline=None)


@pytest.mark.slow
class TestInterleaved(Interleaved.TestCase):
    pass


def test_two_prunes_and_a_push_in_every_order() -> None:
    """Of bytes that are doomed, and that somebody has again."""
    orders = set(itertools.permutations(["prunes", "prunes", "deletes", "deletes", "push", "push"]))
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        caches = {name: Cache.open(Path(folder) / name, settings=Settings()) for name in "abc"}
        commit(caches["c"], 1)
        for number, order in enumerate(sorted(orders)):
            url = str(Path(folder) / str(number))
            a, b, c = (add_remote(cache, str(number), url) for cache in caches.values())
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr("motools.remotes.pushing.Draft.publish", _killed)
                push(caches["c"], c)
            _prune(a)
            a_day_goes_by(url)
            slow = Late(b.store)
            decide = partial(sentences.carry_out, replace(b, store=slow), GRACE)  # type: ignore[arg-type]
            steps: dict[str, Iterator[Callable[[], object]]] = {
                "prunes": itertools.repeat(partial(_prune, a)),
                "deletes": iter([decide, slow.catch_up]),
                "push": iter([c.refresh, partial(push, caches["c"], c)]),
            }
            for step in order:
                next(steps[step])()
            for _ in range(2):
                a_day_goes_by(url)
                _prune(a)
            reader = Cache.open(Path(folder) / f"reader {number}", settings=Settings())
            assert not pull(reader, add_remote(reader, "there", url)).problems, order
            assert contents(reader) == contents(caches["c"]), order
            reader.close()
        for cache in caches.values():
            cache.close()
