"""Upload, train and evaluate as Prefect tasks."""

from __future__ import annotations

from motools.artifacts import Dataset, Evaluation, Model
from motools.evals.config import EvalConfig
from motools.steps.evaluate import Evaluate
from motools.steps.options import RunOptions
from motools.steps.step import Step
from motools.steps.train import Train
from motools.steps.upload import Upload
from motools.tasks.cached import step_task
from motools.training.config import FineTuneConfig


@step_task(name="upload-dataset")
def upload_dataset(dataset: Dataset) -> Step[Dataset]:
    """Keep a dataset in the cache in its canonical form.

    Args:
        dataset: rows or a file of rows.

    Returns:
        The dataset, with its digest and its place in the cache.
    """
    return Upload(dataset)


@step_task(name="fine-tune")
def fine_tune(
    dataset: Dataset,
    config: FineTuneConfig,
    backend: str = "local",
    options: RunOptions | None = None,
    replicate: int = 0,
    *,
    validation: Dataset | None = None,
) -> Step[Model]:
    """Fine-tune a model on a dataset.

    Args:
        dataset: what to train on; one that is not uploaded yet is uploaded on a miss.
        config: base model, method and hyperparameters: all that is in the key.
        backend: what trains: ``local``, or an API by its name in the settings.
        options: how to run (timeouts, polling, directories); changes nothing
            about the model and is not in the key.
        replicate: which of several independent repeats this is, from 0.
        validation: what the training is only measured on, where the backend does that.

    Returns:
        The tuned model.
    """
    return Train(dataset, config, backend, options or RunOptions(), replicate, validation)


@step_task(name="evaluate")
def evaluate(
    model: Model,
    config: EvalConfig,
    options: RunOptions | None = None,
    replicate: int = 0,
) -> Step[Evaluation]:
    """Evaluate a model on an Inspect task.

    Args:
        model: a base model, or what :func:`fine_tune` returned.
        config: the task and how it is run: all that is in the key.
        options: how to run; changes no score and is not in the key.
        replicate: which of several independent repeats this is, from 0.

    Returns:
        The scores, and where the log is.
    """
    return Evaluate(model, config, options or RunOptions(), replicate)
