"""Fine-tune a model on a dataset and evaluate it beside its base, each step at most once.

python flows/train_and_evaluate.py data.jsonl tasks.py@greets --epochs 3
"""

import argparse

from prefect import flow

from motools import Dataset, EvalConfig, Evaluation, FineTuneConfig, Model, evaluate, fine_tune


@flow(name="train-and-evaluate")
def train_and_evaluate(
    dataset: str, task: str, config: FineTuneConfig, limit: int | None = None
) -> dict[str, Evaluation]:
    """Evaluations of the base model and of the fine-tuned one."""
    evaluation = EvalConfig(task=task, limit=limit)
    base = evaluate.submit(Model.base(config.base_model), evaluation)
    tuned = fine_tune.submit(Dataset.from_jsonl(dataset), config)
    after = evaluate.submit(tuned, evaluation)
    return {"base": base.result(), "tuned": after.result()}


def main() -> None:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="JSON Lines of chat-format rows")
    parser.add_argument("task", help="Inspect task: tasks.py@name or package/name")
    parser.add_argument("--base-model", default="tiny", help="tiny, or a directory")
    parser.add_argument("--epochs", type=float, help="passes over the dataset")
    parser.add_argument("--learning-rate", type=float, help="the highest one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="evaluate on the first so many samples")
    given = parser.parse_args()
    config = FineTuneConfig(
        base_model=given.base_model,
        epochs=given.epochs,
        learning_rate=given.learning_rate,
        seed=given.seed,
    )
    found = train_and_evaluate(given.dataset, given.task, config, given.limit)
    for name, evaluation in found.items():
        for metric, score in evaluation.scores.items():
            print(f"{name:6} {metric}: {score}")


if __name__ == "__main__":
    main()
