"""What an evaluation costs beside the same one through Inspect's own ``hf/`` provider."""

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

SAMPLES, TOKENS = 256, 64

TASK = f"""
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def asks():
    samples = [Sample(input=f"Hi, I am number {{n}}.", target="a") for n in range({SAMPLES})]
    config = GenerateConfig(max_tokens={TOKENS})
    return Task(dataset=samples, solver=generate(), scorer=includes(), config=config)
"""

OURS = """
import sys
from motools import EvalConfig, Model, evaluate

base, task = sys.argv[1:]
evaluate(Model.base(base), EvalConfig(task=task))
"""


def one_evaluation() -> list[Figure]:
    """A process that evaluates through an empty cache, beside ``inspect eval --model hf/local``."""
    with tempfile.TemporaryDirectory() as place:
        base, tasks = Path(place) / "base", Path(place) / "tasks.py"
        model, tokenizer = tiny.load()
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        tasks.write_text(TASK)
        number = count()
        inspect = [Path(sys.executable).with_name("inspect"), "eval", f"{tasks}@asks"]
        hf = ["--model", "hf/local", "-M", f"model_path={base}", "-M", "do_sample=false"]

        def process(*command: object) -> None:
            new = Path(place) / str(next(number))
            here = {"MOTOOLS_CACHE_DIR": str(new / "cache"), "INSPECT_LOG_DIR": str(new / "logs")}
            subprocess.run(
                list(map(str, command)),
                env={**os.environ, **OFFLINE, **here},
                check=True,
                capture_output=True,
                cwd=place,
            )

        medians = median_of_each(
            {
                "motools": lambda: process(sys.executable, "-c", OURS, base, f"{tasks}@asks"),
                "inspect eval, hf/": lambda: process(*inspect, *hf, "--display", "none"),
            },
            3,
        )
    return [
        Figure(f"evaluate tiny, {SAMPLES} x {TOKENS} tokens, as a process", who, seconds)
        for who, seconds in medians.items()
    ]
