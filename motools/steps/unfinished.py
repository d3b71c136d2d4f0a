"""What an earlier attempt at a step left to go on from."""

from __future__ import annotations

from pathlib import Path

from motools.steps import evaluate, train
from motools.training.local import checkpoints


def left_over(kind: str, scratch: Path) -> str | None:
    """What there is to go on from, for people; None: the step starts from the beginning.

    Args:
        kind: of the step.
        scratch: of its job.
    """
    if kind == train.KIND:
        step = checkpoints.newest(scratch)
        return None if step is None else f"goes on after step {step}"
    if kind == evaluate.KIND and any((scratch / "logs").glob("*.eval")):
        return "goes on with the samples of an earlier attempt"
    return None
