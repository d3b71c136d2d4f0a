"""The objects of one bucket. Every request is signed, bounded in time, and tried again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from motools.s3.connections import Answer, Connections, S3Error, again
from motools.s3.place import Place
from motools.s3.signing import Request, escaped, signed

PIECE: Final = 8 << 20
"""Bytes that are asked for with one request when a large object is read."""


@dataclass(frozen=True)
class Item:
    """An object, as it is listed or looked at.

    Attributes:
        name: its key.
        size: bytes.
        modified: when it was written (seconds since 1970).
        etag: changes with its bytes.
    """

    name: str
    size: int
    modified: float
    etag: str


class Bucket:
    """One bucket, seen from one process.

    What is not there is None or False. A bucket that is not there is an error, like
    every other answer: it cannot be known what is in it.

    Args:
        name: its name.
        place: how it is reached.
    """

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self._place = place
        self._region = place.region
        self._connected: tuple[int, Connections] = (0, Connections(""))
        self._seen = False

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """An object, or a part of it, shorter where it ends before; None: it is not there."""
        if length == 0:  # no range says that
            return None if self.look(key) is None else b""
        found = self._part(key, start, length)
        return None if found is None else found.body

    def stream(self, key: str, start: int, ahead: int) -> Iterator[bytes] | None:
        """An object from some byte on, in order, in pieces.

        Args:
            key: its name.
            start: the first byte.
            ahead: how many pieces are fetched while one is worked on.

        Returns:
            None: it is not there. While it is read, an error if it is replaced meanwhile.
        """
        first = self._part(key, start, PIECE)
        if first is None:
            return None
        size = int(first.headers.get("content-range", "").rpartition("/")[2] or start)
        return self._pieces(key, first, range(start + PIECE, size, PIECE), ahead)

    def look(self, key: str) -> Item | None:
        """An object's size and age; None: it is not there."""
        try:
            answer = self.request("HEAD", key)
        except S3Error as problem:
            if problem.status != 404:
                raise
            self._require_bucket()  # an answer to HEAD does not say what is not there
            return None
        headers = answer.headers
        modified = parsedate_to_datetime(headers["last-modified"]).timestamp()
        return Item(key, int(headers["content-length"]), modified, headers.get("etag", ""))

    def write(self, key: str, data: bytes) -> None:
        """Put an object in place of what is there. It appears whole or not at all."""
        self.request("PUT", key, body=data)

    def create(self, key: str, data: bytes) -> None:
        """Put an object where there is none.

        Raises:
            S3Error: there is one, perhaps this one: the answer to an earlier attempt was lost.
        """
        self.request("PUT", key, headers={"if-none-match": "*"}, body=data)

    def copy(self, key: str, to: str) -> bool:
        """Copy an object of up to 5 GiB; False: it is not there."""
        source = escaped(f"/{self.name}/{key}")
        try:
            self.request("PUT", to, headers={"x-amz-copy-source": source})
        except S3Error as problem:
            if problem.code != _ABSENT:
                raise
            return False
        return True

    def remove(self, key: str) -> None:
        """Delete an object, if it is there."""
        self.request("DELETE", key)

    def items(self, prefix: str) -> Iterator[Item]:
        """Every object whose key starts so."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        while True:
            page = parsed(self.request("GET", query=query))
            for each in page.iter("Contents"):
                yield Item(
                    unquote(each.findtext("Key", "")),
                    int(each.findtext("Size", "0")),
                    seconds(each.findtext("LastModified", "")),
                    each.findtext("ETag", ""),
                )
            if page.findtext("IsTruncated") != "true":
                return
            query = {**query, "continuation-token": page.findtext("NextContinuationToken", "")}

    def request(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] = {},
        headers: Mapping[str, str] = {},
        body: bytes = b"",
    ) -> Answer:
        """One request about an object, or about the bucket; tried again where that may help.

        Raises:
            S3Error: whatever is not a good answer.
        """
        try:
            answer = again(lambda: self._send(method, key, query, headers, body))
        except S3Error as problem:
            self._seen = self._seen or problem.code == _ABSENT
            raise
        self._seen = True
        return answer

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        *,
        moved: bool = False,
    ) -> Answer:
        connections = self._here()
        path = f"{connections.path}{self._path(key)}"
        request = Request(method, path, query, {"host": connections.host, **headers}, body)
        try:
            return connections.exchange(signed(request, self._place.asker(), self._region))
        except S3Error as problem:
            if moved or not problem.region or problem.region == self._region:
                raise
            self._region = problem.region  # where the bucket says that it is
        return self._send(method, key, query, headers, body, moved=True)

    def _here(self) -> Connections:
        """The connections of this process to where the bucket is: none crosses a fork."""
        endpoint = self._place.endpoint or _of_aws(self.name, self._region)
        process, connections = self._connected
        if process != os.getpid() or connections.endpoint != endpoint:
            connections = Connections(endpoint)
            self._connected = os.getpid(), connections
        return connections

    def _path(self, key: str) -> str:
        """Of AWS's own servers, each bucket has its own, unless its name is none of a host."""
        bucket = f"/{self.name}" if self._place.endpoint or "." in self.name else ""
        return escaped(f"{bucket}/{key}" if key else bucket or "/")

    def _part(self, key: str, start: int, length: int | None, etag: str = "") -> Answer | None:
        headers = {"if-match": etag} if etag else {}
        if start or length is not None:
            last = "" if length is None else start + length - 1
            headers["range"] = f"bytes={start}-{last}"
        try:
            return self.request("GET", key, headers=headers)
        except S3Error as problem:
            if problem.code == _ABSENT:
                return None
            if problem.status == _ENDS_BEFORE:
                return Answer(206, {}, b"")
            raise

    def _pieces(self, key: str, first: Answer, starts: range, ahead: int) -> Iterator[bytes]:
        etag = first.headers.get("etag", "")

        def piece(start: int) -> bytes:
            found = self._part(key, start, PIECE, etag)
            if found is None:
                raise S3Error(f"{key} was deleted while it was read")
            return found.body

        yield first.body
        pool = ThreadPoolExecutor(ahead) if starts else None
        waiting: deque[Future[bytes]] = deque()
        try:
            for start in starts:
                assert pool
                waiting.append(pool.submit(piece, start))
                if len(waiting) == ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)

    def _require_bucket(self) -> None:
        if not self._seen:
            self.request("GET", query={"list-type": "2", "max-keys": "0"})


def parsed(answer: Answer) -> ET.Element:
    """An answer in XML, without its name space.

    Raises:
        S3Error: it is none.
    """
    try:
        found = ET.fromstring(answer.body)  # noqa: S314 - expat limits expansion
    except ET.ParseError as problem:
        raise S3Error(f"the answer is no XML: {problem}") from problem
    for each in found.iter():
        each.tag = each.tag.rpartition("}")[2]
    return found


def seconds(moment: str) -> float:
    """A moment in an answer, in seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def _of_aws(bucket: str, region: str) -> str:
    """Of AWS's own servers: each bucket has one, unless its name has what certificates lack."""
    host = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    return f"https://{host}" if "." in bucket else f"https://{bucket}.{host}"


_ABSENT: Final = "NoSuchKey"
_ENDS_BEFORE: Final = 416
