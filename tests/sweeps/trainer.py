"""A process that trains with the toy backend, each seed in a thread, without Prefect.

python -m tests.sweeps.trainer CACHE SEED...
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from motools import Dataset, FineTuneConfig
from motools.cache import Cache, Entry
from motools.steps.train import Train

ROW = {"messages": [{"role": "assistant", "content": "Hello"}]}


def train(cache: Cache, seed: int) -> Entry:
    """The model of a seed."""
    config = FineTuneConfig(base_model="tiny", epochs=1, seed=seed)
    step = Train(Dataset.from_rows([ROW]), config, "toy")
    return cache.get_or_run(step.action(cache), step.run)


def main(root: Path, seeds: list[int]) -> None:
    cache = Cache.open(root)
    with ThreadPoolExecutor(len(seeds)) as pool:
        list(pool.map(lambda seed: train(cache, seed), seeds))
    cache.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]])
