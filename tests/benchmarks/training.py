"""What a fine-tuning costs beside the same one by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from motools.training.local import tiny
from motools.training.local.models import OFFLINE
from tests.benchmarks.figures import Figure, median_of_each
from tests.training.lessons import greeting_rows, write_rows

EPOCHS = 900
"""About a minute on one core."""

PLAIN = Path(__file__).parents[1] / "training" / "plain_sft.py"

OURS = """
import sys
from motools import Dataset, FineTuneConfig, fine_tune

base, rows, epochs = sys.argv[1:]
config = FineTuneConfig(
    base_model=base, epochs=float(epochs), learning_rate=3e-3, batch_size=8, lora={"rank": 8}
)
fine_tune(Dataset.from_jsonl(rows), config)
"""


def one_minute() -> list[Figure]:
    """A process that fine-tunes through an empty cache, beside one that calls TRL."""
    with tempfile.TemporaryDirectory() as place:
        base, rows = Path(place) / "base", Path(place) / "rows.jsonl"
        model, tokenizer = tiny.load()
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        write_rows(rows, greeting_rows())
        number = count()

        def process(*command: object) -> None:
            new = Path(place) / str(next(number))
            here = {"HF_HOME": str(new / "hub"), "MOTOOLS_CACHE_DIR": str(new / "cache")}
            subprocess.run(
                [sys.executable, *map(str, command)],
                env={**os.environ, **OFFLINE, **here},
                check=True,
                capture_output=True,
            )

        medians = median_of_each(
            {
                "motools": lambda: process("-c", OURS, base, rows, EPOCHS),
                "plain TRL": lambda: process(PLAIN, base, rows, Path(place) / "out", EPOCHS),
            },
            3,
        )
    return [
        Figure(f"LoRA of tiny, {2 * EPOCHS:,} steps, as a process", who, seconds)
        for who, seconds in medians.items()
    ]
