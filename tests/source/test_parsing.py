"""Parsing: threads that look at source for the first time do not fail one another."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from motools.source.files import _parsed

TEXT = "\n".join(f"def f{n}(x):\n    return [y + {n} for y in (x, (x, [x]))]" for n in range(20))


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads give way while Python makes trees, as they may whenever it collects garbage."""

    def give_way(*_: object) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(5)
    yield
    gc.callbacks.remove(give_way)
    gc.set_threshold(*before)


@pytest.mark.usefixtures("switching")
def test_threads_parse_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda n: _parsed(f"of_{n}.py", f"{TEXT}\n# {n}"), range(8)))
    assert len({id(file) for file in files}) == 8
