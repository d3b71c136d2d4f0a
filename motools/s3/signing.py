"""Signatures of requests: AWS Signature Version 4, for S3."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    """Who asks.

    Attributes:
        key: the access key's id.
        secret: the key itself.
        token: of a session; empty: it is a key for good.
    """

    key: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def escaped(path: str) -> str:
    """A path as it stands in a request and in what is signed."""
    return quote(path, safe="/-_.~")


def query_text(query: Mapping[str, str]) -> str:
    """A query as it stands in a request and in what is signed."""
    named = sorted((quote(name, safe="-_.~"), quote(v, safe="-_.~")) for name, v in query.items())
    return "&".join(f"{name}={value}" for name, value in named)


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        method: in capitals.
        path: as :func:`escaped`.
        query: names and values, as they are.
        headers: names in lower case; ``host`` is among them.
        body: what is sent.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query, as they are sent."""
        return f"{self.path}?{query_text(self.query)}" if self.query else self.path


def signed(
    request: Request, credentials: Credentials, region: str, *, at: float | None = None
) -> Request:
    """A request with headers that say who asks, and for what.

    The body is part of it: one that arrives altered is refused.

    Args:
        request: what is asked.
        credentials: who asks.
        region: where the bucket is.
        at: seconds since 1970; None: now.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    day = moment[:8]
    digest = hashlib.sha256(request.body).hexdigest()
    every = {**request.headers, "x-amz-content-sha256": digest, "x-amz-date": moment}
    if credentials.token:
        every["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(every))
    lines = "".join(f"{name}:{' '.join(every[name].split())}\n" for name in sorted(every))
    asked = [request.method, request.path, query_text(request.query), lines, names, digest]
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, _digest_of_lines(asked)])
    key = _key_of_day(credentials.secret, day, region)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    every["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return replace(request, headers=every)


def _digest_of_lines(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=8)
def _key_of_day(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
