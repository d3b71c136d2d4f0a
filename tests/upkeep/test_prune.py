"""Prune: what is needed stays, whatever the graph; the dry run names what the run deletes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from motools.cache import Action, Cache, RunContext, removal, trash
from motools.cache.claim import Claim
from motools.cache.layout import blob_name, text_name, trashed
from motools.cache.marks import PIN
from motools.cache.reindex import reindex
from motools.cache.undelete import undelete
from motools.cache.use import alone
from motools.digest import hash_bytes
from motools.errors import CacheUnavailableError, KeyNotFoundError
from motools.settings import Settings
from motools.steps.train import model_digest
from motools.upkeep import prune
from motools.upkeep.listing import listing
from motools.upkeep.policy import Budget, Policy
from tests.cache.conftest import MEMORY, lose_the_database
from tests.cache.hosts import second_host
from tests.cache.steps import in_child
from tests.postgresql import Server
from tests.s3 import Bucket

KINDS = ("model", "eval", "dataset", "function")
DAY = 86_400.0
EVERYTHING = Policy(Budget(max_size=0), spare=0.0)


def action(n: int, kind: str = "model", reads: str | None = None) -> Action:
    inputs = {"base_model": "b" * 64} if reads is None else {"model": reads}
    return Action(kind, inputs, {"n": n}, {"name": "test"})


def write(*names: str, cost: float | None = None) -> Any:
    """A run that stores a file of its own size and content for each name."""

    def run(context: RunContext) -> Any:
        context.cost = cost
        for name in names:
            (context.directory / name).write_bytes(content(name))
        return {"files": list(names)}

    return run


def content(name: str) -> bytes:
    return f"bytes of {name} ".encode() * (int(name) + 1)


@contextmanager
def fresh(bucket: Bucket | None = None, trash_days: float = 7.0) -> Iterator[Cache]:
    folder = tempfile.mkdtemp(prefix="prune-", dir=MEMORY)
    if bucket:
        os.environ["MOTOOLS_STORE"] = f"{bucket.url}/{uuid.uuid4()}"
    settings = Settings.load(trash_days=trash_days)
    cache = Cache.open(Path(folder) / "cache", settings=settings)
    try:
        yield cache
    finally:
        cache.database.close()
        shutil.rmtree(folder)


def used(cache: Cache, key: str, at: float) -> None:
    """Have an entry made, and so last used, at a time."""
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET created_at = :at WHERE key = :key", at=at, key=key)


def in_place(cache: Cache) -> set[str]:
    return {name for name, _ in cache.store.names("objects")}


@dataclass(frozen=True)
class Made:
    kind: str
    files: frozenset[str]
    days: int
    pinned: bool
    paid: bool


seldom = st.sampled_from([False, False, False, True])
entries = st.lists(
    st.builds(
        Made,
        st.sampled_from(KINDS),
        st.frozensets(st.sampled_from("12345678"), min_size=1, max_size=3),
        st.sampled_from([0, 1, 10, 30]),
        seldom,
        seldom,
    ),
    min_size=3,
    max_size=7,
)
budgets = st.builds(
    Budget,
    st.sampled_from([0, 0, 300, 600, None]),
    st.sampled_from([None, None, 5 * DAY, 20 * DAY]),
)
policies = st.builds(
    Policy, budgets, st.dictionaries(st.sampled_from(KINDS), budgets, max_size=2), st.booleans()
)
meanwhile = st.sampled_from(["nothing", "commit", "refresh", "pin", "lease", "read", "clear"])


def searched(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Any graph of entries, any budget, and anything that happens between plan and run."""

    def searching(test: Callable[..., None]) -> Callable[..., None]:
        drawn = given(
            made=entries,
            policy=policies,
            event=meanwhile,
            which=st.integers(0, 6),
            reads=seldom,
            trash_days=st.sampled_from([7.0, 7.0, 0.0]),
        )
        return settings(
            max_examples=int(os.environ.get("MOTOOLS_TEST_EXAMPLES", examples)),
            phases={Phase.generate},  # to shrink takes minutes
            suppress_health_check=list(HealthCheck),
            deadline=None,
        )(drawn(test))

    return searching


@searched(150)
def test_nothing_needed_goes(**drawn: Any) -> None:
    nothing_needed_goes(**drawn)


@searched(15)
def test_nothing_needed_goes_where_postgresql_coordinates(
    server: Server, monkeypatch: pytest.MonkeyPatch, **drawn: Any
) -> None:
    monkeypatch.setenv("MOTOOLS_DATABASE_URL", server.url)
    nothing_needed_goes(**drawn)


@searched(5)
def test_nothing_needed_goes_from_a_bucket(
    server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, **drawn: Any
) -> None:
    monkeypatch.setenv("MOTOOLS_DATABASE_URL", server.url)
    monkeypatch.setenv("MOTOOLS_STORE", bucket.url)  # so that it is gone afterwards
    nothing_needed_goes(**drawn, bucket=bucket)


def nothing_needed_goes(  # noqa: C901 - one story with many turns
    made: list[Made],
    policy: Policy,
    event: str,
    which: int,
    reads: bool,
    trash_days: float,
    bucket: Bucket | None = None,
) -> None:
    """Whatever is shared, pinned, paid or run, and whatever happens between plan and run."""
    with fresh(bucket, trash_days) as cache:
        now, actions, claims = time.time(), [], []
        for n, each in enumerate(made):
            wanted = action(n, each.kind)
            entry = cache.get_or_run(
                wanted, write(*sorted(each.files), cost=1.0 if each.paid else None)
            )
            used(cache, entry.key, now - each.days * DAY)
            if each.pinned:
                cache.marks.set(entry.key, PIN)
            actions.append(wanted)
        chosen = which % len(made)
        if reads:  # a run under way reads a blob of it
            name = min(made[chosen].files)
            claim = cache.claim(action(99, "eval", reads=hash_bytes(content(name)).hex))
            assert isinstance(claim, Claim)
            claims.append(claim)
        first = prune.plan(cache, policy, now=now)
        pruning = prune.plan(cache, policy, now=now)
        assert names(pruning) == names(first)  # a plan changes nothing
        named = {entry.key for entry in pruning.removal.entries}
        going = [n for n, each in enumerate(actions) if each.key in named]
        chosen = going[which % len(going)] if going else chosen
        before = in_place(cache)

        safe = {e.key for e, m in zip(actions, made, strict=True) if m.pinned or m.days == 0}
        safe |= {e.key for e, m in zip(actions, made, strict=True) if m.paid and not policy.paid}
        if claims:
            safe |= {e.key for e, m in zip(actions, made, strict=True) if name in m.files}
        if event == "commit":  # the same bytes, by another key
            other = cache.get_or_run(action(50), write(*sorted(made[chosen].files)))
            safe.add(other.key)
        elif event == "refresh":
            cache.get_or_run(actions[chosen], write(*sorted(made[chosen].files)), refresh=True)
            safe.add(actions[chosen].key)
        elif event == "pin":
            cache.marks.set(actions[chosen].key, PIN)
            safe.add(actions[chosen].key)
        elif event == "lease":
            claim = cache.claim(actions[chosen], refresh=True)
            assert isinstance(claim, Claim)
            claims.append(claim)
            safe.add(actions[chosen].key)
        elif event == "read":
            (entry,) = cache.index.newest([actions[chosen].key])
            whole = entry.kind == "model"  # named by one digest, else by that of a file
            digest = model_digest(entry) if whole else entry.file_rows[0][1]
            claim = cache.claim(action(98, "eval", reads=digest))
            assert isinstance(claim, Claim)
            claims.append(claim)
            safe |= {
                each.key
                for each in cache.entries()
                if (
                    each.kind == "model" and model_digest(each) == digest
                    if whole
                    else digest in each.blob_digests
                )
            }
        elif event == "clear":
            doomed = cache.index.newest([actions[chosen].key])
            removal.execute(cache, removal.plan(cache, doomed, files=True))
        prune.execute(cache, pruning)

        for wanted, each in zip(actions, made, strict=True):
            if event == "clear" and wanted.key == actions[chosen].key:
                continue
            (entry,) = cache.look_up([wanted])  # a hit, with its bytes or without
            assert entry is not None
            assert entry.value == {"files": sorted(each.files)}
            assert not (entry.released and wanted.key in safe), "released what is needed"
            assert entry.released <= (wanted.key in named), "released what was not named"
            if not entry.released:
                for file in each.files:
                    assert entry.files[file].read_bytes() == content(file)
        gone = {blob_name(digest) for digest in pruning.removal.blobs}
        assert before - in_place(cache) <= gone | (before if event == "clear" else set())
        if event == "nothing":
            assert before - in_place(cache) == gone, "the dry run named other blobs"
            assert {e.key for e in cache.entries() if e.released} == named
            again = prune.plan(cache, policy, now=now)
            assert again.empty, "a second prune finds more to do"
            in_trash = {name for name, _ in cache.store.names("trash/objects")}
            # Without a grace period there is none, but for a run that may have stored a blob.
            kept = trash_days or claims
            assert in_trash == ({trashed(name) for name in gone} if kept else set())
            if not (safe & {e.key for e in cache.entries() if e.file_rows}):
                limit = policy.overall.max_size
                assert limit is None or pruning.left <= limit
        for claim in claims:
            claim.abandon()


def names(pruning: prune.Pruning) -> Any:
    plan = pruning.removal
    assert plan.expired is not None
    return {e.key for e in plan.entries}, plan.blobs, plan.leftovers, plan.expired.blobs


@pytest.fixture
def cache() -> Iterator[Cache]:
    with fresh() as cache:
        yield cache


def prune_all(cache: Cache) -> removal.Removed:
    return prune.execute(cache, prune.plan(cache, EVERYTHING))


def test_a_released_entry_is_a_hit_and_comes_back(cache: Cache) -> None:
    wanted = action(1, "eval")
    cache.get_or_run(wanted, write("1", "2"))
    assert prune_all(cache).entries == 1
    entry = cache.get_or_run(wanted, write("3"))
    assert entry.hit and entry.released and entry.value == {"files": ["1", "2"]}
    assert in_place(cache) == set()
    assert prune.plan(cache, EVERYTHING).empty
    undelete(cache, [wanted.key])
    assert cache.look_up([wanted])[0].files["2"].read_bytes() == content("2")  # type: ignore[union-attr]


def test_bytes_in_the_trash_are_not_freed_twice(cache: Cache) -> None:
    entry = cache.get_or_run(action(1), write("2"))
    assert prune_all(cache).bytes_freed > 0
    plan = removal.plan(cache, [entry], files=True)
    assert plan.bytes_freed == 0
    removal.execute(cache, plan)
    undelete(cache, [entry.key])
    assert cache.entry(entry.key).files["2"].read_bytes() == content("2")


def test_after_the_grace_period_only_the_record_is_left(cache: Cache) -> None:
    wanted = action(1)
    cache.get_or_run(wanted, write("1"))
    prune_all(cache)
    trash.purge(cache, before=4e9)
    assert not list(cache.store.names("trash"))
    with pytest.raises(KeyNotFoundError):
        undelete(cache, [wanted.key])
    (entry,) = cache.look_up([wanted])
    assert entry is not None and entry.released
    removal.execute(cache, removal.plan(cache, [entry], files=True))
    undelete(cache, [wanted.key])  # cleared and brought back, it has no files still
    assert cache.look_up([wanted])[0].released  # type: ignore[union-attr]
    cache.flush()
    cache.database.close()
    lose_the_database(cache.root)
    again = Cache.open(cache.root)
    assert again.look_up([wanted])[0].released  # type: ignore[union-attr]
    again.database.close()
    assert not reindex(cache.root).problems


def test_without_a_grace_period_what_goes_goes_at_once() -> None:
    with fresh(trash_days=0.0) as cache:
        entries = [cache.get_or_run(action(n), write("1", str(n))) for n in range(2, 9)]
        removed = prune_all(cache)
        assert (removed.entries, removed.waiting) == (7, 0)
        assert not list(cache.store.names("trash"))
        for table in ("blobs", "entry_blobs"):
            assert cache.database.read(f"SELECT digest FROM {table}") == []
        with pytest.raises(KeyNotFoundError):
            undelete(cache, [entries[0].key])


def test_a_refresh_after_a_release_is_served_and_the_old_one_stays_released(cache: Cache) -> None:
    wanted = action(1)
    cache.get_or_run(wanted, write("1"))
    prune_all(cache)
    entry = cache.get_or_run(wanted, write("1", "2"), refresh=True)
    assert entry.files["1"].read_bytes() == content("1")  # taken out of the trash by the commit
    assert [e.generation for e in cache.entries()] == [2]
    trash.purge(cache, before=4e9)
    assert cache.look_up([wanted])[0].files["1"].read_bytes() == content("1")  # type: ignore[union-attr]


def test_least_recently_used_weights_go_first(cache: Cache) -> None:
    now = time.time()
    for n, kind, days in ((1, "model", 3), (2, "model", 9), (3, "eval", 30), (4, "model", 1)):
        used(cache, cache.get_or_run(action(n, kind), write(str(n))).key, now - days * DAY)
    held = prune.plan(cache, Policy()).held
    cache.statistics.count(action(2).key)  # used today

    def goes(limit: int) -> list[str]:
        plan = prune.plan(cache, Policy(Budget(max_size=limit)), now=now).removal
        return sorted(entry.key for entry in plan.entries)

    assert goes(held) == []
    assert goes(held - 1) == [action(1).key]
    assert goes(len(content("2")) + 100) == sorted(
        action(n, k).key for n, k in ((1, "model"), (3, "eval"), (4, "model"))
    )


def test_a_limit_of_a_kind_is_for_that_kind(cache: Cache) -> None:
    for n, kind in ((1, "model"), (2, "eval")):
        cache.get_or_run(action(n, kind), write(str(n)))
    policy = Policy(kinds={"eval": Budget(max_size=0)}, spare=0.0)
    plan = prune.plan(cache, policy).removal
    assert [entry.kind for entry in plan.entries] == ["eval"]


def test_what_shares_all_it_has_with_something_pinned_is_not_released_in_vain(cache: Cache) -> None:
    for n in (1, 2, 3):
        cache.get_or_run(action(n), write("1", "2") if n < 3 else write("3"))
    cache.marks.set(action(1).key, PIN)
    plan = prune.plan(cache, EVERYTHING).removal
    assert [entry.key for entry in plan.entries] == [action(3).key]


def test_leftovers_go_when_nobody_can_need_them(cache: Cache) -> None:
    long_ago = time.time() - 40 * DAY
    for name in ("tmp/old", "tmp/fetched/old", "tmp/new"):
        (cache.root / name).parent.mkdir(exist_ok=True)
        (cache.root / name).write_bytes(b"12345")
    for key in ("old", "new"):
        scratch = cache.root / "jobs" / key / "scratch"
        scratch.mkdir(parents=True)
        (scratch / "checkpoint").write_bytes(b"123")
    claim = cache.claim(action(1))
    assert isinstance(claim, Claim)
    for blob in ("aa" * 32, "bb" * 32):
        cache.store.publish_bytes(blob_name(blob), b"stored by a run that was killed")
    held = cache.root / "jobs" / action(1).key
    old = [cache.root / name for name in ("tmp/old", "tmp/fetched/old", blob_name("aa" * 32))]
    for path in (*old, *(cache.root / "jobs" / "old").rglob("*"), *held.rglob("*")):
        os.utime(path, (long_ago, long_ago))
    for directory in (cache.root / "jobs" / "old", held):
        os.utime(directory, (long_ago, long_ago))
    pruning = prune.plan(cache, Policy())
    assert {(each.what, each.name, each.size) for each in pruning.removal.leftovers} == {
        ("staging", "tmp/old", 5),
        ("staging", "tmp/fetched/old", 5),
        ("scratch", "jobs/old", 3),
    }
    assert set(pruning.unused) == {"aa" * 32}
    prune.execute(cache, pruning)
    assert not (cache.root / "tmp/old").exists() and not (cache.root / "jobs/old").exists()
    assert (cache.root / "tmp/new").exists() and (cache.root / "jobs/new").exists()
    assert in_place(cache) == {blob_name("bb" * 32)}
    assert cache.store.size(trashed(blob_name("aa" * 32))) is not None
    claim.commit("went on undisturbed")
    assert prune.plan(cache, Policy()).empty


def test_what_others_put_into_the_folders_is_neither_used_nor_taken(cache: Cache) -> None:
    """As file managers do."""
    entry = cache.get_or_run(action(1), write("1"))
    (place,) = {path.parent for path in cache.root.glob("objects/*/*") if path.name in entry.tree}  # type: ignore[operator]
    strays = [cache.root / folder / ".DS_Store" for folder in ("jobs", "objects", "texts")]
    strays += [place / ".DS_Store", cache.root / "jobs" / "notes.txt"]
    for stray in strays:
        stray.parent.mkdir(exist_ok=True)
        stray.touch()
        os.utime(stray, (1, 1))
    Cache.open(cache.root).database.close()
    assert prune.plan(cache, Policy()).empty
    assert prune_all(cache).entries == 1
    assert all(stray.exists() for stray in strays)


def test_fetched_copies_stay_while_a_run_reads_them_or_somebody_has_just_asked(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_STORE", bucket.url)  # so that it is gone afterwards
    with fresh(bucket) as cache:
        entry = cache.get_or_run(action(1), write("1", "2"))
        fetched = {name: entry.files[name] for name in ("1", "2")}

        def going() -> set[str]:
            for path in fetched.values():
                os.utime(path, (0, 0))
            found = prune.plan(cache, Policy()).removal.leftovers
            return {Path(each.name).name for each in found}

        both = {path.name for path in fetched.values()}
        claim = cache.claim(action(2, "eval", reads=model_digest(entry)))
        assert isinstance(claim, Claim)
        assert going() == set()
        claim.abandon()
        assert going() == both
        pruning = prune.plan(cache, Policy())
        assert entry.files["1"] == fetched["1"]  # is used between plan and execute
        prune.execute(cache, pruning)
        assert [path.exists() for path in fetched.values()] == [True, False]
        assert entry.files["2"].read_bytes() == content("2")


def test_a_cache_that_rests_has_nothing_to_prune(cache: Cache) -> None:
    """Its locks are as old as it is, and whoever holds one relies on its being there."""
    cache.get_or_run(action(1), write("1"))
    (cache.root / "tmp" / "remotes.lock").touch()
    for lock in (cache.root / "tmp").glob("*.lock"):
        os.utime(lock, (0, 0))
    pruning = prune.plan(cache, Policy())
    assert pruning.empty
    prune.execute(cache, pruning)
    assert in_child(lambda _at: refused_alone(cache.root)) == 0


def test_a_lock_that_was_removed_is_taken_anew(cache: Cache) -> None:
    (cache.root / "tmp" / "in-use.lock").unlink()
    Cache.open(cache.root).database.close()
    assert in_child(lambda _at: refused_alone(cache.root)) == 0


def refused_alone(root: Path) -> None:
    with pytest.raises(CacheUnavailableError, match="other processes use"), alone(root):
        pass


def test_texts_go_that_nothing_names_any_more(cache: Cache) -> None:
    """After the grace period, and with what only they named; what may be asked about stays."""
    source, other, lost, failed_reads = (f"{n:064x}" for n in (1, 2, 3, 4))

    def fail(context: RunContext) -> Any:
        raise RuntimeError("no luck")

    scored = Action("function", {}, {"source": source}, {})
    failed = Action("function", {}, {"source": failed_reads}, {})
    entry = cache.get_or_run(scored, write("1"))
    with pytest.raises(RuntimeError):
        cache.get_or_run(failed, fail)
    cache.texts.keep({d: {"source": "…"} for d in (source, other, lost, failed_reads)})
    texts = {digest: cache.root / text_name(digest) for digest in (source, lost, failed_reads)}
    texts[failed.key] = cache.root / text_name(failed.key)
    for digest in (source, lost, failed_reads):
        os.utime(texts[digest], (0, 0))

    def going() -> set[str]:
        plan = prune.plan(cache, Policy()).removal
        assert {each.what for each in plan.leftovers} <= {"text"}
        return {each.name for each in plan.leftovers}

    assert going() == {text_name(lost)}  # the failed action can still be explained
    os.utime(texts[failed.key], (0, 0))
    assert going() == {text_name(digest) for digest in (lost, failed_reads, failed.key)}
    pruning = prune.plan(cache, Policy())
    cache.get_or_run(Action("function", {}, {"source": lost}, {}), write("2"))
    prune.execute(cache, pruning)  # one is named by an entry by now
    assert {digest for digest, path in texts.items() if path.exists()} == {source, lost}
    assert (cache.root / text_name(other)).exists(), "it is young"

    removal.execute(cache, removal.plan(cache, [entry], files=True))
    assert going() == set(), "it can be undeleted"
    trash.purge(cache, before=4e9)
    assert going() == {text_name(source)}


def test_killed_at_every_step(cache: Cache) -> None:
    """Whenever a prune dies: bytes or a released record, and a second one completes it."""

    def filled() -> None:
        for n in (1, 2, 3):
            cache.get_or_run(action(n), write("1", str(n)))
        cache.marks.set(action(3).key, PIN)

    def work(_at: Any) -> None:
        other = Cache.open(cache.root)
        prune_all(other)
        other.flush()

    die_at, died = 1, True
    while died:
        filled()
        for key in (e.key for e in cache.entries() if e.released):
            undelete(cache, [key])
        cache.database.close()
        died = in_child(work, die_at) != 0
        for entry in Cache.open(cache.root).look_up([action(1), action(2), action(3)]):
            assert entry is not None
            if not entry.released:
                assert all(entry.files[name].read_bytes() == content(name) for name in entry.files)
        prune_all(cache)
        kept = cache.entries()
        assert [e.key for e in kept if not e.released] == [action(3).key]
        assert in_place(cache) == {blob_name(d) for d in cache_blobs(cache, action(3).key)}
        assert prune.plan(cache, EVERYTHING).empty
        die_at += 3
    assert die_at > 30


def cache_blobs(cache: Cache, key: str) -> set[str]:
    rows = cache.database.read("SELECT digest FROM entry_blobs WHERE key = ?", (key,))
    return {digest for (digest,) in rows}


def test_what_was_cleared_while_it_is_read_stays_until_the_run_has_ended(cache: Cache) -> None:
    """Its record goes at once; its files, which nothing needs any more, later."""
    entry = cache.get_or_run(action(1), write("1"))
    claim = cache.claim(action(2, "eval", reads=model_digest(entry)))
    assert isinstance(claim, Claim)
    before = in_place(cache)
    removal.execute(cache, removal.plan(cache, [entry]))
    prune_all(cache)
    assert in_place(cache) == before
    claim.abandon()
    prune_all(cache)
    assert in_place(cache) == set()


def test_what_another_host_reads_stays(tmp_path: Path) -> None:
    """Its lease says what it reads; its job directory cannot be seen from here."""
    here = Cache.open(tmp_path / "a")
    read, unread = action(1), action(2)
    for wanted, name in ((read, "1"), (unread, "2")):
        here.get_or_run(wanted, write(name))
    there = Cache.open(second_host(tmp_path / "a", tmp_path / "b"))
    claim = there.claim(action(3, "eval", reads=hash_bytes(content("1")).hex))
    assert isinstance(claim, Claim)
    prune_all(here)
    kept = {entry.key for entry in here.entries() if not entry.released}
    assert kept == {read.key}
    claim.abandon()
    prune_all(here)
    assert all(entry.released for entry in here.entries())


def test_a_damaged_record_does_not_keep_the_trash_from_being_emptied(cache: Cache) -> None:
    entry = cache.get_or_run(action(1), write("1"))
    removal.execute(cache, removal.plan(cache, [entry]))
    with cache.database.write() as transaction:
        transaction.run("UPDATE entries SET labels = '{', trashed_at = 1")
        transaction.run("UPDATE blobs SET trashed_at = 1")
    pruning = prune.plan(cache, Policy())
    assert next((each.what, each.name) for each in listing(pruning)) == ("trash", entry.key)
    prune.execute(cache, pruning)
    assert cache.index.select(state="trash", generations=True) == []
