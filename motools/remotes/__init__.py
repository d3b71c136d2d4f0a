"""Remotes: places where caches exchange entries. Knows no kind, no step, no Prefect."""

from __future__ import annotations

from motools.remotes.choice import Choice
from motools.remotes.pulling import Pulled, pull
from motools.remotes.pushing import Pushed, push
from motools.remotes.remote import Remote, add_remote, open_remote
from motools.remotes.standing import Diverged, Standing, compare

__all__ = [
    "Choice",
    "Diverged",
    "Pulled",
    "Pushed",
    "Remote",
    "Standing",
    "add_remote",
    "compare",
    "open_remote",
    "pull",
    "push",
]
