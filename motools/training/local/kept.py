"""Models on the way: checkpoints that the recipe keeps, as part of the result.

They wait in the scratch directory, each sealed, until the training has ended;
a training that goes on takes them along, so all of them must be there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from motools.training.local import checkpoints

DIRECTORY: Final = "checkpoints"
"""Under it, in the result, each step has a directory like that of the last."""


class Kept:
    """The models that a training leaves on its way.

    Args:
        keep: ``epoch``, a number of steps, or None for no model but the last.
        write: writes the model as it is into an empty directory.
        scratch: where they wait.
        after: the step that the training goes on after; later ones are made again.
    """

    def __init__(
        self, keep: str | int | None, write: Callable[[Path], None], scratch: Path, after: int
    ) -> None:
        self._keep = keep
        self._write = write
        self._place = scratch / "kept"
        for step in _steps(self._place):
            if step > after:
                shutil.rmtree(self._place / str(step))

    def step(self, step: int, epoch: float) -> None:
        """Keep the model after this step, if it is one to keep."""
        if self._keep is None:
            return
        if not (epoch.is_integer() if isinstance(self._keep, str) else step % self._keep == 0):
            return
        directory = self._place / str(step)
        directory.mkdir(parents=True)
        self._write(directory)
        checkpoints.complete(directory, {})

    def hand_over(self, directory: Path, last: int) -> list[int]:
        """Have them in the result, too; the last step's is the result itself.

        They stay where they wait: if the result cannot be committed, the training goes on
        from a checkpoint that needs them.
        """
        steps = [step for step in _steps(self._place) if step < last]
        for step in steps:
            checkpoints.verify(self._place / str(step))
            shutil.copytree(
                self._place / str(step),
                directory / DIRECTORY / str(step),
                ignore=shutil.ignore_patterns(checkpoints.MANIFEST),
            )
        return steps


def facts(scratch: Path) -> list[int]:
    """The steps kept so far."""
    return _steps(scratch / "kept")


def lost(scratch: Path, steps: list[Any]) -> str | None:
    """Why a training that had kept these cannot go on; None: it can."""
    for step in steps:
        try:
            checkpoints.verify(scratch / "kept" / str(step))
        except ValueError as problem:
            return f"of the model kept at step {step}: {problem}"
    return None


def _steps(place: Path) -> list[int]:
    return sorted(int(path.name) for path in place.glob("*") if path.name.isdigit())
