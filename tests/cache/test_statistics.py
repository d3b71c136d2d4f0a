"""Statistics: counts add up, however many there are at once."""

from __future__ import annotations

import pytest

from motools.cache import Cache
from tests.postgresql import BOTH


@BOTH
@pytest.mark.parametrize("count", [3, 300])
def test_counts_add_up(cache: Cache, count: int) -> None:
    keys = [f"{n:064x}" for n in range(count)]
    for _ in range(2):
        cache.statistics.count(*keys, keys[0])
        cache.flush()
    rows = cache.database.read("SELECT key, hits FROM statistics")
    assert dict(rows) == {**dict.fromkeys(keys, 2), keys[0]: 4}
