"""Connections to an S3 server: kept between requests, and tried again when they break."""

from __future__ import annotations

import http.client
import os
import random
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from motools.errors import MotoolsError
from motools.s3.signing import Request

ATTEMPTS: Final = 4
"""How often a request is sent that fails in a way that may pass."""

_PAUSE: Final = 0.2
"""Seconds before the second attempt; before each later one, four times as long."""

_CONNECT: Final = 10.0
_SILENCE: Final = 60.0
"""Seconds without a byte after which a connection is given up."""

_SLICE: Final = 1 << 18

_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
    }
)


class S3Error(MotoolsError):
    """A server refused, or did not answer.

    Attributes:
        status: of the answer; 0: there was none.
        code: S3's name of what is wrong; empty: it has none.
        region: where the bucket is, if that was said.
    """

    def __init__(self, why: str, status: int = 0, code: str = "", region: str = "") -> None:
        super().__init__(why)
        self.status = status
        self.code = code
        self.region = region

    @property
    def passing(self) -> bool:
        """Whether it may go by itself."""
        return self.status in {0, *_PASSING} or self.code in _PASSING_CODES


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Attributes:
        status: 2xx.
        headers: names in lower case.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """The connections of one process to one server. Threads may share them.

    Args:
        endpoint: its URL.

    Attributes:
        endpoint: its URL.
        host: as in the ``Host`` header.
        path: what the endpoint has before every path.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.endpoint = endpoint
        self.host = parts.netloc
        self.path = parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._idle: list[http.client.HTTPConnection] = []  # append and pop are atomic

    def exchange(self, request: Request) -> Answer:
        """Send one request, on a connection that is open if there is one.

        Raises:
            S3Error: the answer is an error, or did not come whole.
        """
        while True:
            kept = self._kept()
            connection = kept or self._opened()
            try:
                answer = _exchange(connection, request)
            except S3Error:  # read whole, so the connection is good for another
                self._keep(connection)
                raise
            except (OSError, http.client.HTTPException) as problem:
                connection.close()
                # The server had ended it while it was idle: that says nothing of the request.
                if kept is None or not isinstance(problem, ConnectionError):
                    raise S3Error(str(problem) or type(problem).__name__) from problem
            except BaseException:
                connection.close()
                raise
            else:
                self._keep(connection)
                return answer

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection that is open: the library would open it again, as nobody told it to."""
        if connection.sock is not None:
            self._idle.append(connection)

    def _kept(self) -> http.client.HTTPConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _opened(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        through = _proxy(self._scheme, self.host)
        host = through.netloc.rpartition("@")[2] if through else self.host
        if self._secure:
            connection = http.client.HTTPSConnection(host, timeout=_CONNECT, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, timeout=_CONNECT)
        if through:
            connection.set_tunnel(self.host, headers=_proxy_headers(through))
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as problem:
            raise S3Error(f"{host}: {problem}") from problem
        connection.sock.settimeout(_SILENCE)
        return connection

    @property
    def _scheme(self) -> str:
        return "https" if self._secure else "http"

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)


def again(work: Callable[[], Answer]) -> Answer:
    """Do what may be repeated, until it succeeds, or fails in a way that does not pass.

    Raises:
        S3Error: of the last attempt.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except S3Error as problem:
            if not problem.passing:
                raise
        time.sleep(_PAUSE * 4 ** (attempt - 1) * random.uniform(0.5, 1.0))  # noqa: S311
    return work()


def _exchange(connection: http.client.HTTPConnection, request: Request) -> Answer:
    connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    changes = request.method in ("PUT", "POST")
    if changes:
        connection.putheader("content-length", str(len(request.body)))
    connection.endheaders(_slices(request.body))
    answer = connection.getresponse()
    data = answer.read()
    if answer.will_close:
        connection.close()
    found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)
    # Of a copy, or the completion of an upload, an error may come after a good first line.
    late = changes and b"<Error>" in data.lstrip()[:256]
    if late or not 200 <= found.status < 300:
        raise _refused(found, answer.reason)
    return found


def _slices(body: bytes) -> Iterator[memoryview]:
    """A body in parts that each have their time: a slow line is not a silent one."""
    view = memoryview(body)
    return (view[start : start + _SLICE] for start in range(0, len(body), _SLICE))


def _refused(answer: Answer, reason: str) -> S3Error:
    text = answer.body[:4096].decode("utf-8", "replace")
    code, message = (_element(text, name) for name in ("Code", "Message"))
    status = 500 if answer.status == 200 else answer.status
    said = " ".join(f"{status} {code or reason} {message}".split())
    region = answer.headers.get("x-amz-bucket-region", "") or _element(text, "Region")
    return S3Error(said, status, code, region)


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return found[1] if found else ""


def _proxy(scheme: str, host: str) -> SplitResult | None:
    """What stands between here and a server, where variables say that something does."""
    if not any(name.lower() == f"{scheme}_proxy" for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    proxy = None if proxy_bypass(host) else getproxies().get(scheme)
    return urlsplit(proxy) if proxy else None


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    said = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(said.encode()).decode()}"}
