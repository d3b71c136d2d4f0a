"""Batches that fit: how many rows are computed at once is decided by the device's memory.

An optimizer step is made of ``batch_size`` rows whatever the device. Where they
do not fit at once, their gradients are added up over several passes, which is
the same step but for the rounding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

from motools.errors import TrainingError
from motools.worker import Emit

T = TypeVar("T")


def sizes(batch_size: int, rows: int, method: str) -> list[int]:
    """How many rows may be computed at once, the most first.

    ``dpo`` takes the mean of the means of its passes, so each pass has to have
    as many rows as the others, also in the last step of an epoch.
    """
    even = [size for size in range(batch_size, 0, -1) if batch_size % size == 0]
    return [size for size in even if method != "dpo" or size == batch_size or rows % size == 0]


def fit(attempt: Callable[[int], T], tried: Sequence[int], emit: Emit) -> T:
    """What an attempt comes to with the first number of rows that fits.

    Args:
        attempt: is given the number, and goes on where an earlier one came to.
        tried: from :func:`sizes`.
        emit: is told when memory ran out.

    Raises:
        TrainingError: not even the least number fits.
    """
    import torch

    for size in tried:
        try:
            return attempt(size)
        except torch.OutOfMemoryError as problem:
            said = str(problem)  # the error itself holds on to all that filled the memory
        emit({"event": f"{size} rows at once do not fit into the device's memory"})
        gc.collect()
        torch.cuda.empty_cache()
    raise TrainingError(
        f"not even {tried[-1]} rows at once fit into the device's memory: lower max_length or the "
        f"rank, take a smaller base model or a larger device ({said})"
    )
