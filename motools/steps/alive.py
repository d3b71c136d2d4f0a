"""Models that live at providers can die: whether they are there still, and until when.

A provider is asked again when its last answer is older than ``revalidate_hours`` in the
settings. A model that is gone is released: its record stays, and what was made of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from motools.artifacts import RemoteRef
from motools.cache import removal
from motools.cache.marks import RELEASED
from motools.digest import SHORT
from motools.errors import BackendError, BackendUnavailableError, ReleasedError
from motools.steps.providers import provider_of
from motools.training.provider import Life, Provider

if TYPE_CHECKING:
    from motools.cache import Cache, Entry

_MEMO: Final = "alive/1"
_HOUR: Final = 3_600.0
_DAY: Final = 86_400.0
_AT_ONCE: Final = 8


def checked(
    cache: Cache, entries: Iterable[Entry], hours: float | None = None
) -> dict[str, Entry | BackendUnavailableError]:
    """Entries whose models live at providers as they are now, by key.

    Each model is asked after once, if the last answer is too old. One that is gone is
    released. Other entries are left out.

    Args:
        cache: where they are.
        entries: any.
        hours: how old an answer may be; by default as the settings say.

    Returns:
        For each such entry what it is now, or why that is not known.
    """
    found = {entry.key: entry for entry in entries if entry.remote is not None}
    if not found:
        return {}
    hours = cache.settings.revalidate_hours if hours is None else hours
    unknown: dict[str, BackendUnavailableError] = {}
    there: dict[RemoteRef, Life] = {}
    gone: list[Entry] = []
    for key, answer in _asked(cache, _unsure(cache, found.values(), hours)).items():
        if isinstance(answer, BackendUnavailableError):
            unknown[key] = _unknown(found[key], answer)
        elif answer.there:
            there[_model(found[key])] = answer
        else:
            gone.append(found[key])
    _record(cache, there)
    return {**found, **_released(cache, gone), **unknown}


def is_there(cache: Cache, entry: Entry, hours: float | None = None) -> Entry:
    """One entry as it is now; see :func:`checked`.

    Raises:
        BackendUnavailableError: it cannot be known whether its model is there still.
    """
    now = checked(cache, [entry], hours).get(entry.key, entry)
    if isinstance(now, BackendUnavailableError):
        raise now
    return now


def standing(
    cache: Cache, entries: Sequence[Entry | None], hours: float
) -> Iterator[tuple[Entry | None, str | BackendUnavailableError]]:
    """What was looked up as it is now, with what people should know of it, or why it is unknown.

    Args:
        cache: where it was looked up.
        entries: what was found; None: nothing was.
        hours: how old an answer may be.
    """
    there = [entry for entry in entries if entry is not None]
    now = checked(cache, there, hours)
    ends = expiries(cache, there) if now else {}
    for entry in entries:
        found = None if entry is None else now.get(entry.key, entry)
        if found is None or isinstance(found, BackendUnavailableError):
            yield entry, found or ""
        elif found.key in ends and not found.released:
            yield found, until_when(_model(found), ends[found.key])
        else:
            yield found, ""


def require_there(cache: Cache, trained: Entry) -> None:
    """Refuse a model that was retired or deleted at its provider.

    Raises:
        ReleasedError: it was; the message says what another one takes.
        BackendUnavailableError: it cannot be known.
    """
    trained = is_there(cache, trained)
    if not trained.released:
        return
    raise ReleasedError(
        f"the model {trained.key[:SHORT]} is gone ({why_released(cache, trained)}); its record "
        f"and its evaluations are kept. Making it again takes {remaking(trained)}: pass refresh "
        "to the training, or --remake to a sweep"
    )


def remaking(entry: Entry) -> str:
    """What making an entry again takes, in words: time, and money if it costs some."""
    took = f"{entry.duration:.0f} s"
    if entry.cost is not None:
        return f"{took} and {entry.cost:,.2f} in money"
    return took if entry.remote is None else f"{took} and an unknown sum of money"


def why_released(cache: Cache, entry: Entry) -> str:
    """Why an entry is released, as far as that was noted."""
    said = cache.marks.of(entry.key).get(RELEASED)
    return said or "released"


def remember(cache: Cache, model: RemoteRef) -> None:
    """Note that a model is there, as its provider said just now."""
    _record(cache, {model: Life(there=True, expires_at=model.expires_at)})


def expiries(cache: Cache, entries: Sequence[Entry]) -> dict[str, float]:
    """When models will be gone, in seconds since 1970, by key; nobody is asked."""
    known = _known(cache, [e for e in entries if e.remote is not None and not e.released])
    return {key: said["expires_at"] for key, said in known.items() if said["expires_at"]}


def warning(cache: Cache, entry: Entry) -> str | None:
    """What people should know of a model that is there, but not for ever."""
    if entry.remote is None or (until := expiries(cache, [entry]).get(entry.key)) is None:
        return None
    return until_when(entry.remote, until)


def until_when(model: RemoteRef, until: float) -> str:
    """That a model will be gone at a time, in words."""
    days = (until - time.time()) / _DAY
    left = f"in {days:.0f} days" if days >= 1 else "today" if days >= 0 else "which has passed"
    return f"{model.id} is shut down at {model.provider} on {_date(until)}, {left}"


def _unsure(cache: Cache, entries: Iterable[Entry], hours: float) -> list[Entry]:
    """Those that are to be asked after."""
    live = [entry for entry in entries if not entry.released]
    known, oldest = _known(cache, live), time.time() - hours * _HOUR
    return [e for e in live if e.key not in known or known[e.key]["at"] <= oldest]


def _asked(cache: Cache, entries: Sequence[Entry]) -> dict[str, Life | BackendUnavailableError]:
    """What their providers say of the models of entries, each asked once."""
    if not entries:
        return {}
    providers: dict[tuple[str, str], Provider | BackendUnavailableError] = {}
    for entry in entries:
        model = _model(entry)
        account = model.provider, model.scope
        if account not in providers:
            try:
                first = entry.labels.get("backend")
                providers[account] = provider_of(model, cache.settings, first)
            except BackendUnavailableError as problem:
                providers[account] = problem

    def ask(entry: Entry) -> Life | BackendUnavailableError:
        model = _model(entry)
        provider = providers[model.provider, model.scope]
        if isinstance(provider, BackendUnavailableError):
            return provider
        try:
            return provider.alive(model)
        except BackendUnavailableError as problem:
            return problem
        except BackendError as problem:  # no answer to the question either
            return BackendUnavailableError(str(problem))

    with ThreadPoolExecutor(min(_AT_ONCE, len(entries))) as pool:
        return dict(zip((e.key for e in entries), pool.map(ask, entries), strict=True))


def _released(cache: Cache, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Entries whose models are gone, released by now."""
    if not entries:
        return {}
    known = _known(cache, entries)
    why = {entry.key: _why(known.get(entry.key)) for entry in entries}
    removal.execute(cache, removal.plan(cache, entries, release=True, gone=why))
    return {entry.key: entry for entry in cache.index.newest(list(why))}


def _record(cache: Cache, lives: Mapping[RemoteRef, Life]) -> None:
    now = time.time()
    cache.memo.record_many(
        _MEMO,
        [(m.digest, "", {"at": now, "expires_at": life.expires_at}) for m, life in lives.items()],
    )


def _known(cache: Cache, entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """The last answer for each entry that has one, by key."""
    subjects = {entry.key: _model(entry).digest for entry in entries}
    if not subjects:
        return {}
    memos = cache.memo.recall_many(_MEMO, dict.fromkeys(subjects.values(), ""))
    return {key: memos[subject] for key, subject in subjects.items() if subject in memos}


def _model(entry: Entry) -> RemoteRef:
    assert entry.remote is not None
    return entry.remote


def _why(last: Mapping[str, Any] | None) -> str:
    """Why a model is gone, by what was known of it before."""
    now = time.time()
    until = None if last is None else last["expires_at"]
    if until is not None and until <= now + _DAY:
        return f"retired at the provider on {_date(until)}"
    return f"retired or deleted at the provider, as it said on {_date(now)}"


def _unknown(entry: Entry, problem: BackendUnavailableError) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"whether {_model(entry).id}, the model {entry.key[:SHORT]}, is there still is not known: "
        f"{problem}. `motools sweep run --offline` does not ask, and revalidate_hours in the "
        "settings says how old an answer may be",
        problem.after,
    )


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
