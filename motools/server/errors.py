"""What a client is told when its request is refused: OpenAI's error bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from motools.errors import (
    BackendError,
    CacheUnavailableError,
    ConfigError,
    DatasetError,
    LeaseTimeoutError,
    MotoolsError,
    PromptTooLongError,
    WorkerError,
)

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"

_FIELD: Final = re.compile(r"\b(FineTuneConfig|LoraConfig)\.([a-z_]+(?:\.[a-z_]+)*)")
_TEMPLATE: Final = re.compile(r"(Template|TemplateSyntax|TemplateRuntime|Undefined)Error\b")
"""What a model's chat template says of a conversation that it does not take."""
_TOO_LONG: Final = f"{PromptTooLongError.__name__}: "
"""What the process that holds models says of one for which there is no room."""
_AT: Final = {"FineTuneConfig": "", "LoraConfig": "lora."}


class RequestError(MotoolsError):
    """A request that is refused.

    Args:
        message: for people.
        status: of the HTTP response.
        kind: OpenAI's ``type`` of the error.
        param: the field of the request that is at fault.
        code: for programs.
        headers: of the response.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """What the response says."""
        return error_body(str(self), kind=self.kind, param=self.param, code=self.code)


def error_body(
    message: str, *, kind: str = INVALID, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error as OpenAI's SDK reads it."""
    said = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": {name: text and _sendable(text) for name, text in said.items()}}


def _sendable(text: str) -> str:
    """A text that quotes a request, in which there may be half a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode()


def not_found(what: str, name: str, param: str | None = None) -> RequestError:
    """There is no such thing, or it is somebody else's: which of the two is not said."""
    code = "model_not_found" if what == "model" else "not_found"
    return RequestError(f"No such {what}: {name!r}", status=404, param=param, code=code)


def busy(message: str, code: str, seconds: int) -> RequestError:
    """There is no room now; the client is told after how many seconds to come again."""
    return RequestError(
        f"{message}; try again later",
        status=429,
        kind="rate_limit_error",
        code=code,
        headers={"Retry-After": str(seconds)},
    )


def as_refusal(problem: MotoolsError, prefix: str = "") -> RequestError:
    """What another part of motools raised, as what a client is told.

    Args:
        problem: what was raised.
        prefix: of a config's fields in the request.
    """
    if isinstance(problem, RequestError):
        return problem
    if isinstance(problem, WorkerError):
        return _of_worker(str(problem))
    if isinstance(problem, ConfigError | BackendError | DatasetError):
        field = _FIELD.search(str(problem))
        param = None if field is None else f"{prefix}{_AT[field[1]]}{field[2]}"
        return RequestError(str(problem), param=param, code="invalid_value")
    if isinstance(problem, CacheUnavailableError | LeaseTimeoutError):
        return RequestError(str(problem), status=503, kind=SERVER, code="cache_unavailable")
    return RequestError(str(problem), status=500, kind=SERVER)


def _of_worker(said: str) -> RequestError:
    """What a process that answers or trains has said was wrong."""
    if said.startswith(_TOO_LONG):
        said = said.removeprefix(_TOO_LONG)
        return RequestError(said, param="messages", code="context_length_exceeded")
    if _TEMPLATE.match(said):
        return RequestError(said, param="messages", code="invalid_value")
    return RequestError(said, status=503, kind=SERVER, code="model_unavailable")
