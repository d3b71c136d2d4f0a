"""The application: routes, and what becomes of errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from motools.errors import MotoolsError
from motools.server.errors import RequestError, as_refusal
from motools.server.guard import Guard
from motools.server.routes import chat, extension, files, fine_tuning, models
from motools.server.service import Service
from motools.version import __version__

_log: Final = logging.getLogger(__name__)


def make(service: Service) -> FastAPI:
    """The application that serves a service."""
    app = FastAPI(
        title="motools serve",
        version=__version__,
        summary="Fine-tuning through OpenAI's API, on this machine.",
        redoc_url=None,
    )
    app.state.service = service
    for part in (files, fine_tuning, models, chat, extension):
        app.include_router(part.router, prefix="/v1")
    app.get("/healthz", tags=["health"], summary="Whether the server answers.")(_healthz)
    app.add_middleware(
        Guard, accounts=service.options.accounts, max_upload=service.options.max_upload
    )  # outermost: what is raised by all else ends there
    app.add_exception_handler(MotoolsError, _motools_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


async def _motools_error(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, MotoolsError)
    refusal = as_refusal(problem)
    if refusal.status >= 500:
        _log.error("%s: %s", type(problem).__name__, problem)
    return _answer(refusal)


async def _invalid(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    param = _field(first["loc"], problem.body) or None
    unknown = first["type"] == "extra_forbidden"
    message = f"unknown field {param!r}" if unknown else f"{param or 'body'}: {first['msg']}"
    code = "unknown_parameter" if unknown else "invalid_value"
    return _answer(RequestError(message, param=param, code=code))


def _field(place: Sequence[int | str], body: Any) -> str:
    """The field of a request that an error is about.

    Args:
        place: where Pydantic has met it; with names of types, where there are several.
        body: that was sent.
    """
    where, *parts = place
    if where != "body":
        return str(parts[0])
    path, value = list[str](), body
    for part in parts:
        if isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif isinstance(value, dict) and (part in value or part == place[-1]):
            value = value.get(part)
        else:
            break
        path.append(str(part))
    return ".".join(path)


async def _http_error(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    refusal = RequestError(problem.detail, status=problem.status_code, headers=problem.headers)
    return _answer(refusal)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def _answer(refusal: RequestError) -> Response:
    headers = refusal.headers
    if refusal.status in _FOR_GOOD:
        headers = {"x-should-retry": "false", **headers}
    return JSONResponse(refusal.body, refusal.status, headers)


_FOR_GOOD: Final = (409, 507)
"""Answers that OpenAI's SDK would ask for again, an upload with all its bytes, unless told."""


def _description(app: FastAPI) -> dict[str, Any]:
    """OpenAPI's description, in which a refused body is 400, as OpenAI has it, and not 422."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        for operations in found["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            found["components"]["schemas"].pop(name, None)
        app.openapi_schema = found
    return app.openapi_schema
