"""What a step is: an action, how to run it, and how to read what it came to."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from motools.cache import Action, Cache, Entry, RunContext

R_co = TypeVar("R_co", covariant=True)


class Step(Protocol[R_co]):
    """A piece of work whose result can be cached. Frozen; building one does nothing."""

    def action(self, cache: Cache, /) -> Action:
        """What is to be run. May read and record memos in the cache."""

    def run(self, context: RunContext, /) -> Any:
        """Do the work and return JSON; files go to ``context.directory``."""

    def decode(self, entry: Entry, /) -> R_co:
        """The result that the entry holds, a new object at each call."""


class AsyncStep(Protocol[R_co]):
    """A step whose work is done in the event loop."""

    def action(self, cache: Cache, /) -> Action:
        """What is to be run. May read and record memos in the cache."""

    def run(self, context: RunContext, /) -> Awaitable[Any]:
        """Do the work and return JSON; files go to ``context.directory``."""

    def decode(self, entry: Entry, /) -> R_co:
        """The result that the entry holds, a new object at each call."""
