"""What the columns of an entry must be, whoever wrote them.

Documents come from buckets and bundles that others write to. What is taken over is
read by every later command, so what would trip one is refused at the door.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from motools.artifacts import RemoteRef
from motools.cache.action import material
from motools.cache.attempt import ENDED, OPEN
from motools.digest import EXACT, canonical_json
from motools.errors import CorruptDocumentError

_LAST: Final = 250_000_000_000
"""Seconds since 1970 in the year 9892: dates end a century later."""

_PARTS: Final[dict[str, type]] = {
    "inputs": dict,
    "config": dict,
    "backend": dict,
    "replicate": int,
}
_FINITE: Final = json.JSONEncoder(allow_nan=False)
_TIMES: Final = ("created_at", "trashed_at")
_AMOUNTS: Final = ("duration", "cost")
_OPTIONAL: Final = ("trashed_at", "cost")


def kind_in(canonical: object) -> str:
    """The kind of an action in canonical form.

    Raises:
        CorruptDocumentError: it is no action.
    """
    _require(isinstance(canonical, str), "its action is no text")
    parts = material(str(canonical))
    _require(isinstance(parts, dict), "its action is none")
    check_text(_FINITE.encode(parts), parts)
    kind = parts["kind"]
    _require(isinstance(kind, str) and kind.isprintable() and bool(kind), f"its kind is {kind!r}")
    for name, expected in _PARTS.items():
        _require(type(parts[name]) is expected, f"the {name} of its action is {parts[name]!r}")
    return str(kind)


def check_columns(columns: Mapping[str, Any]) -> None:
    """Refuse what the tables would take and a reader would stumble over.

    Args:
        columns: of a generation, JSON as the values that it stands for.

    Raises:
        CorruptDocumentError: it says which column is not what it should be.
    """
    generation, state, labels = columns["generation"], columns["state"], columns["labels"]
    _require(_is_number(generation, 1, whole=True), f"its generation is {generation!r}")
    _require(isinstance(state, str), f"its state is {state!r}")
    for names, least, most in ((_TIMES, 0, _LAST), (_AMOUNTS, -EXACT, EXACT)):
        for name in names:
            value = columns[name]
            absent = value is None and name in _OPTIONAL
            _require(absent or _is_number(value, least, most), f"its {name} is {value!r}")
    _require(isinstance(columns["provenance"], dict), "its provenance is none")
    _require(isinstance(labels, dict), "its labels are none")
    _require(all(isinstance(label, str) for label in labels.values()), "a label is not text")
    if columns["remote"] is not None:
        _check_reference(columns["remote"])


def check_attempt(columns: Mapping[str, Any]) -> None:
    """Refuse an attempt that a reader would stumble over, or take for one that is over.

    Raises:
        CorruptDocumentError: it says which column is not what it should be.
    """
    number, state, job = columns["attempt"], columns["state"], columns["job_id"]
    _require(_is_number(number, 1, whole=True), f"the number of an attempt is {number!r}")
    _require(state in (*OPEN, *ENDED), f"the state of attempt {number} is {state!r}")
    _require(job is None or isinstance(job, str), f"the job of attempt {number} is {job!r}")
    for name in ("provider", "sender", "domain", "note"):
        value = columns[name]
        _require(isinstance(value, str), f"the {name} of attempt {number} is {value!r}")
    for name in ("intended_at", "updated_at"):
        value = columns[name]
        _require(_is_number(value, 0, _LAST), f"{name} of attempt {number} is {value!r}")


def check_text(text: str, value: Any) -> None:
    """Refuse JSON that holds half a character: it could not be printed, or signed.

    Args:
        text: as ``json`` writes it, which escapes what is not ASCII.
        value: what it stands for.

    Raises:
        CanonicalError: it has no canonical form.
    """
    if "\\ud" in text:  # of what is rare, most is emoji
        canonical_json(value)


def _check_reference(said: Any) -> None:
    _require(isinstance(said, dict), "its remote is no reference")
    found = RemoteRef(**said)
    named = all(isinstance(part, str) for part in (found.provider, found.scope, found.id))
    lasts = found.expires_at is None or _is_number(found.expires_at, 0, _LAST)
    _require(named and lasts, "its remote is no reference")


def _is_number(value: object, least: int, most: int = EXACT, *, whole: bool = False) -> bool:
    """Whether it is a finite number within bounds; infinity and NaN are in none."""
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return least <= value < most


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise CorruptDocumentError(reason)
