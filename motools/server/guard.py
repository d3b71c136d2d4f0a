"""What stands before every request: who calls, how much may be sent, and the access log."""

from __future__ import annotations

import logging
import math
import secrets
import time
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from motools.server.accounts import Accounts, is_loopback
from motools.server.errors import INVALID, SERVER, error_body

_log: Final = logging.getLogger("motools.server.access")

API: Final = "/v1/"
UPLOADS: Final = "/v1/files"
BODY_BYTES: Final = 8 << 20
FORM_BYTES: Final = 1 << 16
"""What a form may have around its file."""

_DISCARDED: Final = 1 << 16
"""Bytes of a refused body that are read to keep the connection."""


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
        seen = _Seen(scope, receive, send)
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, seen.receive, seen.send)
                return
            seen.limit = self._limit(scope)
            await self._app(scope, seen.receive, seen.send)
        except Exception as problem:
            if seen.status:
                raise  # too late to say anything; the server above logs it
            _log.error("a request failed", exc_info=problem)
            failed = JSONResponse(error_body("The server failed; its log says how.", kind=SERVER))
            failed.status_code = 500
            await failed(scope, seen.receive, seen.send)
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
        if self._limit(scope) < _announced(headers) < math.inf:
            return _refused(413, _too_much(self._limit(scope)), code="request_too_large")
        return None

    def _limit(self, scope: Scope) -> int:
        is_upload = scope["method"] == "POST" and scope["path"].rstrip("/") == UPLOADS
        return self._max_upload + FORM_BYTES if is_upload else BODY_BYTES


class _Seen:
    """One request as the access log has it: no query, no headers, no body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.limit = BODY_BYTES
        self._scope = scope
        self._receive = receive
        self._send = send
        self._received = 0
        self._is_unread = _announced(Headers(scope=scope)) > _DISCARDED
        self._started = time.monotonic()
        self.status = 0
        self._id = f"req_{secrets.token_hex(12)}"

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self.limit:
            raise HTTPException(413, _too_much(self.limit))
        if not message.get("more_body"):
            self._is_unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._id
            if self._is_unread:
                headers["connection"] = "close"  # or all that is still to come would be read
            milliseconds = (time.monotonic() - self._started) * 1000
            headers["openai-processing-ms"] = f"{milliseconds:.0f}"
        await self._send(message)

    def log(self) -> None:
        account = self._scope.get("state", {}).get("account", "-")
        client = (self._scope.get("client") or ("-",))[0]
        milliseconds = (time.monotonic() - self._started) * 1000
        path = quote(self._scope["path"], safe="/:")
        _log.info(
            "%s %s %s %s %s %.0f ms",
            client,
            account,
            self._scope["method"],
            path,
            self.status or "gone",
            milliseconds,
        )


def _announced(headers: Headers) -> float:
    """Bytes that the body will have, as far as its sender says."""
    if "transfer-encoding" in headers:
        return math.inf
    length = headers.get("content-length", "0")
    return int(length) if length.isdigit() else 0


def _is_from_here(headers: Headers) -> bool:
    """Whether a request without a token may be trusted: none that a web page has made.

    A page's origin is its own, and a name that it has pointed to this machine is not this
    machine's.
    """
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not is_loopback(name or ""):
        return False
    origin = headers.get("origin")
    return origin in (None, f"http://{host}", f"https://{host}")


def _too_much(limit: int) -> str:
    return f"the request is larger than this server takes: {limit:,} bytes"


def _refused(
    status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(error_body(message, kind=INVALID, code=code), status, headers)
