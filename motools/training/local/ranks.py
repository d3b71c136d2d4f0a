"""One training on several devices: processes that compute each step together.

The worker that the holder started is rank 0. It starts the others, each a
worker of its own with rank 0 as its holder, so all of them end with whoever
ends first. Only rank 0 reports, writes checkpoints and writes the model. Each
rank computes a share of every batch; gradients are summed over all of them,
so a step is that of one device but for the rounding.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from motools.errors import MotoolsError, WorkerError
from motools.worker import Emit, run_worker

MODULE: Final = "motools.training.local.worker"

_MEETING: Final = "meeting"
_TIMEOUT: Final = timedelta(minutes=30)
_HEARD_OUT: Final = 10.0
# Nobody on the network is to join: all ranks are on this machine.
_LOOPBACK: Final = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


@contextmanager
def others(request: Mapping[str, Any], emit: Emit) -> Iterator[None]:
    """The other ranks of a training, at work until the end of the block.

    What ends one of them early (it failed, or had no memory) ends this process too.

    Args:
        request: of rank 0; they get the same, with their rank.
        emit: tells the holder.
    """
    count, meeting = request["devices"], Path(request["scratch"], _MEETING)
    meeting.unlink(missing_ok=True)  # of an earlier training that was killed
    threads = [
        threading.Thread(target=_follow, args=({**request, "rank": rank}, emit), daemon=True)
        for rank in range(1, count)
    ]
    for thread in threads:
        thread.start()
    try:
        if count > 1:
            join(request)
        yield
    except MotoolsError:
        raise
    except Exception:
        # A rank that is gone makes the others fail: let it say why before they do.
        for thread in threads:
            thread.join(_HEARD_OUT / len(threads))
        raise
    for thread in threads:
        thread.join()


def _follow(request: Mapping[str, Any], emit: Emit) -> None:
    log = Path(request["scratch"], f"rank-{request['rank']}.log")
    fds = tuple(request["lock_fds"])
    try:
        outcome = run_worker(MODULE, request, log=log, on_event=_unheard, lock_fds=fds)
    except WorkerError as problem:
        message = f"on device {request['rank']}: {problem}"
        emit({"event": "error", "type": "WorkerError", "message": message, "ours": True})
        os._exit(1)
    if outcome is not None:
        emit({"event": "result", "value": outcome})
        os._exit(0)


def _unheard(event: Mapping[str, Any]) -> None:
    """Rank 0 reports for all."""


def join(request: Mapping[str, Any]) -> None:
    """Meet the other ranks, who all call this; from now on they compute together."""
    rank, count = request["rank"], request["devices"]
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in names.items()} | _LOOPBACK)
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"file://{Path(request['scratch'], _MEETING).absolute()}",
        rank=rank,
        world_size=count,
        timeout=_TIMEOUT,
    )


def agreed(said: bool, device: Any) -> bool:
    """What rank 0 says, on every rank."""
    import torch

    if not torch.distributed.is_initialized():
        return said
    answer = torch.tensor([said], dtype=torch.uint8, device=device)
    torch.distributed.broadcast(answer, 0)
    return bool(answer.item())


def wait_for_all() -> None:
    """Return once every rank has called this."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()


class Shares:
    """Which rows one rank computes: its share of each batch, in passes that all ranks make.

    Args:
        order: row numbers in the order that they are taken, the same on every rank.
        batch_size: rows in one step, over all ranks.
        at_once: the most rows in one pass of one rank.
        rank: whose share it is.
        ranks: how many there are.
        drop_last: leave out a last batch that is not full.
        nothing: number of a row with nothing to learn from, for a pass without a row.
    """

    def __init__(
        self,
        order: Any,
        *,
        batch_size: int,
        at_once: int,
        rank: int,
        ranks: int,
        drop_last: bool,
        nothing: int,
    ) -> None:
        self._order = order
        self._batch_size = batch_size
        self._width = at_once * ranks
        self._rank = rank
        self._ranks = ranks
        self._drop_last = drop_last
        self._nothing = nothing

    def __len__(self) -> int:
        rows: Sized = self._order
        full, rest = divmod(len(rows), self._batch_size)
        rest = 0 if self._drop_last else rest
        return full * (self._batch_size // self._width) + math.ceil(rest / self._width)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for row in self._order:
            batch.append(row)
            if len(batch) == self._batch_size:
                yield from self._passes(batch)
                batch = []
        if not self._drop_last:
            yield from self._passes(batch)

    @property
    def idle(self) -> int:
        """How many ranks have no row in the last pass of an epoch."""
        rest = 0 if self._drop_last else len(self._order) % self._batch_size
        return max(0, self._ranks - rest % self._width) if rest % self._width else 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch."""
        if hasattr(self._order, "set_epoch"):
            self._order.set_epoch(epoch)

    def _passes(self, batch: list[int]) -> Iterator[list[int]]:
        for start in range(0, len(batch), self._width):
            rows = batch[start : start + self._width]
            yield rows[self._rank :: self._ranks] or [self._nothing]
