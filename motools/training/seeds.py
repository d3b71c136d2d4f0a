"""Seeds: what randomness a replicate has of its own."""

from __future__ import annotations

from typing import Final

from motools.digest import canonical_json, hash_bytes

_DIGITS: Final = 7
"""Hexadecimal ones: trainers take 32 bits with a sign."""


def of_replicate(seed: int, replicate: int) -> int:
    """The seed that stands for a config's own in one of several independent repeats.

    Args:
        seed: as the config has it.
        replicate: which repeat; the first, 0, has the config's own.
    """
    if not replicate:
        return seed
    return int(hash_bytes(canonical_json(["replicate", seed, replicate])).hex[:_DIGITS], 16)
