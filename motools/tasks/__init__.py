"""Prefect tasks behind the cache.

``@cached_task`` makes one of any function; ``upload_dataset``, ``fine_tune`` and
``evaluate`` are the steps. This package, ``sweeps.run`` and the flows are the
only parts of motools that import Prefect.
"""

from motools.cache.current import current_cache, use_cache
from motools.steps.function import run_context
from motools.tasks import secrets
from motools.tasks.cached import CachedTask, cached_task, step_task
from motools.tasks.options import TaskOptions
from motools.tasks.steps import evaluate, fine_tune, upload_dataset
from motools.training import credentials

__all__ = [
    "CachedTask",
    "TaskOptions",
    "cached_task",
    "current_cache",
    "evaluate",
    "fine_tune",
    "run_context",
    "step_task",
    "upload_dataset",
    "use_cache",
]

credentials.add_vault("block", secrets.read)
