"""Which of Prefect's task options a cached task takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any, Final, TypedDict

from motools.errors import ConfigError


class TaskOptions(TypedDict, total=False):
    """Prefect's task options, all but those of its own caching and result storage."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    task_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: float | list[float] | Callable[[int], list[float]] | None
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[..., bool] | None
    cache_result_in_memory: bool
    timeout_seconds: float | None
    log_prints: bool | None
    refresh_cache: bool | None
    on_completion: list[Any] | None
    on_failure: list[Any] | None
    on_running: list[Any] | None
    on_rollback: list[Callable[..., None]] | None
    on_commit: list[Callable[..., None]] | None
    viz_return_value: Any
    asset_deps: list[Any] | None


_REJECTED: Final = {
    "cache_policy": "the key is made of source and arguments: use version= and unhashed=",
    "cache_key_fn": "the key is made of source and arguments: use version= and unhashed=",
    "cache_expiration": "entries do not expire: use refresh_cache=True, or clear them",
    "result_storage": "results are kept in the cache: use cache=",
    "result_storage_key": "results are kept in the cache under their key",
    "result_serializer": "results are kept as JSON and files, never pickled",
    "persist_result": "results are kept in the cache",
}


def require_function(function: Any, *, stated: bool) -> None:
    """Refuse what cannot be made a task.

    Args:
        function: what is to be called.
        stated: whether a version stands for its source.

    Raises:
        ConfigError: it is no function, or neither written in Python nor stated.
    """
    if isinstance(function, str):
        raise ConfigError(
            f"cached_task({function!r}): options are given by name; "
            f"write @cached_task(version={function!r})"
        )
    if not callable(function):
        raise ConfigError(f"cached_task({function!r}): {type(function).__name__} is no function")
    if isinstance(function, type):
        advice = f"write a function that returns {function.__name__}(…)"
        raise ConfigError(f"cached_task({function.__qualname__}): a class is no function; {advice}")
    called = function.func if isinstance(function, functools.partial) else function
    written = isinstance(called, (FunctionType, MethodType))
    if not written and callable(getattr(called, "__wrapped__", None)):
        raise ConfigError(
            f"cached_task({function!r}): put @cached_task in the place of {type(called).__name__}"
        )
    written = written or isinstance(getattr(type(called), "__call__", None), FunctionType)  # noqa: B004
    if not written and not (stated and isinstance(function, functools.partial)):
        raise ConfigError(
            f"cached_task({function!r}): it is not written in Python, so there is no source for "
            "its key; write a function that calls it"
        )


def refuse_self(task: str, kwargs: Mapping[str, Any]) -> None:
    """Refuse a parameter that no task can be given by name.

    Raises:
        ConfigError: an argument is called ``self``.
    """
    if "self" in kwargs:
        raise ConfigError(
            f"{task}: a parameter called 'self' cannot be given by name; give it by position, "
            "or rename the parameter"
        )


def refuse_unbound(task: str, function: Callable[..., Any]) -> None:
    """Refuse a class method whose class Python does not tell: from 3.13, ``@classmethod`` does not.

    Raises:
        ConfigError: the function takes a class, and has none.
    """
    *_, within, _name = ["<locals>", *function.__qualname__.split(".")]
    first = next(iter(inspect.signature(function).parameters), "")
    if first == "cls" and within != "<locals>":
        raise ConfigError(
            f"{task}: it is not known of which class it is a method; "
            "put @cached_task above @classmethod"
        )


def check(options: Mapping[str, Any]) -> None:
    """Refuse the options that would make a second cache beside the cache.

    Raises:
        ConfigError: one of them was given.
    """
    for name, advice in _REJECTED.items():
        if name in options and not (name == "persist_result" and options[name] is False):
            raise ConfigError(f"{name} cannot be set on a cached task: {advice}")
