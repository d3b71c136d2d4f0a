"""Large objects in parts: sent side by side, taken up where an earlier try stopped.

An upload in parts becomes an object when it is completed, naming its parts by what
the server said of their bytes: whatever else was sent under the same upload, the
object is the file that was meant, or there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from motools.s3.bucket import Bucket, parsed, seconds
from motools.s3.connections import S3Error
from motools.s3.signing import escaped

PART: Final = 16 << 20
"""Bytes in a part, at least; S3 takes at most 10,000 of them."""

_MOST_PARTS: Final = 10_000
_AT_ONCE: Final = 4
_COPIED: Final = 1 << 30
"""Bytes that are copied with one request; S3 takes at most 5 GiB."""

_IN_MEMORY: Final = 8
"""Parts that are in memory at a time, however many files are sent."""


@dataclass(frozen=True)
class Upload:
    """An upload that was begun and not completed.

    Attributes:
        key: of the object that it would be.
        id: its own.
        started: when it was begun (seconds since 1970).
    """

    key: str
    id: str
    started: float


@dataclass(frozen=True)
class _Part:
    number: int
    size: int
    etag: str


class _Room:
    """Room in memory for parts."""

    def __init__(self) -> None:
        self.empty()
        # Who had taken it in the parent does not give it back in the child.
        os.register_at_fork(after_in_child=self.empty)

    def empty(self) -> None:
        """Have all of it free."""
        self.taken = threading.BoundedSemaphore(_IN_MEMORY)


_room: Final = _Room()


def uploads(bucket: Bucket, prefix: str) -> Iterator[Upload]:
    """Those of all objects whose keys start so, oldest first for each."""
    query = {"uploads": "", "prefix": prefix}
    while True:
        page = parsed(bucket.request("GET", query=query))
        for each in page.iter("Upload"):
            started = seconds(each.findtext("Initiated", ""))
            yield Upload(each.findtext("Key", ""), each.findtext("UploadId", ""), started)
        if page.findtext("IsTruncated") != "true":
            return
        query = {
            **query,
            "key-marker": page.findtext("NextKeyMarker", ""),
            "upload-id-marker": page.findtext("NextUploadIdMarker", ""),
        }


def stored(bucket: Bucket, upload: Upload) -> int:
    """Bytes in the parts of an upload."""
    return sum(part.size for part in _parts(bucket, upload))


def abandon(bucket: Bucket, upload: Upload) -> bool:
    """Delete an upload with its parts; False: it is gone, or was completed."""
    try:
        bucket.request("DELETE", upload.key, query={"uploadId": upload.id})
    except S3Error as problem:
        if problem.code != _GONE:
            raise
        return False
    return True


def send(bucket: Bucket, key: str, path: Path) -> None:
    """Put a large file in place of what is there, going on with an upload of the same bytes.

    Raises:
        S3Error: it is not there, or it cannot be known; send it again, it goes on.
    """
    try:
        _sent(bucket, key, path)
    except S3Error as problem:
        if problem.code != _GONE:
            raise
        # Somebody who sent the same file completed the upload, or a prune took it away.
        _sent(bucket, key, path)


def copy(bucket: Bucket, key: str, to: str, size: int) -> bool:
    """Copy an object that is too large for one request; False: it is not there."""
    source = escaped(f"/{bucket.name}/{key}")
    upload = _begun(bucket, to)
    etags: list[str] = []
    try:
        for start in range(0, size, _COPIED):
            span = f"bytes={start}-{min(start + _COPIED, size) - 1}"
            answer = bucket.request(
                "PUT", to,
                query={"partNumber": str(len(etags) + 1), "uploadId": upload.id},
                headers={"x-amz-copy-source": source, "x-amz-copy-source-range": span},
            )  # fmt: skip
            etags.append(parsed(answer).findtext("ETag", ""))
        _complete(bucket, upload, etags)
    except S3Error as problem:
        with contextlib.suppress(S3Error):
            abandon(bucket, upload)
        if problem.code != "NoSuchKey":
            raise
        return False
    return True


def _sent(bucket: Bucket, key: str, path: Path) -> None:
    size = path.stat().st_size
    length = max(PART, math.ceil(size / _MOST_PARTS))
    count = max(1, math.ceil(size / length))
    upload, there = _to_go_on_with(bucket, key, length)
    with path.open("rb") as file, ThreadPoolExecutor(_AT_ONCE) as pool:

        def part(number: int) -> str:
            with _room.taken:
                data = os.pread(file.fileno(), length, (number - 1) * length)
                known = there.get(number)
                if known is not None and _etag(data) == known.etag:
                    return known.etag
                query = {"partNumber": str(number), "uploadId": upload.id}
                return bucket.request("PUT", key, query=query, body=data).headers["etag"]

        try:
            etags = list(pool.map(part, range(1, count + 1)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _complete(bucket, upload, etags)


def _to_go_on_with(bucket: Bucket, key: str, length: int) -> tuple[Upload, dict[int, _Part]]:
    """The upload of this object of which most is there, or a new one; and its parts."""
    best: Upload | None = None
    parts: list[_Part] = []
    for upload in uploads(bucket, key):
        if upload.key == key:
            there = [part for part in _parts(bucket, upload) if part.size <= length]
            if len(there) > len(parts):
                best, parts = upload, there
    return best or _begun(bucket, key), {part.number: part for part in parts}


def _begun(bucket: Bucket, key: str) -> Upload:
    answer = parsed(bucket.request("POST", key, query={"uploads": ""}))
    return Upload(key, answer.findtext("UploadId", ""), 0.0)


def _parts(bucket: Bucket, upload: Upload) -> Iterator[_Part]:
    query = {"uploadId": upload.id}
    while True:
        try:
            page = parsed(bucket.request("GET", upload.key, query=query))
        except S3Error as problem:
            if problem.code == _GONE:
                return
            raise
        for each in page.iter("Part"):
            yield _Part(
                int(each.findtext("PartNumber", "0")),
                int(each.findtext("Size", "0")),
                each.findtext("ETag", ""),
            )
        if page.findtext("IsTruncated") != "true":
            return
        query = {**query, "part-number-marker": page.findtext("NextPartNumberMarker", "")}


def _complete(bucket: Bucket, upload: Upload, etags: list[str]) -> None:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    try:
        bucket.request("POST", upload.key, query={"uploadId": upload.id}, body=body)
    except S3Error as problem:
        # The answer to an earlier attempt may have been lost, or another was quicker.
        if not (problem.passing or problem.code == _GONE):
            raise
        found = bucket.look(upload.key)
        if found is None or found.etag != _etag_of(etags):
            raise


def _etag(data: bytes) -> str:
    """What S3 says of bytes that it does not encrypt with a key of its own."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _etag_of(etags: list[str]) -> str:
    """What S3 says of an object made of parts."""
    with contextlib.suppress(ValueError):
        joined = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
        return f'"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"'
    return ""


_GONE: Final = "NoSuchUpload"
