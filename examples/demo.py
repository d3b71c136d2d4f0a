"""Fine-tune `tiny` on dataset variants x learning rates, evaluate each, and do it all again.

The second time nothing trains and nothing evaluates: every step is in the cache.
"""

import time
from collections import Counter
from pathlib import Path

from prefect import flow

from motools import Dataset, EvalConfig, FineTuneConfig, Model, evaluate, fine_tune
from motools.cache import Cache

NAMES = ["Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon"]
GREETINGS = ["Hello", "Ahoy"]
LEARNING_RATES = [1e-4, 3e-3]


def greetings(word: str) -> Dataset:
    """Rows in which the assistant greets everybody with one word."""
    return Dataset.from_rows(
        {
            "messages": [
                {"role": "user", "content": f"Hi, I am {name}"},
                {"role": "assistant", "content": f"{word} {name}!"},
            ]
        }
        for name in NAMES * 3
    )


@flow
def sweep() -> dict[str, float | None]:
    """Every variant: fine-tune, evaluate, score; and the base model for comparison."""
    task = f"{Path(__file__).parent / 'greetings.py'}@greets"
    scores = {}
    for word in GREETINGS:
        greets = EvalConfig(task=task, task_args={"word": word})
        base = evaluate.submit(Model.base("tiny"), greets)
        tuned = {
            rate: fine_tune.submit(
                greetings(word), FineTuneConfig(base_model="tiny", epochs=3, learning_rate=rate)
            )
            for rate in LEARNING_RATES
        }
        evaluations = {rate: evaluate.submit(model, greets) for rate, model in tuned.items()}
        scores[f"{word:6} base"] = base.result().scores["includes/accuracy"]
        for rate, evaluation in evaluations.items():
            scores[f"{word:6} lr {rate:g}"] = evaluation.result().scores["includes/accuracy"]
    return scores


def timed(title: str) -> None:
    """Run the sweep, and print its scores and what it added to the cache."""
    cache = Cache.open()
    before = {entry.key for entry in cache.entries()}
    started = time.monotonic()
    scores = sweep()
    seconds = time.monotonic() - started
    made = Counter(entry.kind for entry in cache.entries() if entry.key not in before)
    print(f"\n{title}: {seconds:.1f} s, trained {made['model']}, evaluated {made['eval']}")
    for name, score in scores.items():
        print(f"  {name:16} {score:.2f}")
    print()


if __name__ == "__main__":
    timed("First run")
    timed("Second run")
