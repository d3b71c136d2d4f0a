"""Verify and repair: the documents of paid jobs, which block their keys when they are damaged."""

from __future__ import annotations

import pytest

from motools.cache import Cache
from motools.cache.attempt import FAILED, SUBMITTED, SUCCEEDED
from motools.cache.layout import journal_name
from motools.upkeep import repair
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.verify import verify
from tests.filled import Filled
from tests.s3 import EVERYWHERE

from .conftest import alter

KEY = "ab" * 32


@pytest.fixture
def paid(cache: Cache) -> Cache:
    """A cache with two attempts at a key that has no entry."""
    cache.attempts.note(KEY, 1, FAILED, "lab", job_id="job-1")
    cache.attempts.note(KEY, 2, SUBMITTED, "lab", job_id="job-2")
    return cache


def found(cache: Cache, keys: list[str] | None = None) -> list[Finding]:
    return list(verify(cache, keys).findings)


def repaired(cache: Cache) -> repair.RepairPlan:
    plan = repair.plan(cache, found(cache))
    repair.execute(cache, plan)
    return plan


@EVERYWHERE
def test_a_whole_journal_is_well(paid: Cache) -> None:
    assert found(paid) == []


def test_a_damaged_journal_is_named_and_left_to_a_person(paid: Cache, filled: Filled) -> None:
    """It may have had a job that the tables do not."""
    path = filled.root / journal_name(KEY)
    alter(path, lambda data: data[:-9])
    [finding] = found(paid)
    assert (finding.key, finding.damage) == (KEY, Damage.JOURNAL)
    assert journal_name(KEY) in finding.reason and "2 attempts" in finding.reason
    assert f"motools jobs show {KEY[:12]} --status" in finding.remedy
    assert found(paid, [KEY]) == [finding] and found(paid, [filled.models[0].key]) == []
    assert repaired(paid).left == (finding,)
    path.unlink()  # as it says
    repaired(paid)
    assert found(paid) == []
    assert [row[3] for row in paid.documents.read_journal(KEY)] == ["job-1", "job-2"]


@EVERYWHERE
def test_a_journal_that_is_missing_is_written_again(paid: Cache) -> None:
    paid.store.remove(journal_name(KEY))
    [finding] = found(paid)
    assert (finding.damage, finding.remedy) == (Damage.ATTEMPTS, "motools cache repair")
    assert repaired(paid).journals == (KEY,)
    assert found(paid) == []
    assert len(paid.documents.read_journal(KEY)) == 2


def test_what_only_the_document_knows_stays_in_it(paid: Cache) -> None:
    """It is written first: a process that died then leaves it ahead."""
    first, second = paid.documents.read_journal(KEY)
    ahead = (KEY, 3, SUCCEEDED, "job-3", *second[4:])
    paid.documents.write_journal(KEY, [*(first, second), ahead])
    assert found(paid) == []
    paid.documents.write_journal(KEY, [second, ahead])
    [finding] = found(paid)
    assert "lacks attempt 1" in finding.reason
    repaired(paid)
    assert paid.documents.read_journal(KEY) == [first, second, ahead]
