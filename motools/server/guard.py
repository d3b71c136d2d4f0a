"""What stands before every request: who calls, how much may be sent, and the access log."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motools.server.accounts import Accounts, is_loopback
from motools.server.errors import INVALID, error_body

_log: Final = logging.getLogger("motools.server.access")

API: Final = "/v1/"
UPLOADS: Final = "/v1/files"
BODY_BYTES: Final = 8 << 20
FORM_BYTES: Final = 1 << 16
"""What a form may have around its file."""


class Guard:
    """Lets in who may, and says afterwards how each request ended.

    Args:
        app: what answers.
        accounts: who may use the API.
        max_upload: bytes of the largest file.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, max_upload: int) -> None:
        self._app = app
        self._accounts = accounts
        self._max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = _Seen(scope, send)
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, seen.send)
                return
            bounded = _bounded(receive, self._limit(scope))
            await self._app(scope, bounded, seen.send)
        finally:
            seen.log()

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not path.startswith(API):
            return None
        if not len(self._accounts) and not _is_from_here(headers):
            return _refused(403, "this address is for programs of this machine, not for web pages")
        account = self._accounts.who(headers.get("authorization"))
        if account is None:
            return _refused(
                401,
                "no valid API key was given: send one as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        scope.setdefault("state", {})["account"] = account
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit(scope):
            return _refused(413, _too_much(self._limit(scope)), code="request_too_large")
        return None

    def _limit(self, scope: Scope) -> int:
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") == UPLOADS
        return self._max_upload + FORM_BYTES if is_upload else BODY_BYTES


class _Seen:
    """One request as the access log has it: no query, no headers, no body."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = time.monotonic()
        self._status = 0
        self._id = f"req_{secrets.token_hex(12)}"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._id
            milliseconds = (time.monotonic() - self._started) * 1000
            headers["openai-processing-ms"] = f"{milliseconds:.0f}"
        await self._send(message)

    def log(self) -> None:
        account = self._scope.get("state", {}).get("account", "-")
        client = (self._scope.get("client") or ("-",))[0]
        milliseconds = (time.monotonic() - self._started) * 1000
        path = ascii(self._scope["path"])[1:-1]
        _log.info(
            "%s %s %s %s %s %.0f ms",
            client,
            account,
            self._scope["method"],
            path,
            self._status or "gone",
            milliseconds,
        )


def _bounded(receive: Receive, limit: int) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, _too_much(limit))
        return message

    return bounded


def _is_from_here(headers: Headers) -> bool:
    """Whether a request without a token may be trusted: none that a web page has made.

    A page's origin is its own, and a name that it has pointed to this machine is not this
    machine's.
    """
    host = headers.get("host", "")
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        return False
    origin = headers.get("origin")
    return origin in (None, f"http://{host}", f"https://{host}")


def _too_much(limit: int) -> str:
    return f"the request is larger than this server takes: {limit:,} bytes"


def _refused(
    status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(error_body(message, kind=INVALID, code=code), status, headers)
