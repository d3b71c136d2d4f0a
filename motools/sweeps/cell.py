"""One cell of a sweep: a fine-tuning, or a base model, and its evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motools.artifacts import Dataset, Model
from motools.evals.config import EvalConfig
from motools.steps.evaluate import Evaluate
from motools.steps.options import RunOptions
from motools.steps.train import Train
from motools.training.config import FineTuneConfig


@dataclass(frozen=True)
class Cell:
    """What is trained and evaluated under one set of parameters.

    Attributes:
        parameters: dot path to value, of everything that varies in the sweep.
        replicate: which of several independent repeats.
        backend: what trains.
        options: how to run.
        evaluations: name to config, of what its model is asked.
        dataset: what to train on; None: nothing is trained.
        config: how to train; None: nothing is trained.
        model: the base model, where nothing is trained.
    """

    parameters: Mapping[str, Any]
    replicate: int
    backend: str
    options: RunOptions
    evaluations: Mapping[str, EvalConfig]
    dataset: Dataset | None = None
    config: FineTuneConfig | None = None
    model: Model | None = None

    def train(self) -> Train | None:
        """How its model is made; None where that is a base model."""
        if self.dataset is None or self.config is None:
            return None
        return Train(self.dataset, self.config, self.backend, self.options, self.replicate)

    def evaluate(self, name: str, model: Model) -> Evaluate:
        """One of its evaluations.

        Args:
            name: which.
            model: the cell's own.
        """
        return Evaluate(model, self.evaluations[name], self.options, self.replicate)

    def __str__(self) -> str:
        parts = [f"{path.rpartition('.')[2]}={value}" for path, value in self.parameters.items()]
        if self.replicate:
            parts.append(f"replicate={self.replicate}")
        return ", ".join(parts) or "the only cell"
