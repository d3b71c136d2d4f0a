"""Evaluating models with Inspect: what an evaluation is, and running it.

:mod:`.identity` says what an evaluation is, for its key; :mod:`.runner` runs
it. Inspect itself is imported in worker processes only, never here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motools.evals.config import PROVIDER_RECIPE, EvalConfig
    from motools.evals.identity import TaskIdentity, identify
    from motools.evals.runner import EvaluationJob, EvaluationResult, run

_HOME = {
    "EvalConfig": "config",
    "PROVIDER_RECIPE": "config",
    "TaskIdentity": "identity",
    "identify": "identity",
    "EvaluationJob": "runner",
    "EvaluationResult": "runner",
    "run": "runner",
}

__all__ = [
    "PROVIDER_RECIPE",
    "EvalConfig",
    "EvaluationJob",
    "EvaluationResult",
    "TaskIdentity",
    "identify",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
