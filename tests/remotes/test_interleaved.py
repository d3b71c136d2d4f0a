"""Two caches and one remote, in any order: they come to agree, or say where they do not."""

from __future__ import annotations

import tempfile
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
)  # fmt: skip
from motools.settings import Settings
from tests.cache.conftest import MEMORY

from .conftest import commit, contents

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
    def pull(self, who: str) -> None:
        cache = self.caches[who]
        before = contents(cache)
        pulled = pull(cache, self.stale.pop(who, None) or open_remote(cache))
        assert not pulled.problems
        assert contents(cache).keys() >= before.keys()

    @rule(who=WHO)
    def prune(self, who: str) -> None:
        remote = open_remote(self.caches[who])
        prune(remote, plan_prune(remote))

    @rule(who=WHO)
    def delete_what_was_doomed(self, who: str) -> None:
        if not self.stale:  # the grace period is longer than a push takes
            remote = open_remote(self.caches[who])
            prune(remote, plan_prune(remote, grace=0), grace=0)

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


Interleaved.TestCase.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)


@pytest.mark.slow
class TestInterleaved(Interleaved.TestCase):
    pass
