"""Whether a provider lists our own jobs, as its backend says that it does.

That a list lacks a submission whose answer was lost is taken for proof that it never
arrived. Where the list lacks a job that is known to be there, it proves nothing.
"""

from __future__ import annotations

import logging
from typing import Final

from motools.training.provider import Account

_log: Final = logging.getLogger(__name__)

_doubted: Final[set[Account]] = set()
"""Whose lists lacked a job of ours, in this process."""


def is_doubted(account: Account) -> bool:
    """Whether lists of an account are no proof that a job is not there."""
    return account in _doubted


def doubt(account: Account, job_id: str, seconds: float) -> str:
    """Take lists of an account for no proof from now on; returns what people are to know.

    Args:
        account: whose.
        job_id: the job that its list lacks.
        seconds: how long after the submission it was to be listed.
    """
    _doubted.add(account)
    said = (
        f"warning: {account.provider} does not list {job_id} by its metadata {seconds:.0f} s after "
        "it was submitted, so `finds` is not true of it, or `visibility_seconds` is too short: a "
        "submission whose answer is lost could be paid for a second time. Until this process ends, "
        "one stops with an error instead; set `finds = false` in the settings of this backend, or "
        "a longer `visibility_seconds`"
    )
    _log.warning("%s", said.removeprefix("warning: "))
    return said
