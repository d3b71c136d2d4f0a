"""Prefect tasks behind the cache: :func:`cached_task`, :func:`step_task`, :class:`CachedTask`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from types import FunctionType, MethodType
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import get_current_settings
from prefect.tasks import Task
from prefect.transactions import TransactionState, get_transaction
from prefect.utilities.annotations import unmapped

from motools.cache.current import Place, cache_at
from motools.datasets import Dataset
from motools.steps.function import Function
from motools.steps.step import Step
from motools.stopping import stop_at_interrupt
from motools.tasks import options as task_options
from motools.tasks import tally
from motools.tasks.options import TaskOptions
from motools.tasks.perform import perform, perform_async
from motools.tasks.witness import inside_run

P = ParamSpec("P")
R = TypeVar("R")


class CachedTask(Task[P, R], Generic[P, R]):
    """A Prefect task whose result comes from the cache when it is there.

    A hit is labelled Cached in Prefect and the caller gets the plain value.
    Prefect's own cache is off (``NO_CACHE``): one cache, one truth. Outside a
    flow, a call goes to the cache without a task run, and no server is started.

    Args:
        function: what it is named and documented after, with its signature.
        plan: makes the step from the arguments.
        is_async: whether the step is an :class:`~motools.steps.step.AsyncStep`.
        cache: which cache; the current one by default.
        options: Prefect's task options; see :class:`~motools.tasks.options.TaskOptions`.

    Raises:
        ConfigError: an option of Prefect's own caching was given.
    """

    def __init__(
        self,
        function: Callable[P, Any],
        plan: Callable[P, Any],
        *,
        is_async: bool = False,
        cache: Place = None,
        **options: Any,
    ) -> None:
        task_options.check(options)
        stated = isinstance(plan, Function) and plan.version is not None
        task_options.require_function(function, stated=stated)
        body = _async_body(function, plan) if is_async else _body(function, plan)
        super().__init__(body, cache_policy=NO_CACHE, **{**options, "persist_result": False})
        self.plan = plan
        self.cache = cache
        self.binding: type | None = None
        # Made from the function: all bodies have the same code, which would give
        # tasks of the same name in different modules one key.
        self.task_key = Task(function).task_key

    def __get__(self, instance: Any, owner: Any) -> CachedTask[P, R]:
        """The task of a method, bound to an instance or, with ``@classmethod``, to a class."""
        if self.binding is classmethod:
            instance = owner
        if instance is None or self.ismethod or self.binding is staticmethod:
            return self
        task = copy(self)
        task.fn = _bound(self.fn, instance)
        # For the digests of functions that call it or get it as an argument.
        vars(task)["__wrapped__"] = MethodType(_wrapped_by(self.fn), instance)
        return task

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The result: in a flow or task through a task run, elsewhere straight from the cache."""
        task_options.refuse_self(self.name, kwargs)
        if inside_run() or kwargs.get("return_state") or kwargs.get("wait_for") is not None:
            return super().__call__(*args, **kwargs)
        kwargs = {k: v for k, v in kwargs.items() if k not in ("return_state", "wait_for")}
        if self.ismethod:
            args = (self._owner, *args)
        step = self.plan(*args, **kwargs)
        if self.isasync:
            return _value_async(step, self.cache, self.refreshes)
        return perform(step, self.cache, refresh=self.refreshes)[0]

    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a run to the flow's task runner; see Prefect's ``Task.submit``."""
        self._refuse_lost(kwargs)
        return super(CachedTask, self._to_travel()).submit(*args, **kwargs)

    def map(self, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a run for each set of arguments; see Prefect's ``Task.map``.

        A dataset is one argument, not one for each of its rows.
        """
        self._refuse_lost(kwargs)
        args = tuple(_whole(value) for value in args)
        kwargs = {name: _whole(value) for name, value in kwargs.items()}
        return super(CachedTask, self._to_travel()).map(*args, **kwargs)

    def with_options(self, **options: Any) -> CachedTask[P, R]:
        """A copy with some options changed; ``cache=`` is one of them.

        Raises:
            ConfigError: an option of Prefect's own caching was given, or it is a class method's
                task and its class is not known.
        """
        task_options.check(options)
        self._refuse_lost({})
        place = options.pop("cache", self.cache)
        changed = options
        if not _are_kept_as_given(options):
            # Prefect makes a plain Task with the changed options: only they are taken from it.
            changed = vars(super().with_options(**options))
            del changed["__wrapped__"]
        task = copy(self)
        vars(task).update({**changed, "cache": place, "task_key": self.task_key})
        return task

    @property
    def __motools_version__(self) -> str | None:
        """What stands for the function's source in the digests of functions that call it."""
        if not isinstance(self.plan, Function):
            return None
        return self.plan.version_of(self._owner) if self.ismethod else self.plan.version

    @property
    def _owner(self) -> Any:
        """What a method's task is bound to."""
        return self.fn.__prefect_self__  # type: ignore[attr-defined]

    @property
    def refreshes(self) -> bool:
        """Whether calls run although there is an entry."""
        if self.refresh_cache is not None:
            return self.refresh_cache
        return bool(get_current_settings().tasks.refresh_cache)

    def _refuse_lost(self, kwargs: Mapping[str, Any]) -> None:
        """Refuse what would be called without the object or class that it is a method of."""
        task_options.refuse_self(self.name, kwargs)
        if not self.ismethod and self.binding is None:
            task_options.refuse_unbound(self.name, _wrapped_by(self.fn))

    def _to_travel(self) -> CachedTask[P, R]:
        """A copy that finds the same cache in another thread or process."""
        if (run := FlowRunContext.get()) is not None:
            tally.watch(run.flow)
            stop_at_interrupt()
        task = copy(self)
        task.cache = cache_at(self.cache).root
        return task


def _are_kept_as_given(options: Mapping[str, Any]) -> bool:
    """Whether a task only notes these, so that it needs no other, which costs milliseconds."""
    kept = options.keys() <= {"task_run_name", "refresh_cache"}
    return kept and isinstance(options.get("task_run_name", ""), str)


@overload
def cached_task(function: Callable[P, R], /) -> CachedTask[P, R]: ...


@overload
def cached_task(function: classmethod[Any, P, R], /) -> CachedTask[P, R]: ...


@overload
def cached_task(
    *,
    version: str | None = None,
    unhashed: str | Iterable[str] = (),
    cache: Place = None,
    **options: Unpack[TaskOptions],
) -> Callable[[Callable[P, R]], CachedTask[P, R]]: ...


def cached_task(
    function: Callable[P, R] | classmethod[Any, P, R] | None = None,
    /,
    *,
    version: str | None = None,
    unhashed: str | Iterable[str] = (),
    cache: Place = None,
    **options: Any,
) -> CachedTask[P, R] | Callable[[Callable[P, R]], CachedTask[P, R]]:
    """Make a function a Prefect task that runs once for the same source and arguments.

    ::

        @cached_task
        def score(text: str) -> float: ...

        @cached_task(unhashed=["verbose"], retries=2)
        async def fetch(url: str, verbose: bool = False) -> dict: ...

    A function that raises leaves nothing in the cache.

    Args:
        function: sync or async, not a generator. What it returns is described
            in :mod:`motools.codecs`. In a class, ``@classmethod`` and ``@staticmethod`` stand
            below this decorator.
        version: stands in the key instead of the source. Needed where the source
            is out of reach or does not tell everything (it reads files, say).
        unhashed: name or names of arguments that change nothing about the result.
        cache: which cache; the current one by default.
        options: Prefect's task options, but not those of its own caching.

    Raises:
        ConfigError: an option of Prefect's own caching was given, ``version`` is not
            text, ``unhashed`` names no parameter, or it is no function written in Python.
        SourceError: the function is a generator.
    """
    if function is None:
        return functools.partial(  # type: ignore[return-value]
            cached_task, version=version, unhashed=unhashed, cache=cache, **options
        )
    binding = type(function) if isinstance(function, (classmethod, staticmethod)) else None
    called = cast(
        "Callable[P, R]", getattr(function, "__func__", function) if binding else function
    )
    task_options.require_function(called, stated=version is not None)
    names = (unhashed,) if isinstance(unhashed, str) else tuple(unhashed)
    plan = Function(called, version, names)
    task: CachedTask[P, R] = CachedTask(
        called, plan, is_async=plan.is_async, cache=cache, version=version, **options
    )
    task.binding = binding
    return task


def step_task(
    **options: Unpack[TaskOptions],
) -> Callable[[Callable[P, Step[R]]], CachedTask[P, R]]:
    """Make a function that returns a step a task that returns the step's result.

    Args:
        options: Prefect's task options, but not those of its own caching.
    """

    def decorate(plan: Callable[P, Step[R]]) -> CachedTask[P, R]:
        return CachedTask(plan, plan, **options)

    return decorate


def _whole(value: Any) -> Any:
    return unmapped(value) if isinstance(value, Dataset) else value


# The bodies travel to other processes by value, so they hold as little as can be.


def _body(function: Callable[..., Any], plan: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def body(*args: Any, **kwargs: Any) -> Any:
        cache, refresh = _settings_of_run(body)
        value, hit = perform(plan(*args, **kwargs), cache, refresh=refresh)
        if hit:
            _label_cached(body)
        return value

    return body


def _async_body(function: Callable[..., Any], plan: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def body(*args: Any, **kwargs: Any) -> Any:
        cache, refresh = _settings_of_run(body)
        value, hit = await perform_async(plan(*args, **kwargs), cache, refresh=refresh)
        if hit:
            _label_cached(body)
        return value

    return body


def _bound(body: Callable[..., Any], instance: Any) -> Callable[..., Any]:
    """A copy of a body that is called with an instance.

    Prefect notes the instance on the function, so that no two may share one.
    """
    made: Any = body
    copied: Any = FunctionType(made.__code__, made.__globals__, closure=made.__closure__)
    functools.update_wrapper(copied, body)
    copied.__wrapped__ = _wrapped_by(body)
    copied.__prefect_self__ = instance
    return cast("Callable[..., Any]", copied)


def _wrapped_by(body: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a body stands for."""
    return cast("Callable[..., Any]", body.__wrapped__)  # type: ignore[attr-defined]


async def _value_async(step: Any, cache: Place, refresh: bool) -> Any:
    return (await perform_async(step, cache, refresh=refresh))[0]


def _settings_of_run(body: Callable[..., Any]) -> tuple[Place, bool]:
    """Cache and refresh flag of the task that runs ``body`` here."""
    if (flow_run := FlowRunContext.get()) is not None:
        tally.watch(flow_run.flow)
    task = _running(body)
    return (None, False) if task is None else (task.cache, task.refreshes)


def _running(body: Callable[..., Any]) -> CachedTask[Any, Any] | None:
    """The task whose run this is; None where the body was called as ``task.fn(…)``."""
    run = TaskRunContext.get()
    if run is None or not isinstance(run.task, CachedTask):
        return None
    return run.task if _wrapped_by(run.task.fn) is _wrapped_by(body) else None


def _label_cached(body: Callable[..., Any]) -> None:
    """Have Prefect's engine call the state of this task run Cached.

    The engine does so when the transaction around the body is committed already,
    as it is when Prefect's own cache hits; returning a state instead would hand a
    state to the caller.
    """
    transaction = get_transaction()
    if _running(body) is None or transaction is None:
        return
    if transaction.key is None:
        transaction.state = TransactionState.COMMITTED
