"""OpenAI's SDK: its clients, and what its errors mean.

Asking is repeated by the SDK itself, which waits as long as a provider says.
Submitting never is: the SDK would send a second job after a lost answer.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from motools.errors import BackendError, BackendUnavailableError, SubmissionRefusedError
from motools.training.openai.options import NO_KEY

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

    from motools.training.openai.options import Options

T = TypeVar("T")

_RETRIES: Final = 3
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405, 409, 413, 415, 422, 429})
"""Answers after which no job was made. After any other, there may be one."""

_FULL: Final = 429
_NO_QUOTA: Final = "insufficient_quota"
"""Of a 429, what waiting does not mend: somebody has to pay first."""

_NOT_IMPLEMENTED: Final = 501

PAGE: Final = 100
"""Items of a list that are asked for at a time."""

_NO_JSON: Final = (json.JSONDecodeError, UnicodeDecodeError)
"""What the SDK raises as it is where an answer was cut off, or is a page of somebody else's."""

_SOONEST: Final = 1.0
_LATEST: Final = 3_600.0
_SOON: Final = 10.0


def client_of(options: Options) -> OpenAI:
    """A client of an API.

    Raises:
        BackendError: its key is not where the settings say.
    """
    from openai import OpenAI

    return OpenAI(
        default_headers=_left_out(options),
        api_key=options.api_key(),
        base_url=options.base_url,
        organization=options.organization or None,
        project=options.project or None,
        timeout=options.timeout,
        max_retries=_RETRIES,
    )


def _left_out(options: Options) -> dict[str, Any]:
    """Headers that the SDK would fill in from the environment, which speaks of OpenAI's account."""
    from openai import Omit

    given = {
        "OpenAI-Organization": options.organization,
        "OpenAI-Project": options.project,
    }
    # As headers, for the copies that the SDK makes of a client look into the environment again.
    return {} if options.is_own else {name: Omit() for name, said in given.items() if not said}


@contextmanager
def asking(host: str, what: str) -> Iterator[None]:
    """Ask a question in the block.

    Args:
        host: who is asked.
        what: what for, as in ``file-1``.

    Raises:
        BackendError: the provider answered that the request is wrong or that there is no such
            thing.
        BackendUnavailableError: there was no answer, or none that tells.
    """
    import openai

    try:
        yield
    except (openai.AuthenticationError, openai.PermissionDeniedError) as problem:
        raise BackendUnavailableError(
            f"{host} refuses this account ({problem.status_code}), {what}: {_said(problem)}"
        ) from _shown(problem)
    except openai.APIStatusError as problem:
        message = f"{host} answered {problem.status_code}, {what}: {_said(problem)}"
        if problem.status_code in (408, 425, _FULL) or (
            problem.status_code >= 500 and problem.status_code != _NOT_IMPLEMENTED
        ):
            after = retry_after(problem.response.headers)
            raise BackendUnavailableError(message, after) from _shown(problem)
        raise BackendError(message) from _shown(problem)
    except openai.APIError as problem:
        raise BackendUnavailableError(
            f"{host} cannot be reached, {what}: {problem.__cause__ or problem}"
        ) from problem
    except _NO_JSON as problem:
        raise BackendUnavailableError(f"{host} answered what is not JSON, {what}") from problem
    except AttributeError as problem:  # so the SDK ends where an answer is no object
        raise BackendUnavailableError(f"{host} answered what is not a list, {what}") from problem


@contextmanager
def asking_besides(host: str, what: str) -> Iterator[None]:
    """Ask in the block for what is of interest, and no part of a result.

    Whoever may ask after a job may be refused this, and that is an answer.

    Raises:
        BackendError: the provider does not give it.
        BackendUnavailableError: there was no answer, or none that tells.
    """
    import openai

    try:
        with asking(host, what):
            yield
    except BackendUnavailableError as problem:
        if isinstance(problem.__context__, openai.PermissionDeniedError):
            raise BackendError(str(problem)) from problem
        raise


@contextmanager
def preparing(host: str, what: str) -> Iterator[None]:
    """Ask in the block for what a job needs before it can be sent; see :func:`asking`.

    Raises:
        SubmissionRefusedError: the account's quota is used up: another try finds the same.
        BackendError: as :func:`asking`.
        BackendUnavailableError: as :func:`asking`.
    """
    import openai

    try:
        with asking(host, what):
            yield
    except BackendUnavailableError as problem:
        answer = problem.__context__
        if isinstance(answer, openai.RateLimitError) and answer.code == _NO_QUOTA:
            raise SubmissionRefusedError(str(problem)) from problem.__cause__
        raise


@contextmanager
def submitting(host: str) -> Iterator[None]:
    """Submit in the block.

    Raises:
        SubmissionRefusedError: the provider said that it did not take it.
        BackendUnavailableError: it may have.
    """
    import openai

    try:
        yield
    except openai.APIStatusError as problem:
        message = f"{host} answered {problem.status_code}: {_said(problem)}"
        after = retry_after(problem.response.headers)
        if problem.status_code not in _REFUSALS:
            raise BackendUnavailableError(message, after) from _shown(problem)
        if problem.status_code == _FULL and problem.code != _NO_QUOTA:
            raise SubmissionRefusedError(message, after or _SOON) from _shown(problem)
        raise SubmissionRefusedError(message) from _shown(problem)
    except openai.APIError as problem:
        raise BackendUnavailableError(
            f"no answer from {host}: {problem.__cause__ or problem}"
        ) from problem
    except _NO_JSON as problem:
        raise BackendUnavailableError(f"{host} answered what is not JSON") from problem


def checked(answer: T, host: str, what: str, **kinds: type | tuple[type, ...]) -> T:
    """An answer, if it has these fields: the SDK makes an object of whatever was answered.

    Args:
        answer: of the SDK.
        host: who was asked.
        what: was asked for, as in ``file-1``.
        kinds: names of fields to their types.

    Raises:
        BackendUnavailableError: a field is not there, or of another kind: nothing is known.
    """
    for name, kind in kinds.items():
        if not isinstance(getattr(answer, name, None), kind):
            raise BackendUnavailableError(
                f"{host} answered, but not with what was asked for, {what}: there is no {name!r}"
            )
    return answer


def every(page: Any, host: str, limit: int | None = None) -> Iterator[Any]:
    """What a list has on all of its pages.

    Args:
        page: the first one.
        host: who is asked.
        limit: how many items were asked for at a time; None: as many as there are.

    Raises:
        BackendUnavailableError: it is no list, or does not end: nothing is known.
    """
    seen: set[str] = set()
    while True:
        items = getattr(page, "data", None)
        if not isinstance(items, list):
            raise BackendUnavailableError(f"{host} answered with something that is not a list")
        if items and all(item.id in seen for item in items):
            # Without a word of more to come, this is an API that knows no pages.
            if page.has_more is None and (limit is None or len(items) < limit):
                return
            raise BackendUnavailableError(f"{host} gives the same page of a list again and again")
        for item in items:
            if item.id not in seen:
                seen.add(item.id)
                yield item
        if not page.has_next_page():
            return
        page = page.get_next_page()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` says, as a number or as a date (RFC 9110, 10.2.3).

    At least one and at most an hour; None: nothing that makes sense.
    """
    said = headers.get("retry-after")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        date, now = _moment(said), _moment(headers.get("date", ""))
        if date is None:
            return None
        seconds = date - (time.time() if now is None else now)
    return min(max(seconds, _SOONEST), _LATEST) if math.isfinite(seconds) else None


def _moment(said: str) -> float | None:
    """Seconds since 1970 of a date in a header."""
    try:
        date = email.utils.parsedate_tz(said)
        return None if date is None else float(email.utils.mktime_tz(date))
    except (ValueError, OverflowError):
        return None


def _said(problem: APIStatusError) -> str:
    """What a provider says of an error."""
    body = problem.body
    said = body.get("message") if isinstance(body, Mapping) else None
    return _without_key(said if isinstance(said, str) else str(problem), problem)


def _shown(problem: APIStatusError) -> APIStatusError | None:
    """An error as the cause of another, whose message is shown with it."""
    whole = f"{problem} {problem.body}"
    return problem if _without_key(whole, problem) == whole else None


def _without_key(text: str, problem: APIStatusError) -> str:
    """A text without the key that was sent: some providers repeat it."""
    sent = problem.response.request.headers.get("authorization", "")
    key = sent.removeprefix("Bearer ")
    return text if key in ("", NO_KEY) else text.replace(key, "…")
