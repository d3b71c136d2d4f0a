"""Two caches and one bucket, used at once by two flows: both come to have all that either made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.remotes import add_remote, compare, open_remote, pull, push
from motools.settings import Settings
from tests.s3 import Bucket

PROGRAM = '''
import os, sys, time
from pathlib import Path

from prefect import flow
from motools import cached_task

def noted(what):
    with open(os.environ["PLACE"] + "/ran", "a") as log:
        log.write(f"{os.environ['WHO']} {what}\\n")

@cached_task(version="1")
def own(n: int) -> Path:
    noted(f"own {n}")
    path = Path(os.environ["WHO"], str(n))  # threads have one working directory
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"of {n} " * 100)
    return path

@cached_task(version="1")
def both() -> str:
    """Ends only when the other flow is in it, too."""
    place, who = Path(os.environ["PLACE"]), os.environ["WHO"]
    noted("both")
    (place / f"in-{who}").touch()
    while not all((place / f"in-{each}").exists() for each in "ab"):
        time.sleep(0.01)
    return who

@flow
def work(numbers: list[int]) -> None:
    waiting = [own.submit(n) for n in numbers]
    print("both:", both())
    for n, each in zip(numbers, waiting):
        assert each.result().read_text().startswith(f"of {n} ")

if __name__ == "__main__":
    work([int(n) for n in sys.argv[1:]])
'''


def started(tmp_path: Path, api: str, who: str, *numbers: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PLACE": str(tmp_path),
        "WHO": who,
        "PREFECT_API_URL": api,
        "MOTOOLS_CACHE_DIR": str(tmp_path / f"cache-{who}"),
        "MOTOOLS_REMOTE_MODE": "read-write",
    }
    return subprocess.Popen(
        [sys.executable, "flow.py", *map(str, numbers)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answer(running: subprocess.Popen[str]) -> str:
    """What a flow had from the step that both ran."""
    said, _ = running.communicate(timeout=240)
    assert running.returncode == 0, said[-4000:]
    [line] = [line for line in said.splitlines() if line.startswith("both: ")]
    return line.removeprefix("both: ")


@pytest.mark.slow
def test_both_see_what_either_made_and_neither_is_overwritten(
    tmp_path: Path, bucket: Bucket, prefect_api: str
) -> None:
    (tmp_path / "flow.py").write_text(PROGRAM)
    caches = {who: Cache.open(tmp_path / f"cache-{who}", settings=Settings()) for who in "ab"}
    for cache in caches.values():
        add_remote(cache, "team", f"{bucket.url}/team")
    running = {
        "a": started(tmp_path, prefect_api, "a", 1, 2, 3),
        "b": started(tmp_path, prefect_api, "b", 3, 4, 5),
    }
    answers = {who: answer(each) for who, each in running.items()}
    assert answers == {"a": "a", "b": "b"}, "each has its own result"
    for cache in caches.values():  # what was committed in the last moment
        push(cache, open_remote(cache))

    # The other way round: all is there, so nothing runs, and each still has its own.
    before = (tmp_path / "ran").read_text()
    again = {
        "a": started(tmp_path, prefect_api, "a", 4, 5),
        "b": started(tmp_path, prefect_api, "b", 1, 2),
    }
    assert {who: answer(each) for who, each in again.items()} == answers
    assert (tmp_path / "ran").read_text() == before

    told = [d.key for c in caches.values() for d in compare(c, open_remote(c)).diverged]
    key = next(e.key for e in caches["a"].entries() if e.value == "a")
    assert set(told) == {key}, "whoever was second is told; both, if neither saw the other's"
    for who, cache in caches.items():
        assert key not in pull(cache, open_remote(cache)).entries
        push(cache, open_remote(cache))
        assert cache.entry(key).value == who
    reader = Cache.open(tmp_path / "reader", settings=Settings())
    add_remote(reader, "team", f"{bucket.url}/team")
    assert pull(reader, open_remote(reader)).problems == {}
    assert len(reader.entries()) == 6
    assert reader.entry(key).value in ("a", "b")
