"""Loaded models of this process, kept while there is memory for them.

What is kept is shared, so nobody may change it; whoever wants a model of their
own loads one with :func:`motools.training.local.models.load`.
"""

from __future__ import annotations

import gc
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from motools.training.local import models
from motools.training.local.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Loaded: TypeAlias = "tuple[PreTrainedModel, PreTrainedTokenizerBase]"

_SHARE: Final = 0.5
_SEED_BITS: Final = 63
_CGROUP: Final = Path("/sys/fs/cgroup")


AT_ONCE: Final = 64
"""Most conversations that a model answers at once."""


@dataclass(eq=False)
class Kept:
    """A loaded model.

    Attributes:
        model: its weights.
        tokenizer: its tokenizer.
        size: bytes of its weights and buffers.
        lock: held while it generates, because one generation at a time is its own.
        at_once: most conversations that it can answer at once on its device.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    size: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    pins: int = 0
    at_once: int = AT_ONCE


class Pool:
    """Keeps the models that were used last.

    Args:
        share: of the memory that is free or its own, how much it may keep, between
            0 and 1. The model in use is kept whatever its size.
        free: bytes that are free where models are loaded.
    """

    def __init__(self, share: float = _SHARE, free: Callable[[], int] | None = None) -> None:
        self._share = share
        self._free = free or free_bytes
        self._kept: dict[str, Kept] = {}
        self._lock = threading.RLock()

    @contextmanager
    def use(self, name: str, load: Callable[[], Loaded], expected: int = 0) -> Iterator[Kept]:
        """A model, kept at least until the end of the block.

        Args:
            name: the digest of what is loaded.
            load: loads it, if it is not here.
            expected: bytes that it will take, as far as one can tell before.
        """
        kept = self._take(name, load, expected)
        try:
            yield kept
        finally:
            with self._lock:
                kept.pins -= 1

    def release(self) -> int:
        """Drop every model that is not in use, give the memory back, and say how many bytes.

        Memory of a model that somebody still refers to stays taken.
        """
        with self._lock:
            loose = [name for name, kept in self._kept.items() if not kept.pins]
            size = sum(self._kept.pop(name).size for name in loose)
        _give_back()
        return size

    @property
    def size(self) -> int:
        """Bytes of the models that are kept."""
        return sum(kept.size for kept in self._kept.values())

    @property
    def names(self) -> list[str]:
        """The models that are kept, the one used last at the end."""
        return list(self._kept)

    def _take(self, name: str, load: Callable[[], Loaded], expected: int) -> Kept:
        with self._lock:
            kept = self._kept.pop(name, None)
            if kept is None:
                self._make_room(expected)
                model, tokenizer = load()
                kept = Kept(model, tokenizer, _bytes_of(model))
                kept.pins = 1  # so that making room spares it
                self._kept[name] = kept
                self._make_room(0)
                return kept
            self._kept[name] = kept  # at the end: it is the one used last
            kept.pins += 1
            return kept

    def _make_room(self, expected: int) -> None:
        """Drop models until those left and one of so many bytes fit."""
        limit = self._share * (self._free() + self.size)
        dropped = False
        for name in [name for name, kept in self._kept.items() if not kept.pins]:
            if self.size + expected <= limit:
                break
            del self._kept[name]
            dropped = True
        if dropped:
            _give_back()


def generate(
    kept: Kept,
    conversation: Sequence[Mapping[str, Any]],
    *,
    temperature: float = 0.0,
    top_p: float | None = None,
    seed: int | None = None,
    **settings: Any,
) -> models.Completion:
    """Answer one conversation.

    Args:
        kept: from :meth:`Pool.use`.
        conversation: messages with ``role`` and ``content``.
        temperature: 0 takes the likeliest token each time (greedy).
        top_p: share of probability to sample from; None for all of it.
        seed: for sampling; None for another one each time.
        settings: as :func:`motools.training.local.models.generate` takes them.
    """
    sampling = None
    if temperature:
        drawn = secrets.randbits(_SEED_BITS) if seed is None else seed
        sampling = [Sampling(temperature, drawn, top_p)]
    with kept.lock:
        [answer] = models.generate(
            kept.model, kept.tokenizer, [conversation], sampling=sampling, **settings
        )
    return answer


def free_bytes() -> int:
    """Memory that is free where models are loaded: on the accelerator, or of this machine."""
    import torch

    if models.device().type == "cuda":
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0] + cached)
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free  # no limit but the machine's
    return min(free, max(0, limit - used))


def _bytes_of(model: PreTrainedModel) -> int:
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _give_back() -> None:
    gc.collect()  # modules refer to each other in circles
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001  (there is no public way)
    torch.cuda.empty_cache()


POOL: Final = Pool()
"""The pool of this process."""


def release_memory() -> int:
    """Drop the loaded models of this process and give their memory back, on the GPU too.

    That of the host of evaluations, too: it ends, unless an evaluation is running.
    Models from ``model.load()`` are yours: delete your references to them first.

    Returns:
        Bytes of the models that were dropped.
    """
    from motools.training.local import host

    return POOL.release() + host.release()
