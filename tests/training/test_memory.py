"""A batch that does not fit is computed in parts, and comes to the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motools.errors import TrainingError
from motools.training.local import memory, models, trainers
from motools.training.local.recorder import Recorder
from motools.training.local.tokens import tokenise

from .lessons import greeting_rows, resolved, write_rows


def test_only_even_parts_are_tried() -> None:
    assert memory.sizes(12, 100, "supervised") == [12, 6, 4, 3, 2, 1]
    assert memory.sizes(12, 100, "dpo") == [12, 4, 2, 1]
    assert memory.sizes(1, 7, "dpo") == [1]
    assert memory.sizes(12, 101, "supervised", 3) == [4, 2, 1]
    assert memory.sizes(12, 102, "dpo", 2) == [6, 3, 1]
    for method, rows in (("supervised", 100), ("dpo", 101)):
        with pytest.raises(TrainingError, match=r"devices=[25]"):
            memory.sizes(12, rows, method, 5 if method == "supervised" else 2)


def test_fewer_rows_are_tried_until_they_fit() -> None:
    tried: list[int] = []
    said: list[str] = []

    def attempt(size: int) -> dict[str, Any]:
        tried.append(size)
        return {memory.FULL: "CUDA out of memory"} if size > 2 else {"done": size}

    def report(message: str, /, **_: Any) -> None:
        said.append(message)

    assert memory.fit(attempt, [8, 4, 2, 1], report) == {"done": 2}
    assert tried == [8, 4, 2]
    assert [message.split()[0] for message in said] == ["8", "4"]
    with pytest.raises(TrainingError, match=r"not even 4 rows.*CUDA out of memory"):
        memory.fit(attempt, [8, 4], report)


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 6), (True, 4)])
def test_parts_make_the_same_steps(tmp_path: Path, drop_last: bool, steps: int) -> None:
    """Rounding apart; the last step of an epoch has fewer rows than others, or is left out."""
    trainer = {"dataloader_drop_last": drop_last}
    config = resolved(epochs=2, batch_size=6, lora={"rank": 4}, trainer=trainer)
    path = write_rows(tmp_path / "rows.jsonl", greeting_rows())

    def losses(size: int) -> list[float]:
        recorder = Recorder(lambda event: None)
        model, tokenizer = models.load({"base": {"kind": "tiny", "recipe": 1}})
        trainers.make(
            model,
            tokenizer,
            tokenise(path, tokenizer, config).rows,
            config=config,
            at_once=size,
            reference=None,
            scratch=tmp_path / str(size),
            recorder=recorder,
            saving=trainers.Saving(300.0, dict),
            on_step=lambda step, epoch: None,
        ).train()
        return [loss for _, loss in recorder.metrics()["loss_curve"]]

    whole, parts = losses(6), losses(2)
    assert len(whole) == len(parts) == steps
    assert parts == pytest.approx(whole, rel=1e-4)
