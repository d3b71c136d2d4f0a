"""One paid job for each key, whatever dies and whenever: a client against a real server.

What is counted is what the server lists. The rest of the matrix, every step and every
system call instead of some: ``MOTOOLS_TEST_EVERY=1 pytest tests/faults/test_paid_once.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import faulty
from tests.faults import paying
from tests.faults.paying import DONE, FAILED, UNSETTLED, Case, Cases, end_of, signalled_at
from tests.faulty import (
    CutAnswer,
    CutShort,
    DoneBut,
    Dropped,
    Fault,
    LostAnswer,
    NotYet,
    Proxy,
    Silence,
    Status,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EVERY = int(os.environ.get("MOTOOLS_TEST_EVERY", "9"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    place = tmp_path_factory.mktemp("paid")
    with paying.provider(place) as server:
        cases = Cases(server, place)
        case = cases.new()
        assert case.run() == DONE  # the server trains once, for all
        yield cases


@pytest.fixture(autouse=True)
def counted(cases: Cases, record_property: pytest.RecordProperty) -> Iterator[None]:
    """Hand what was counted to the summary of the run."""
    cases.counts = paying.Counts()
    yield
    counts = cases.counts
    for name in ("cases", "jobs", "stops"):
        record_property(f"paid {name}", getattr(counts, name))
    assert counts.twice == []


@pytest.fixture
def proxy(cases: Cases) -> Iterator[Proxy]:
    with faulty.before(cases.server.url.removesuffix("/v1")) as proxy:
        yield proxy


def steps_of(case: Case) -> list[str]:
    """What a client does on its way, in order."""
    reader, writer = os.pipe()

    def work() -> None:
        case.pay(lambda name: os.write(writer, f"{name}\n".encode()) and None)

    pid = paying.start(work)
    os.close(writer)
    with os.fdopen(reader) as lines:
        steps = lines.read().splitlines()
    assert end_of(pid) == DONE
    return steps


def some(count: int, first: int = 1) -> range:
    return range(first, count + 1, EVERY)


def test_killed_at_every_step(cases: Cases) -> None:
    first = cases.new()
    steps = steps_of(first)
    first.settle(cases.counts)
    assert sum("POST /v1/fine_tuning/jobs" in step for step in steps) == 2
    died = 0
    for number in some(len(steps)):
        case = cases.new()
        at = signalled_at(number, signal.SIGKILL)
        died += case.run(at=at) == -signal.SIGKILL
        case.settle(cases.counts)
    assert died == len(some(len(steps)))


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_killed_at_every_system_call(cases: Cases, tmp_path: Path) -> None:
    """That touches the database, the store or the socket, in any of its threads."""
    case, log = cases.new(), tmp_path / "calls"
    assert case.traced("-o", str(log)) == DONE
    case.settle(cases.counts)
    calls = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    most = {name: max(n for (_, at), n in calls.items() if at == name) for _, name in calls}
    points = [(name, n) for name in sorted(most) for n in range(1, most[name] + 1)]
    for name, number in points[:: 2 * EVERY]:
        case = cases.new()
        ended = case.traced("-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={number}")
        assert ended in (-signal.SIGKILL, DONE)  # another thread may do it this time
        case.settle(cases.counts)


def test_stopped_at_every_step_while_others_ask(cases: Cases) -> None:
    """On its machine it is waited for. On another, it is overtaken or nothing is submitted."""
    case = cases.new()
    steps = steps_of(case)
    case.settle(cases.counts)
    # In a transaction, whoever is stopped has the database, and the others wait for it.
    free = [n for n, step in enumerate(steps, 1) if step.split()[1] in ("COMMIT", "GET", "POST")]
    free = [n for n in free if steps[n - 1] != "before COMMIT"]
    for number in free[:: max(1, EVERY // 2)]:
        case = cases.new()
        case.second_host()
        at = signalled_at(number, signal.SIGSTOP)
        pid = case.start(at=at)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):  # it had to ask less often this time
            assert os.waitstatus_to_exitcode(status) == 0
            case.settle(cases.counts)
            continue
        assert case.run(patience=0.2) in (DONE, FAILED)  # a hit, once it is committed
        elsewhere = case.run(patience=2 * paying.LEASE, host=2)
        assert elsewhere in (DONE, UNSETTLED, FAILED)
        cases.counts.stops += elsewhere != DONE
        os.kill(pid, signal.SIGCONT)
        assert end_of(pid) in (DONE, FAILED)
        case.settle(cases.counts, uploads=2)


CREATE = ("POST", r"/fine_tuning/jobs$")
LIST = ("GET", r"/fine_tuning/jobs\?")
UPLOAD = ("POST", r"/files$")
POLL = ("GET", r"/fine_tuning/jobs/")

FAULTS: dict[str, list[tuple[Fault, tuple[str, str], float]]] = {
    "dropped before it is read": [(Dropped(), CREATE, 1)],
    "dropped in the middle of the request": [(CutShort(), CREATE, 1)],
    "dropped after it was accepted": [(LostAnswer(), CREATE, 1)],
    "dropped in the middle of the answer": [(CutAnswer(), CREATE, 1)],
    "500 after it was accepted": [(DoneBut(500), CREATE, 1)],
    "429 with Retry-After": [(Status(429, retry_after=1), CREATE, 2)],
    "hangs after it was accepted": [(Silence(), CREATE, 1)],
    "listed late, and its answer lost": [(LostAnswer(), CREATE, 1), (NotYet(), LIST, 2)],
    "listed late": [(NotYet(), LIST, 3)],
    "the upload is cut": [(CutShort(), UPLOAD, 1)],
    "the upload's answer is lost": [(LostAnswer(), UPLOAD, 1)],
    "503 while it is asked after": [(Status(503, retry_after=1), POLL, 8)],
    "dropped while it is asked after": [(Dropped(), POLL, 6)],
    "503 when jobs are looked for": [(Status(503), LIST, 2)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_networks_and_servers_do(cases: Cases, proxy: Proxy, name: str) -> None:
    case = cases.new(proxy)
    for fault, (method, path), times in FAULTS[name]:
        proxy.fail(fault, method, path, times=times)
    assert case.run() == DONE, "each of these passes, so one try is enough"
    proxy.heal()
    case.settle(cases.counts)


def test_killed_while_the_answer_is_lost(cases: Cases, proxy: Proxy) -> None:
    """Both at once: the job was accepted, nobody knows, and the one who asked is dead."""
    case = cases.new(proxy)
    proxy.fail(Silence(), *CREATE)
    pid = case.start()
    while not proxy.count(*CREATE):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGKILL)
    assert end_of(pid) == -signal.SIGKILL
    case.settle(cases.counts)
