"""What routes share: who calls, which service answers, pages, and documented errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from motools.server.objects import ErrorObject, Listing
from motools.server.pages import Page, Turn
from motools.server.service import Service

T = TypeVar("T")
Item = TypeVar("Item", bound=BaseModel)

_MEANING: Final = {
    400: "The request is wrong; `param` says where.",
    401: "No valid API key was given.",
    403: "The request is refused.",
    404: "There is no such thing, or it is another caller's.",
    409: "It is not in a state for that.",
    413: "The request is too large.",
    429: "The queue is full; `Retry-After` says when to try again.",
    500: "The server failed.",
    503: "The cache is out of reach.",
}
_ALWAYS: Final = (400, 401, 403, 413, 500, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its description."""
    every = sorted({*_ALWAYS, *statuses})
    return {each: {"model": ErrorObject, "description": _MEANING[each]} for each in every}


_bearer = HTTPBearer(auto_error=False, description="An API key, where the server asks for one.")


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _account(request: Request, _: Annotated[Any, Security(_bearer)]) -> str:
    name: str = request.state.account  # the guard has asked for the token
    return name


def _turn(
    after: Annotated[str | None, Query(max_length=200, pattern=r"^[\x20-\x7e]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
) -> Turn:
    return Turn(after, limit)


Served: TypeAlias = Annotated[Service, Depends(_service)]
Account: TypeAlias = Annotated[str, Depends(_account)]
Wanted: TypeAlias = Annotated[Turn, Depends(_turn)]
Id: TypeAlias = Annotated[str, Path(max_length=200, pattern=r"^[\x20-\x7e]+$")]


def listing(page: Page[T], show: Callable[[T], Item]) -> Listing[Item]:
    """A page as clients get it."""
    data = [show(each) for each in page.data]
    ids = [str(getattr(each, "id", "")) for each in data]
    return Listing(
        data=data,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=page.has_more,
    )
