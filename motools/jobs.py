"""Jobs at providers: what the journal of a cache and the backends that submit say to each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stamp:
    """What every submission carries, so that it can be found again.

    Attributes:
        key: the action's key.
        attempt: from 1.
    """

    key: str
    attempt: int


@dataclass(frozen=True)
class SentJob:
    """A job as its provider lists it.

    Attributes:
        id: the provider's handle.
        attempt: from its stamp.
        created_at: seconds since 1970, by the provider's clock.
        usable: live or succeeded: neither failed nor cancelled.
        succeeded: it has made its model. A later job of its key may have been ordered, as a
            refresh, to replace it.
    """

    id: str
    attempt: int
    created_at: float
    usable: bool
    succeeded: bool = False
