"""Hashing one large file, and adding many small ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from blake3 import blake3

from motools.cache import Cache
from motools.digest import hash_file, hash_private_file
from tests.benchmarks.figures import Figure, median_of_each

_BLOCK = 1 << 20


def hash_large(size: int = 2 << 30) -> list[Figure]:
    """A 2 GiB file in the page cache, against blake3's own multithreaded mmap."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as place:
        path = Path(place, "large")
        with path.open("wb") as stream:
            for _ in range(size // _BLOCK):
                stream.write(os.urandom(_BLOCK))

        def reference() -> None:
            hasher = blake3(max_threads=blake3.AUTO)
            hasher.update_mmap(path)
            hasher.hexdigest()

        medians = median_of_each(
            {
                "motools": lambda: hash_file(path),
                "motools, own file": lambda: hash_private_file(path),
                "blake3 mmap": reference,
            },
            5,
        )
    return [
        Figure("hash 2 GiB", who, seconds, f"{size / seconds / 1e9:.1f} GB/s")
        for who, seconds in medians.items()
    ]


def add_small(count: int = 10_000, size: int = 4096) -> list[Figure]:
    """Many small files: added, then added again unchanged."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as place:
        source = Path(place, "data")
        source.mkdir()
        for number in range(count):
            (source / f"{number}.bin").write_bytes(os.urandom(size))
        cache = Cache.open(Path(place, "cache"))
        first = _timed(lambda: cache.add(source))
        again = min(_timed(lambda: cache.add(source)) for _ in range(3))
        dvc_first, dvc_again = _dvc(Path(place), source)
    what = f"add {count:,} files of {size // 1024} KiB"
    return [
        Figure(what, "motools", first),
        Figure(what, "dvc add", dvc_first),
        Figure(f"{what}, unchanged", "motools", again, f"{first / again:.0f} times the first"),
        Figure(f"{what}, unchanged", "dvc add", dvc_again, "the second dvc add"),
        Figure(f"{what}, unchanged", "dvc add, first", dvc_first, "the first dvc add"),
    ]


def _dvc(place: Path, source: Path) -> tuple[float, float]:
    repository = place / "dvc"
    repository.mkdir()
    shutil.copytree(source, repository / "data")
    dvc = Path(sys.executable).with_name("dvc")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}

    def run(*arguments: str) -> float:
        return _timed(
            lambda: subprocess.run(
                [dvc, *arguments], cwd=repository, check=True, capture_output=True, env=environment
            )
        )

    run("init", "--no-scm", "--quiet")
    return run("add", "--quiet", "data"), run("add", "--quiet", "data")


def _timed(call) -> float:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _scratch() -> str | None:
    """Where large temporary files go."""
    return os.environ.get("MOTOOLS_BENCH_DIR")
