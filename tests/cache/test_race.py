"""A race: 32 processes on two hosts want 20 keys, and whoever runs one may be killed.

``MOTOOLS_TEST_SECONDS=60`` lets it last longer.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy.dialects.postgresql.psycopg

import motools.cache.schema
from motools.cache import Cache, RunContext
from motools.settings import Settings
from tests.cache.conftest import action
from tests.cache.hosts import second_host
from tests.postgresql import BOTH
from tests.processes import is_alive

# Imported before any fork, or else each child takes a second for it.
assert motools.cache.schema
assert sqlalchemy.dialects.postgresql.psycopg

PROCESSES, KEYS = 32, 20
SECONDS = float(os.environ.get("MOTOOLS_TEST_SECONDS", "8"))
LEASE = 4.0  # busy cores must not make a living holder silent for so long
KILL_EVERY = 0.05
KILLS = 12
"""At least, however slow the machine."""


class Race:
    """What all the processes know: where the hosts are, and who runs which key."""

    def __init__(self, place: Path) -> None:
        self.running = place / "running"
        self.log = place / "log"
        self.stop = place / "stop"
        self.running.mkdir()
        first = place / "first"
        self.hosts = [first, second_host(first, place / "second")]

    def take_part(self, number: int) -> None:
        """Get all keys of one round after the other."""
        chance = random.Random(os.getpid())
        settings = Settings.load(lease_seconds=LEASE)
        cache = Cache.open(self.hosts[number % len(self.hosts)], settings=settings)
        for turn in range(1_000):
            if self.stop.exists():
                return
            for key in chance.sample(range(KEYS), KEYS):
                name = f"{turn}-{key}"
                cache.get_or_run(action(name), self.run(name, chance.uniform(0.02, 0.2)))
            self.say(f"saw {turn}")

    def run(self, name: str, seconds: float) -> Callable[[RunContext], Any]:
        def run(_context: RunContext) -> Any:
            mine = self.running / name
            with contextlib.suppress(FileNotFoundError):
                assert not is_alive(int(mine.read_text())), f"two run {name}"
            mine.write_text(str(os.getpid()))
            time.sleep(seconds)
            assert mine.read_text() == str(os.getpid()), f"two ran {name}"
            self.say(f"ended {name}")
            mine.unlink()
            return os.getpid()

        return run

    def say(self, what: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()} {what}\n")

    def said(self) -> Iterator[tuple[int, str, str]]:
        for line in self.log.read_text().splitlines():
            pid, verb, what = line.split()
            yield int(pid), verb, what

    def holders(self) -> list[int]:
        found = []
        for path in self.running.iterdir():
            with contextlib.suppress(FileNotFoundError, ValueError):
                found.append(int(path.read_text()))
        return found


def start(race: Race, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            race.take_part(number)
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


@BOTH
def test_each_key_is_run_to_the_end_once(in_memory: Path, coordinator: str) -> None:
    """Invariant 7."""
    race = Race(in_memory)
    children = {start(race, number): number for number in range(PROCESSES)}
    killed: list[int] = []
    deadline = time.monotonic() + (SECONDS if coordinator == "postgresql" else SECONDS / 4)
    while time.monotonic() < deadline or len(killed) < KILLS:
        time.sleep(KILL_EVERY)
        holders = [pid for pid in race.holders() if pid in children]
        if holders:
            victim = random.choice(holders)
            os.kill(victim, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL
            killed.append(victim)
            number = children.pop(victim)
            children[start(race, number)] = number
    race.stop.touch()
    assert {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children} == {0}

    cache = Cache.open(race.hosts[0])
    made = {entry.action["config"]["n"]: entry for entry in cache.entries(generations=True)}
    assert len(made) == len(cache.entries(generations=True))  # none has a second generation
    ended: dict[str, list[int]] = {}
    seen = set()
    for pid, verb, what in race.said():
        if verb == "ended":
            ended.setdefault(what, []).append(pid)
        else:
            seen.add(int(what))
    assert seen
    assert {f"{turn}-{key}" for turn in seen for key in range(KEYS)} <= made.keys()
    for name, entry in made.items():
        *others, last = ended[name]
        assert entry.value == last
        assert set(others) <= set(killed)  # they had no time to commit
    cache.close()
