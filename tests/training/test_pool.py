"""The pool of loaded models: what it keeps, what it drops, and that memory comes back."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from motools.training.local import pool
from motools.training.local.pool import Pool

MEGABYTE = 250_000  # float32 numbers


def weights(megabytes: int) -> Callable[[], Any]:
    def load() -> Any:
        model = torch.nn.Module()
        model.weight = torch.nn.Parameter(torch.zeros(megabytes, MEGABYTE))
        return model, None

    return load


def pool_of(megabytes: int) -> Pool:
    """A pool in a machine of so much memory, all of which it may take."""
    made = Pool(share=1.0, free=lambda: megabytes * 10**6 - made.size)
    return made


def use(pool: Pool, name: str, megabytes: int) -> Any:
    with pool.use(name, weights(megabytes), megabytes * 10**6) as kept:
        return weakref.ref(kept.model)


def test_the_least_recently_used_goes_first() -> None:
    pool = pool_of(10)
    first, second = use(pool, "a", 4), use(pool, "b", 4)
    assert use(pool, "a", 4)() is first()
    use(pool, "c", 4)
    assert pool.names == ["a", "c"] and pool.size == 8 * 10**6
    assert second() is None and first() is not None


def test_what_is_pinned_stays_and_what_is_too_large_is_kept_alone() -> None:
    pool = pool_of(10)
    with pool.use("a", weights(4)):
        use(pool, "b", 4)
        use(pool, "large", 20)
        assert pool.names == ["a", "large"]
        assert pool.release() == 20 * 10**6
        assert pool.names == ["a"]
    use(pool, "large", 20)
    assert pool.names == ["large"], "room is made before loading"


def test_a_size_that_was_not_foreseen_makes_room_too() -> None:
    pool = pool_of(10)
    use(pool, "a", 4)
    with pool.use("b", weights(8)) as kept:
        assert pool.names == ["b"] and kept.size == 8 * 10**6


def test_many_threads_load_a_model_once() -> None:
    pool, loads = pool_of(10), []

    def load() -> Any:
        loads.append(1)
        return weights(1)()

    def work() -> None:
        for _ in range(50):
            with pool.use("a", load):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]
    assert pool.release() == 10**6
    assert pool.size == 0


def test_a_model_that_fails_to_load_leaves_nothing() -> None:
    pool = pool_of(10)

    def load() -> Any:
        raise OSError("no weights")

    with pytest.raises(OSError, match="no weights"), pool.use("a", load):
        pass
    assert pool.names == []


def test_free_memory_is_what_the_machine_says() -> None:
    assert 10**7 < pool.free_bytes() < 10**13


def test_releasing_without_models_needs_no_torch() -> None:
    code = (
        "import sys, motools; assert motools.release_memory() == 0; print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
