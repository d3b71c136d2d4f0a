"""What a person sees of a sweep that runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from motools.sweeps.outcome import Ended, Outcome
from motools.sweeps.plan import Plan, Planned, PlannedCell, State
from motools.sweeps.tiles import LINES, Tiles


def plan(cells: int) -> Plan:
    def step(name: str) -> Planned:
        return Planned(name, None, State.RUN)

    made = [PlannedCell(None, step("fine_tune"), (step("greets"),)) for _ in range(cells)]  # type: ignore[arg-type]
    return Plan(None, tuple(made))  # type: ignore[arg-type]


def drawn(tiles: Tiles, width: int = 60, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=stream, width=width, force_terminal=True, color_system=None).print(tiles)
    stream.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_each_step_has_a_mark() -> None:
    made = plan(4)
    steps = [cell.training for cell in made.cells if cell.training is not None]
    outcomes = [Outcome.HIT, Outcome.RUN, Outcome.FAILED]
    ended = {id(step): Ended(step, outcome) for step, outcome in zip(steps, outcomes, strict=False)}
    tiles = Tiles(made)
    tiles.update(ended, [made.cells[0].evaluations[0]])
    assert drawn(tiles) == [
        " fine_tune □■✗·",
        " greets    ▶···",
        " ✗ failed  ▶ in flight  · left  ■ run  □ hit  ",
    ]
    assert drawn(tiles, encoding="ascii")[:2] == [" fine_tune =#x.", " greets    >..."]


@pytest.mark.parametrize("cells", [1, 59, 60, 61, 10_000])
@pytest.mark.parametrize("width", [24, 60, 200])
def test_however_many_there_are_it_fits(cells: int, width: int) -> None:
    made = plan(cells)
    last = made.cells[-1].training
    assert last is not None
    tiles = Tiles(made)
    tiles.update({id(last): Ended(last, Outcome.FAILED)}, [])
    lines = drawn(tiles, width)
    assert len(lines) <= 2 * LINES + 1
    assert all(len(line) <= width for line in lines)
    assert sum(line.count("✗") for line in lines[:-1]) == 1, "one that failed is never hidden"
