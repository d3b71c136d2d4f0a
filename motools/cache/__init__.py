"""The cache: one store, one coordinator, and the protocol between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from motools.cache.action import Action
    from motools.cache.cache import Cache
    from motools.cache.claim import Claim
    from motools.cache.context import RunContext
    from motools.cache.entry import Entry
    from motools.cache.explain import Explanation
    from motools.cache.utils import CacheUtils

_HOME: Final = {
    "Action": "motools.cache.action",
    "Cache": "motools.cache.cache",
    "CacheUtils": "motools.cache.utils",
    "Claim": "motools.cache.claim",
    "Entry": "motools.cache.entry",
    "Explanation": "motools.cache.explain",
    "RunContext": "motools.cache.context",
}

__all__ = ["Action", "Cache", "CacheUtils", "Claim", "Entry", "Explanation", "RunContext"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
