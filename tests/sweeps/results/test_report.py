"""A run of a sweep as Markdown."""

from __future__ import annotations

import pytest

from motools.sweeps import report
from motools.sweeps.outcome import Ended, Outcome, SweepRun
from motools.sweeps.plan import Planned, State
from tests.sweeps.results.conftest import Swept


def ended(planned: Planned) -> Ended:
    if planned.state is State.HIT:
        return Ended(planned, Outcome.HIT, entry=planned.entry)
    if planned.state is State.WAITING:
        return Ended(planned, Outcome.SKIPPED, "its model is not there")
    return Ended(planned, Outcome.FAILED, "no | memory\n<b>left</b>")


@pytest.fixture
def run(tuned: Swept) -> SweepRun:
    """All was in the cache but one model, whose training failed."""
    plan = tuned.plan
    return SweepRun(plan, {id(planned): ended(planned) for planned in plan.steps})


def test_a_line_says_what_became_of_it(run: SweepRun) -> None:
    assert report.summary(run) == "13 cells: 35 hits, 1 failed, 2 skipped"


def test_a_table_has_every_evaluation(run: SweepRun) -> None:
    text = report.markdown(run)
    lines = text.splitlines()
    assert lines[0] == "# greetings"
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == (
        r"| learning\_rate | dataset | seed | model | evaluation | includes/accuracy "
        "| lengths/mean | outcome |"
    )
    assert table[2] == "| 0.0001 | data.jsonl | 0 |  | quiz | 0.25 ± 0.062 | 1.5 | hit |"
    assert sum(line.endswith("| hit |") for line in table) == 12 * 2
    assert sum(line.endswith("| skipped |") for line in table) == 2


def test_what_failed_cannot_break_the_page(run: SweepRun) -> None:
    last = report.markdown(run).splitlines()[-1]
    (failed,) = run.failures
    assert failed.planned.key is not None
    assert last == rf"| fine\_tune | {failed.planned.key} | no \| memory \<b\>left\</b\> |"


def test_a_picture_is_part_of_the_text(run: SweepRun) -> None:
    assert "![greetings](data:image/png;base64,iVBORw==)" in report.markdown(run, b"\x89PNG")


def test_a_long_table_is_cut(run: SweepRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MOST_ROWS", 5)
    assert "\n\nand 21 more\n" in report.markdown(run)
