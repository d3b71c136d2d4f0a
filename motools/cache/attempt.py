"""An attempt to have a provider do paid work, and the states it goes through.

It goes ``intent`` → ``submitted`` → ``succeeded``, ``failed``, ``cancelled`` or, when
somebody says that its model is gone, ``retired``; or it is ``refused``, and never became
a job. An intent whose sender is gone is ``unclear``: it may or may not have
arrived. It becomes ``lost`` only when the provider, asked late enough, does not have
it, and ``forgotten`` only when a person says so.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

INTENT: Final = "intent"
UNCLEAR: Final = "unclear"
SUBMITTED: Final = "submitted"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
REFUSED: Final = "refused"
RETIRED: Final = "retired"
LOST: Final = "lost"
FORGOTTEN: Final = "forgotten"

OPEN: Final = (INTENT, UNCLEAR, SUBMITTED)
ENDED: Final = (SUCCEEDED, FAILED, CANCELLED, REFUSED, RETIRED, LOST, FORGOTTEN)

CLEANABLE: Final = (FAILED, CANCELLED, REFUSED, LOST, FORGOTTEN)
"""States in which it came to nothing, and stands in nobody's way."""


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    Attributes:
        key: what it is for.
        attempt: from 1.
        state: see above.
        job_id: the provider's handle; None: there is none, or it is not known.
        provider: who it is.
        sender: user, host and process that made it.
        domain: where the sender's locks can be seen.
        intended_at: seconds since 1970, by the coordinator's clock.
        updated_at: when its state was last written down.
        note: for people.
    """

    key: str
    attempt: int
    state: str
    job_id: str | None
    provider: str
    sender: str
    domain: str
    intended_at: float
    updated_at: float
    note: str

    @property
    def is_open(self) -> bool:
        """Whether it may still come to something."""
        return self.state in OPEN

    @property
    def is_unsettled(self) -> bool:
        """Whether it is not known as which job it arrived, if it did."""
        return self.state in (INTENT, UNCLEAR) or (self.state == SUBMITTED and self.job_id is None)

    @property
    def size(self) -> int:
        """Bytes that it takes in its document."""
        return len(json.dumps(dataclasses.asdict(self), indent=1).encode())


NAMES: Final = tuple(field.name for field in dataclasses.fields(Attempt))
"""Of the columns of the table, and of the fields in the document."""
