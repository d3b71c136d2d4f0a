"""Push and pull through S3 as whole commands, beside DVC's and restic's on the same server."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from motools.cache import Action, Cache, RunContext
from tests import faulty, s3
from tests.benchmarks.figures import Figure

MANY, SMALL = 1_000, 64 << 10
LARGE = int(os.environ.get("MOTOOLS_BENCH_LARGE", str(1 << 30)))
"""Bytes of the one large file."""

ROUNDS = 3
LATENCIES = (0.0, 0.02)
"""Seconds that each request takes longer."""

_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

FIRST, AGAIN, STATUS, PULL = "first push", "push, nothing new", "status", "first pull"


@dataclass(frozen=True)
class Place:
    """Where one tool does one round.

    Attributes:
        data: a directory of files.
        here: an empty directory.
        bucket: an empty bucket, seen through the proxy.
    """

    data: Path
    here: Path
    bucket: s3.Bucket

    def run(self, *command: object, env: Mapping[str, str] = {}, cwd: str = "") -> None:
        """A whole command, in an environment that knows the bucket."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.here / cwd,
            env={**os.environ, "PATH": _PATH, **self.bucket.environment(), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def cost(self, *command: object, env: Mapping[str, str] = {}, cwd: str = "") -> Cost:
        """What a command takes."""
        started, used = time.perf_counter(), _cpu_of_children()
        self.run(*command, env=env, cwd=cwd)
        return Cost(time.perf_counter() - started, _cpu_of_children() - used)


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: on the clock.
        cpu: seconds of the processor, which tell more where it is shared with the server.
    """

    seconds: float
    cpu: float


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def motools(place: Place) -> dict[str, Cost]:
    """A cache with one entry, and another that has none."""
    mine, other = place.here / "mine", place.here / "other"

    def made(context: RunContext) -> None:
        shutil.copytree(place.data, context.directory, dirs_exist_ok=True)

    cache = Cache.open(mine)
    cache.get_or_run(Action(kind="function", inputs={}, config={"n": 1}, backend={}), made)
    cache.close()
    Cache.open(other).close()
    command = [sys.executable, "-m", "motools", "cache"]
    for root in (mine, other):
        url = f"{place.bucket.url}/motools"
        place.run(*command, "remote", "add", "shared", url, "--cache-dir", root)
    return {
        FIRST: place.cost(*command, "push", "--cache-dir", mine),
        AGAIN: place.cost(*command, "push", "--cache-dir", mine),
        STATUS: place.cost(*command, "status", "--cache-dir", mine),
        PULL: place.cost(*command, "pull", "--cache-dir", other),
    }


def dvc(place: Place) -> dict[str, Cost]:
    """A project that tracks the directory; its cache is gone before the pull."""
    config = place.here / "aws"
    config.touch()  # it does not take /dev/null for one
    env = {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(place.here / "site"),
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
    }
    shutil.copytree(place.data, place.here / "data")
    for command in (
        ("init", "--no-scm", "-q"),
        ("remote", "add", "-q", "-d", "shared", f"{place.bucket.url}/dvc"),
        ("remote", "modify", "-q", "shared", "endpointurl", place.bucket.endpoint),
        ("add", "-q", "data"),
    ):
        place.run("dvc", *command, env=env)
    found = {
        FIRST: place.cost("dvc", "push", "-q", env=env),
        AGAIN: place.cost("dvc", "push", "-q", env=env),
        STATUS: place.cost("dvc", "status", "-q", "-c", env=env),
    }
    for folder in (".dvc/cache", "data", "site"):
        shutil.rmtree(place.here / folder, ignore_errors=True)
    return {**found, PULL: place.cost("dvc", "pull", "-q", env=env)}


def restic(place: Place) -> dict[str, Cost]:
    """A repository with one snapshot of the directory."""
    url = f"s3:{place.bucket.endpoint}/{place.bucket.name}/restic"
    cache = place.here / "cache"
    env = {"RESTIC_PASSWORD": "none", "RESTIC_REPOSITORY": url, "RESTIC_CACHE_DIR": str(cache)}
    place.run("restic", "init", env=env)
    backup = ("restic", "backup", "-q", place.data)
    found = {FIRST: place.cost(*backup, env=env), AGAIN: place.cost(*backup, env=env)}
    shutil.rmtree(cache)
    restored = place.here / "restored"
    pull = place.cost("restic", "restore", "-q", "latest", "--target", restored, env=env)
    return {**found, PULL: pull}


TOOLS: Mapping[str, Callable[[Place], dict[str, Cost]]] = {
    "motools": motools,
    "dvc": dvc,
    "restic": restic,
}


def exchange() -> list[Figure]:
    """Every tool, on many small files and on one large one, near and far.

    In turn, and the median of each: a virtual machine gets memory from its host when it
    first uses it, which can take longer than all else, and meets now one and now another.
    """
    found: dict[tuple[str, str], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as made:
        sets = {
            f"{MANY:,} x 64 KiB": _files(Path(made) / "many", MANY, SMALL),
            f"one of {LARGE >> 20} MiB": _files(Path(made) / "one", 1, LARGE),
        }
        for latency, (what, data), _ in product(LATENCIES, sets.items(), range(ROUNDS)):
            # A server of its own: what is deleted stays in its memory for a while.
            with s3.running(room=6 << 30) as server, faulty.before(server.endpoint) as proxy:
                proxy.latency = latency
                for step, who, cost in _round(data, server, proxy):
                    where = f"{step}: {what}, {latency * 1e3:.0f} ms"
                    found.setdefault((where, who), []).append(cost)
    return [_figure(where, who, costs) for (where, who), costs in sorted(found.items(), key=_order)]


def _order(item: tuple[tuple[str, str], object]) -> tuple[str, int]:
    (where, who), _ = item
    return where, list(TOOLS).index(who)


def _figure(where: str, who: str, costs: list[Cost]) -> Figure:
    seconds = statistics.median(cost.seconds for cost in costs)
    cpu = statistics.median(cost.cpu for cost in costs)
    return Figure(where, who, seconds, f"{cpu:.2f} s of CPU")


def _round(data: Path, server: s3.Server, proxy: faulty.Proxy) -> Iterator[tuple[str, str, Cost]]:
    for who, tool in TOOLS.items():
        if who != "motools" and shutil.which(who, path=_PATH) is None:
            print(f"{who} is not installed, and not measured", file=sys.stderr)
            continue
        with _empty(data, server, proxy) as place:
            for step, cost in tool(place).items():
                yield step, who, cost


@contextmanager
def _empty(data: Path, server: s3.Server, proxy: faulty.Proxy) -> Iterator[Place]:
    bucket = server.bucket()
    seen = s3.Bucket(proxy.endpoint if proxy.latency else server.endpoint, bucket.key,
                     bucket.secret, bucket.name)  # fmt: skip
    with tempfile.TemporaryDirectory() as here:
        yield Place(data, Path(here), seen)
    bucket.file_system().rm(bucket.name, recursive=True)  # all of them are in memory


def _files(place: Path, count: int, size: int) -> Path:
    place.mkdir()
    for number in range(count):
        with (place / f"{number:04}.bin").open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - start)))
    return place
