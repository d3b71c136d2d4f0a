"""Fine-tune and evaluate every dataset x learning rate x seed; what is done is skipped.

python flows/sweep.py tasks.py@greets a.jsonl b.jsonl --learning-rate 1e-3 3e-3 --seed 0 1
"""

import argparse
from itertools import product

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from motools import Dataset, EvalConfig, Evaluation, FineTuneConfig, evaluate, fine_tune

Cell = tuple[str, float, int]


@flow(name="sweep", task_runner=ThreadPoolTaskRunner(max_workers=4))
def sweep(
    task: str, datasets: list[str], learning_rates: list[float], seeds: list[int], base_model: str
) -> dict[Cell, Evaluation | BaseException]:
    """The evaluation of every cell, or why there is none."""
    config = EvalConfig(task=task)
    futures = {}
    for path, rate, seed in product(datasets, learning_rates, seeds):
        recipe = FineTuneConfig(base_model=base_model, learning_rate=rate, seed=seed)
        model = fine_tune.submit(Dataset.from_jsonl(path), recipe)
        futures[path, rate, seed] = evaluate.submit(model, config)
    return {cell: future.result(raise_on_failure=False) for cell, future in futures.items()}


def main() -> None:
    """Run the sweep from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", help="Inspect task: tasks.py@name or package/name")
    parser.add_argument("datasets", nargs="+", help="JSON Lines of chat-format rows")
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[1e-3])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--base-model", default="tiny", help="tiny, or a directory")
    given = parser.parse_args()
    cells = sweep(given.task, given.datasets, given.learning_rate, given.seed, given.base_model)
    for (path, rate, seed), found in cells.items():
        shown = dict(found.scores) if isinstance(found, Evaluation) else f"failed: {found}"
        print(f"{path}  lr {rate:g}  seed {seed}  {shown}")
    if failed := sum(not isinstance(found, Evaluation) for found in cells.values()):
        raise SystemExit(f"{failed} of {len(cells)} failed")


if __name__ == "__main__":
    main()
