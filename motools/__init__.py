"""motools: fine-tune and evaluate language models without ever doing the same work twice.

Names are imported when they are first used, so that ``import motools`` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from motools.artifacts import Dataset, Evaluation, Model, RemoteRef
    from motools.evals.config import EvalConfig
    from motools.overview import cache_info, clear_cache, print_cache_info
    from motools.steps.options import RunOptions
    from motools.sweeps.run import run_sweep
    from motools.tasks import cached_task, evaluate, fine_tune, upload_dataset
    from motools.training.config import FineTuneConfig, LoraConfig
    from motools.training.local.pool import release_memory
    from motools.upkeep.prune import prune_cache
    from motools.version import __version__

_HOME: Final = {
    "Dataset": "motools.artifacts",
    "EvalConfig": "motools.evals.config",
    "Evaluation": "motools.artifacts",
    "FineTuneConfig": "motools.training.config",
    "LoraConfig": "motools.training.config",
    "Model": "motools.artifacts",
    "RemoteRef": "motools.artifacts",
    "RunOptions": "motools.steps.options",
    "__version__": "motools.version",
    "cache_info": "motools.overview",
    "cached_task": "motools.tasks",
    "clear_cache": "motools.overview",
    "evaluate": "motools.tasks",
    "fine_tune": "motools.tasks",
    "print_cache_info": "motools.overview",
    "prune_cache": "motools.upkeep.prune",
    "release_memory": "motools.training.local.pool",
    "run_sweep": "motools.sweeps.run",
    "upload_dataset": "motools.tasks",
}

__all__ = [
    "Dataset",
    "EvalConfig",
    "Evaluation",
    "FineTuneConfig",
    "LoraConfig",
    "Model",
    "RemoteRef",
    "RunOptions",
    "__version__",
    "cache_info",
    "cached_task",
    "clear_cache",
    "evaluate",
    "fine_tune",
    "print_cache_info",
    "prune_cache",
    "release_memory",
    "run_sweep",
    "upload_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
