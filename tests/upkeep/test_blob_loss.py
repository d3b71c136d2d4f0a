"""A store that loses blobs: never a wrong result, never a silent second run.

As Bazel is tested with: whatever is asked for, blobs vanish, are cut short or rot
just before it, by a seeded chance.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from motools.artifacts import Dataset
from motools.cache import Action, Cache, Entry, RunContext, joining
from motools.cache.layout import OBJECTS
from motools.cache.local import LocalStore
from motools.errors import CorruptBlobError, MissingBlobError, ReleasedError
from motools.steps.upload import Upload
from motools.upkeep import repair
from motools.upkeep.findings import Damage
from motools.upkeep.verify import verify

from .conftest import alter, flip

LOST = (MissingBlobError, CorruptBlobError, ReleasedError)


class LossyStore(LocalStore):
    """Loses blobs that are asked for, at random, while ``chance`` is given."""

    chance: random.Random | None = None

    def _lose(self, name: str) -> None:
        path = self.root / name
        if self.chance is None or not name.startswith(OBJECTS) or not path.exists():
            return
        fate = self.chance.random()
        if fate < 0.02:
            path.unlink()
        elif fate < 0.03:
            alter(path, lambda data: data[:-1])
        elif fate < 0.05:
            alter(path, flip(self.chance.randrange(path.stat().st_size * 8)))

    def size(self, name: str) -> int | None:
        self._lose(name)
        return super().size(name)

    def path(self, name: str) -> Path | None:
        self._lose(name)
        return super().path(name)

    def read(self, name: str) -> bytes | None:
        self._lose(name)
        return super().read(name)


class Work:
    """Datasets, models of them and scores of those, each counted as it is run."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.runs: Counter[str] = Counter()

    def dataset(self, n: int, **how: Any) -> Entry:
        step = Upload(Dataset.from_rows([{"prompt": str(n), "completion": str(n)}]))
        return self._run(step.action(self.cache), step.run, **how)

    def model(self, n: int, **how: Any) -> Entry:
        dataset = self.dataset(n)
        [path] = dataset.files.values()

        def train(context: RunContext) -> int:
            (context.directory / "weights").write_bytes(path.read_bytes() * 3)
            (context.directory / "tokenizer").write_bytes(b"shared by all")
            return n

        return self._run(Action("model", {"dataset": dataset.key}), train, **how)

    def score(self, n: int, **how: Any) -> Entry:
        model = self.model(n)

        def evaluate(context: RunContext) -> int:
            return len(model.files["weights"].read_bytes())

        return self._run(Action("eval", {"model": model.key}), evaluate, **how)

    def outcome(self, n: int) -> tuple[Any, bytes]:
        """A score, and the weights that it is of."""
        return self.score(n).value, self.model(n).files["weights"].read_bytes()

    def _run(self, action: Action, run: Any, **how: Any) -> Entry:
        def counted(context: RunContext) -> Any:
            self.runs[action.key] += 1
            return run(context)

        return self.cache.get_or_run(action, counted, **how)


@contextmanager
def losing(store: LossyStore, seed: int) -> Iterator[random.Random]:
    store.chance = random.Random(seed)
    try:
        yield store.chance
    finally:
        store.chance = None


@pytest.mark.parametrize("seed", range(6))
def test_lost_blobs_are_never_wrong_results_or_silent_runs(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "LocalStore", LossyStore)
    cache = Cache.open(tmp_path / "cache")
    work = Work(cache)
    right = {
        n: (work.score(n).value, work.model(n).files["weights"].read_bytes()) for n in range(6)
    }
    once = dict(work.runs)
    errors = 0
    with losing(cache.store, seed) as chance:  # type: ignore[arg-type]
        for _ in range(60):
            n = chance.randrange(6)
            try:
                assert work.outcome(n) == right[n]
            except LOST:
                errors += 1
    assert work.runs == once  # what is lost is an error, and nothing is run again for it
    assert errors

    damaged = verify(cache, read_data=True).findings
    assert {each.damage for each in damaged} <= {Damage.MISSING, Damage.ALTERED}
    plan = repair.plan(cache, verify(cache, read_data=True).findings)
    assert {(e.key, e.generation) for e in plan.released} <= {
        (d.key, d.generation) for d in damaged
    }
    repair.execute(cache, plan)
    assert verify(cache, read_data=True).findings == ()
    for n in range(6):
        try:
            assert work.outcome(n) == right[n]
        except ReleasedError:
            continue
    assert work.runs == once

    for n in range(6):  # what was released is made again by who says so, with the same bytes
        for make in (work.dataset, work.model):
            if make(n).released:
                make(n, refresh=True)
        assert work.outcome(n) == right[n]
    assert verify(cache, read_data=True).findings == ()
