"""What the tests of upkeep share: a filled cache, and ways to damage it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from motools.cache import Cache
from tests.filled import Filled, fill


@pytest.fixture
def filled(tmp_path: Path, coordinator: str) -> Filled:
    return fill(tmp_path / "cache")


@pytest.fixture
def cache(filled: Filled) -> Cache:
    return Cache.open(filled.root)


def alter(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file that nobody should."""
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    path.chmod(0o444)


def flip(bit: int) -> Callable[[bytes], bytes]:
    """What has one bit of some bytes the other way round."""

    def flipped(data: bytes) -> bytes:
        place, mask = bit // 8 % len(data), 1 << bit % 8
        return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]

    return flipped
