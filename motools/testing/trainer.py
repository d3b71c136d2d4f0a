"""What a backend that trains while its caller waits has to do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from motools.artifacts import Dataset
from motools.cache import Cache
from motools.digest import canonical_json
from motools.errors import DatasetError
from motools.memo import Forgetful
from motools.steps.wait import until
from motools.testing.planning import PlanningContract
from motools.training.protocol import Backend, Trainer, TrainingJob, TrainingResult


class TrainerContract(PlanningContract):
    """Tests of a :class:`~motools.training.protocol.Trainer`."""

    def trainer(self) -> Trainer:
        """A new object of the backend under test."""
        raise NotImplementedError

    def backend(self) -> Backend:
        """A new object of the backend under test."""
        return self.trainer()

    def trained(
        self, place: Path, rows: list[dict[str, Any]]
    ) -> tuple[TrainingResult, dict[str, str]]:
        """What a training on some rows comes to: its result, and the digests of its files."""
        trainer = self.trainer()
        base = trainer.identify(self.base_model, Forgetful())
        for name in ("model", "scratch"):
            (place / name).mkdir(parents=True)
        Dataset.from_rows(rows).write(place / "rows.jsonl")
        job = TrainingJob(
            dataset=place / "rows.jsonl",
            config=trainer.resolve(self.fine_tune(), base),
            base=base.spec,
            directory=place / "model",
            scratch=place / "scratch",
            report=_ignore,
            wait=until,
        )
        result = trainer.train(job)
        tree = Cache.open(place / "cache").add(place / "model")
        return result, {file.path: str(file.digest) for file in tree.files}

    def test_the_same_training_twice_comes_to_the_same(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            first, files = self.trained(Path(place, "1"), self.rows)
            second, again = self.trained(Path(place, "2"), self.rows)
        assert files, "the directory of the job is empty"
        assert files == again
        assert _without_time(first.metrics) == _without_time(second.metrics)

    def test_a_wrong_row_is_named(self) -> None:
        rows = [*self.rows[:2], {"messages": "none"}]
        with tempfile.TemporaryDirectory() as place:
            try:
                self.trained(Path(place), rows)
            except DatasetError as problem:
                named = problem.row
            else:
                raise AssertionError("a row without messages was trained on")
        assert named == 3


def _ignore(_message: str, /, **_fields: Any) -> None:
    """Progress is of no interest here."""


def _without_time(metrics: Any) -> bytes:
    return canonical_json({name: value for name, value in metrics.items() if name != "seconds"})
