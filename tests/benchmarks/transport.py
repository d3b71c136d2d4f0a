"""The client of S3 alone, beside others: small objects and one large one, without a command."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from motools.cache.landing import land
from motools.cache.s3 import S3Store
from motools.digest import Digest
from tests import s3
from tests.benchmarks.figures import Figure

MANY, SMALL = 1_000, os.urandom(64 << 10)
LARGE = int(os.environ.get("MOTOOLS_BENCH_LARGE", str(1 << 30)))
"""Bytes of the one large file."""

AT_ONCE = 16


def clients() -> list[Figure]:
    """Every client does the same, one after another."""
    with tempfile.TemporaryDirectory() as made, s3.running(room=6 << 30) as server:
        bucket = server.bucket()
        os.environ.update(bucket.environment())
        large = Path(made) / "large"
        with large.open("wb") as file:
            for _ in range(LARGE >> 24):
                file.write(os.urandom(1 << 24))
        figures = [
            figure
            for who, client in (("motools", _motools), ("obstore", _obstore), ("s3fs", _s3fs))
            for figure in _measured(who, client(bucket), large, Path(made))
        ]
        store = S3Store(bucket.url, {})
        figures.append(_hashed(store, Path(made)))
    order = {figure.what: place for place, figure in reversed(list(enumerate(figures)))}
    return sorted(figures, key=lambda figure: order[figure.what])


Put = Callable[[str, bytes], object]
Client = tuple[Put, Callable[[str], object], Callable[[Path], object], Callable[[Path], object]]
"""Puts bytes, gets bytes, sends a file, fetches it."""


def _motools(bucket: s3.Bucket) -> Client:
    store = S3Store(bucket.url, {})

    def down(path: Path) -> None:
        with path.open("wb") as file:
            for piece in store.stream("large") or ():
                file.write(piece)

    return store.publish_bytes, store.read, lambda path: store.upload("large", path), down


def _obstore(bucket: s3.Bucket) -> Client:
    from obstore.store import S3Store as Theirs

    theirs = Theirs(
        bucket.name, access_key_id=bucket.key, secret_access_key=bucket.secret, region="default",
        endpoint=bucket.endpoint, client_options={"allow_http": True, "timeout": "10 minutes"},
    )  # fmt: skip

    def down(path: Path) -> None:
        with path.open("wb") as file:
            for piece in theirs.get("large").stream():
                file.write(piece)

    return (
        theirs.put,
        lambda name: bytes(theirs.get(name).bytes()),
        lambda path: theirs.put("large", path, chunk_size=16 << 20, max_concurrency=4),
        down,
    )


def _s3fs(bucket: s3.Bucket) -> Client:
    files, root = bucket.file_system(), bucket.name
    return (
        lambda name, data: files.pipe_file(f"{root}/{name}", data),
        lambda name: files.cat_file(f"{root}/{name}"),
        lambda path: files.put_file(os.fspath(path), f"{root}/large", chunksize=16 << 20),
        lambda path: files.get_file(f"{root}/large", os.fspath(path)),
    )


def _measured(who: str, client: Client, large: Path, place: Path) -> Iterator[Figure]:
    put, get, up, down = client
    names = [f"small/{number}" for number in range(MANY)]
    what = f"{MANY:,} x 64 KiB"
    yield _timed(f"put {what}", who, lambda: _each(lambda name: put(name, SMALL), names))
    yield _timed(f"get {what}", who, lambda: _each(get, names))
    yield _timed(f"send {LARGE >> 20} MiB", who, lambda: up(large))
    yield _timed(f"fetch {LARGE >> 20} MiB", who, lambda: down(place / "fetched"))
    (place / "fetched").unlink()


def _hashed(store: S3Store, place: Path) -> Figure:
    """What a pull does with a large blob, in a process of its own, for its memory."""
    (place / "tmp").mkdir()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figure = _timed(
            "", "", lambda: land(place, store, "large", place / "x", Digest("0" * 64, LARGE))
        )
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        scale = 1 if sys.platform == "darwin" else 1024
        note = f"{figure.note}, {more * scale >> 20} MiB of memory"
        (place / "note").write_text(f"{figure.seconds}\n{note}")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    seconds, note = (place / "note").read_text().split("\n")
    return Figure(f"fetch {LARGE >> 20} MiB", "motools, hashed", float(seconds), note)


def _timed(what: str, who: str, work: Callable[[], Any]) -> Figure:
    started, used = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    return Figure(what, who, seconds, f"{cpu:.2f} s of CPU")


def _each(work: Callable[[str], object], names: list[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(work, names):
            pass
