"""People's own functions as steps.

The key of a call is made of the function's qualified name, the digest of its
source (or the ``version`` given instead) and its arguments, so the same call
of the same code is the same action, in every process and on every machine.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from motools import arguments, source
from motools.cache.action import Action
from motools.cache.store import copy_file
from motools.codecs import decode, encode
from motools.configs import unknown_name
from motools.digest import SHORT, canonical_json, hash_bytes
from motools.errors import ConfigError, MotoolsError, SourceError
from motools.reading import Reading, reading
from motools.source.objects import name_of

if TYPE_CHECKING:
    from motools.cache import Cache, Entry, RunContext

R = TypeVar("R")

KIND: Final = "function"
RECIPE: Final = 1
"""Changes only if the same call should ever mean other work."""

_context: ContextVar[RunContext] = ContextVar("motools_run_context")


def run_context() -> RunContext:
    """The context of the cached function that is running: where to write, what to report.

    A function may write files below ``run_context().directory`` and return
    their paths without a copy, keep checkpoints in ``.scratch``, say how far it
    is with ``.report(…)`` and what it spent in ``.cost``.

    Raises:
        MotoolsError: no cached function is running here.
    """
    try:
        return _context.get()
    except LookupError:
        raise MotoolsError(
            "run_context() was called outside a cached function; call it in the body of one"
        ) from None


@dataclass(frozen=True, eq=False)
class Function:
    """A function whose calls are steps.

    Attributes:
        function: sync or async, not a generator.
        version: stands in the key instead of the source, which then may change freely.
        unhashed: names of arguments that change nothing about the result.

    Raises:
        ConfigError: ``version`` is not text, or ``unhashed`` names no parameter.
        SourceError: the function is a generator: there is no result to keep.
    """

    function: Callable[..., Any]
    version: str | None = None
    unhashed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.version, str | None):
            raise ConfigError(f"{self.name}: version={self.version!r} is not text")
        parameters = list(inspect.signature(self.function).parameters)
        for name in self.unhashed:
            if name not in parameters:
                raise ConfigError(unknown_name(f"unhashed of {self.name}", name, parameters))
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise SourceError(f"{self.name} is a generator, which cannot be cached: return a list")

    def __reduce__(self) -> tuple[Any, ...]:
        # By name where it can be: a function copied by value has lost those of its
        # globals that it does not use itself, and its source digest with them.
        by_value = (self.function, self.version, self.unhashed)
        return _restored, (self.function.__module__, self.function.__qualname__, *by_value)

    @property
    def name(self) -> str:
        """``module.qualified_name``; a script's module is called as when it is imported."""
        return name_of(self.function)

    @property
    def is_async(self) -> bool:
        """Whether calls are :class:`AsyncCall`."""
        return inspect.iscoroutinefunction(self.function)

    def version_of(self, owner: Any) -> str | None:
        """The version with what a method is bound to; None where there is no version.

        Raises:
            CanonicalError: the owner has no canonical form.
        """
        if self.version is None:
            return None
        bound = hash_bytes(canonical_json(arguments.tagged(owner, "self"), "self")).hex
        # Digests are known to hold while it is the same object.
        return sys.intern(f"{self.version} of {bound}")

    def __call__(self, *args: Any, **kwargs: Any) -> Call[Any] | AsyncCall[Any]:
        """The step that calls the function with these arguments."""
        return (AsyncCall if self.is_async else Call)(self, args, kwargs)


def _restored(module: str, name: str, *by_value: Any) -> Function:
    """The function of a decorated name in another process, or else the copy that travelled."""
    copied = Function(*by_value)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return copied
    plan = getattr(found, "plan", None)
    if not isinstance(plan, Function):
        return copied
    same = plan.function.__code__ == copied.function.__code__ and plan.version == copied.version
    return plan if same and plan.unhashed == copied.unhashed else copied


@dataclass(frozen=True, eq=False)
class _Call(Generic[R]):
    function: Function
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    _read: list[Reading] = field(default_factory=list)
    """The datasets in the key, once it was made."""

    def action(self, cache: Cache) -> Action:
        """What the key is made of.

        Raises:
            CanonicalError: an argument has no canonical form.
            SourceError: the source is out of reach and no version was given.
        """
        function = self.function
        with reading(cache.memo) as noted:
            described = self._source(cache)
            bound = arguments.bind(
                function.function,
                self.args,
                self.kwargs,
                unhashed=function.unhashed,
                equivalent=cache.settings.equivalent,
            )
        self._read[:] = [noted]
        return Action(
            kind=KIND,
            config={"function": function.name, "source": described.digest, "arguments": bound},
            backend={"name": "python", "recipe": RECIPE},
        )

    def decode(self, entry: Entry) -> R:
        """What the function returned, a new object at each call.

        Returned files and directories are copied out, since people own what
        they get: into a temporary directory that only they or the system remove.
        """
        prefix = f"motools-{entry.key[:SHORT]}-"
        value: R = decode(entry.value, entry.files, prefix=prefix, copy=copy_file)
        return value

    def _source(self, cache: Cache) -> source.SourceDigest:
        function, equivalent = self.function, cache.settings.equivalent
        return source.describe(function.function, version=function.version, equivalent=equivalent)

    @contextmanager
    def _running(self, context: RunContext) -> Iterator[None]:
        context.label(function=self.function.name)
        described = self._source(context.cache)
        context.cache.texts.keep({described.digest: {"source": described.to_json()}})
        token = _context.set(context)
        try:
            yield
        finally:
            _context.reset(token)
        for noted in self._read:
            noted.check(self.function.name)


class Call(_Call[R]):
    """One call of a function."""

    def run(self, context: RunContext) -> Any:
        """Call the function.

        Raises:
            ResultError: what it returned cannot be stored.
            DatasetError: the file of a dataset that it was given changed since the key was made.
        """
        with self._running(context):
            value = self.function.function(*self.args, **self.kwargs)
        return encode(value, context.directory)


class AsyncCall(_Call[R]):
    """One call of an async function."""

    async def run(self, context: RunContext) -> Any:
        """Call the function.

        Raises:
            ResultError: what it returned cannot be stored.
            DatasetError: the file of a dataset that it was given changed since the key was made.
        """
        with self._running(context):
            value = await self.function.function(*self.args, **self.kwargs)
        return encode(value, context.directory)
