"""Batches that fit: how many rows are computed at once is decided by the device's memory.

An optimizer step is made of ``batch_size`` rows whatever the devices. Where they
do not fit at once, their gradients are added up over several passes, which is
the same step but for the rounding. Each number is tried in a process of its
own: one whose memory ran out has memory that it cannot use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from motools.errors import TrainingError
from motools.training.protocol import Report

FULL: Final = "full"
"""In the outcome of an attempt: what the device said when its memory ran out."""


def sizes(batch_size: int, rows: int, method: str, devices: int = 1) -> list[int]:
    """How many rows a device may compute at once, the most first.

    ``dpo`` takes the mean of the means of its passes, so each pass has to have
    as many rows as the others, also in the last step of an epoch.

    Raises:
        TrainingError: the devices cannot share the rows of a step evenly.
    """
    share, left = divmod(batch_size, devices)
    if left:
        raise TrainingError(f"devices={devices} does not divide batch_size={batch_size}")
    even = [size for size in range(share, 0, -1) if share % size == 0]
    if method == "dpo":
        last = rows % batch_size
        alone = [share] if last % devices == 0 else []
        even = [size for size in even if rows % (size * devices) == 0 or size in alone]
    if not even:
        raise TrainingError(
            f"method='dpo' on devices={devices}: the last step of an epoch has {last} rows, which "
            "they cannot share evenly; give another number of devices, or of rows"
        )
    return even


def fit(
    attempt: Callable[[int], dict[str, Any]], tried: Sequence[int], report: Report
) -> dict[str, Any]:
    """What an attempt comes to with the first number of rows that fits.

    Args:
        attempt: is given the number, and goes on where an earlier one came to; has
            :data:`FULL` in its outcome when memory ran out.
        tried: from :func:`sizes`.
        report: is told when memory ran out.

    Raises:
        TrainingError: not even the least number fits.
    """
    said = ""
    for size in tried:
        outcome = attempt(size)
        if FULL not in outcome:
            return outcome
        said = outcome[FULL]
        report(f"{size} rows at once do not fit into the device's memory")
    raise TrainingError(
        f"not even {tried[-1]} rows at once fit into the device's memory: lower max_length or the "
        f"rank, take a smaller base model or a larger device ({said})"
    )
