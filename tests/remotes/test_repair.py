"""A cache that lost bytes, or has other ones, gets them back from its remote."""

from __future__ import annotations

from motools.cache.layout import blob_name
from motools.remotes import Copies, open_remote, pull, push
from motools.remotes.layout import LARGE
from motools.upkeep import repair
from motools.upkeep.verify import verify

from .conftest import Opened, There, commit, contents


def test_what_was_lost_comes_back(opened: Opened, there: There) -> None:
    a = opened("a")
    commit(a, 1, {"small": b"weights " * 1000, "noise": bytes(range(256)), "large": b"l" * LARGE})
    kept, remote = contents(a), there(a)
    push(a, remote)
    remote.refresh()
    [entry] = a.entries()
    for _, digest, *_ in entry.file_rows:
        (a.root / blob_name(digest)).unlink()
    sources = [Copies(remote)]
    plan = repair.plan(a, verify(a).findings, sources)
    assert {copy.origin for copy in plan.copies} == {remote.name}
    assert (len(plan.copies), plan.released) == (3, ())
    assert repair.execute(a, plan, sources).copies == 3
    assert verify(a, read_data=True).findings == ()
    assert contents(a) == kept


def test_what_only_the_remote_has_is_not_missing(opened: Opened, there: There) -> None:
    from motools.remotes.through import Through

    a, b = opened("a"), opened("b")
    entry = commit(a, 1)
    push(a, there(a))
    there(b)
    Through(b).bring([entry.key])
    assert b.entry(entry.key).state == "remote"
    assert verify(b).findings == ()
    pull(b, open_remote(b, "there"))
    assert contents(b) == contents(a)
