"""What a fine-tuning costs beside the same one by hand."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from motools.training.local import tiny
from motools.training.local.models import OFFLINE
from tests.benchmarks.figures import Figure, median_of_each
from tests.training.lessons import greeting_rows, write_rows

EPOCHS = 500
"""About a minute on one core."""

ROUNDS = 3
CACHE, TRL, PREFECT = "motools' cache", "plain TRL", "motools as a task"
PLAIN = Path(__file__).parents[1] / "training" / "plain_sft.py"

_OURS = """
import sys
from motools import Dataset, FineTuneConfig
base, rows, epochs = sys.argv[1:]
dataset = Dataset.from_jsonl(rows)
config = FineTuneConfig(
    base_model=base, epochs=float(epochs), learning_rate=3e-3, batch_size=8, lora={"rank": 8}
)
"""
STEP = f"""{_OURS}
from motools.cache import Cache
from motools.steps.train import Train
cache, step = Cache.open(), Train(dataset, config)
cache.get_or_run(step.action(cache), step.run)
"""
TASK = f"""{_OURS}
from motools import fine_tune
fine_tune(dataset, config)
"""


def one_minute() -> list[Figure]:
    """Processes that fine-tune through an empty cache, beside one that calls TRL alone.

    Their CPU time beside the wall time, which other work on the machine changes by more than
    what is measured here.
    """
    used: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        base, rows = Path(place) / "base", Path(place) / "rows.jsonl"
        model, tokenizer = tiny.load()
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        write_rows(rows, greeting_rows())
        number = count()

        def process(who: str, *command: object) -> None:
            before = cpu_of_children()
            new = Path(place) / str(next(number))
            here = {"HF_HOME": str(new / "hub"), "MOTOOLS_CACHE_DIR": str(new / "cache")}
            subprocess.run(
                [sys.executable, *map(str, command)],
                env={**os.environ, **OFFLINE, **here},
                check=True,
                capture_output=True,
            )
            used.setdefault(who, []).append(cpu_of_children() - before)

        medians = median_of_each(
            {
                CACHE: lambda: process(CACHE, "-c", STEP, base, rows, EPOCHS),
                TRL: lambda: process(
                    TRL, PLAIN, base, rows, Path(place) / "out", "--epochs", EPOCHS
                ),
                PREFECT: lambda: process(PREFECT, "-c", TASK, base, rows, EPOCHS),
            },
            ROUNDS,
            warm_up=False,
        )
    what = f"LoRA of tiny, {2 * EPOCHS:,} steps"
    return [
        *(Figure(f"{what}, a process", who, seconds) for who, seconds in medians.items()),
        *(Figure(f"{what}, CPU", who, statistics.median(each)) for who, each in used.items()),
    ]


def cpu_of_children() -> float:
    """Seconds that processes which were started here have computed."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
