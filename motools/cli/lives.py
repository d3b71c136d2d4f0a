"""Until when models are there that live at providers."""

from __future__ import annotations

from collections.abc import Sequence

from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cli import output
from motools.errors import BackendUnavailableError


def asked_after(cache: Cache, entries: Sequence[Entry]) -> list[Entry]:
    """Entries as they are now, after asking the providers of their models.

    What is not known is said, and stands as it was.
    """
    from motools.steps import alive

    now = alive.checked(cache, entries, 0.0)
    found = []
    for entry in entries:
        answer = now.get(entry.key, entry)
        if isinstance(answer, BackendUnavailableError):
            output.say(str(answer))
            answer = entry
        found.append(answer)
    return found


def ends(cache: Cache, entries: Sequence[Entry]) -> dict[str, float]:
    """When models will be gone, in seconds since 1970, by key, as was said when last asked."""
    elsewhere = [entry for entry in entries if entry.remote is not None]
    if not elsewhere:
        return {}
    from motools.steps import alive

    return alive.expiries(cache, elsewhere)
