"""``motools sweep compare`` and ``diff``: two cells, or two sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cli import output
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Style, one_of
from motools.cli.output import Column, Format, Row
from motools.cli.sweep_results import EvaluationName, Level, Seed, figure, number, planned
from motools.errors import ConfigError, KeyNotFoundError

if TYPE_CHECKING:
    from motools.artifacts import Evaluation
    from motools.cache.explain import Difference
    from motools.sweeps.diff import StepDiff
    from motools.sweeps.plan import Plan, PlannedCell

_SHOWN: Final = 3
"""Differences of a step that a table shows."""

_COMPARED: Final = (
    Column("evaluation"),
    Column("score"),
    figure("mean_a", "a"),
    figure("mean_b", "b"),
    figure("difference"),
    figure("low"),
    figure("high"),
    Column("interval"),
    Column("test"),
    figure("p_value", "p"),
    figure("pairs"),
    figure("unpaired"),
    figure("altered"),
)
_DIFFS: Final = (
    Column("where"),
    Column("cell"),
    Column("step"),
    Column("key_a", output.short, "a"),
    Column("key_b", output.short, "b"),
    Column("scores", lambda scores: "\n".join(_scored(scores))),
    Column("differences", lambda found: "\n".join(_listed(found))),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to those of ``motools sweep``."""
    for command in (compare, diff):
        app.command(cls=LightCommand)(command)


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE] A B",
            help="A sweep and two of its cells, each as PATH=VALUE,PATH=VALUE; or the keys of "
            "two evaluations.",
        ),
    ],
    *,
    evaluation: EvaluationName = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="mcnemar, permutation, wilcoxon or t. By default mcnemar for scores of 0 and 1, "
            "else permutation.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--interval", metavar="METHOD", help="Of the difference: t, percentile, bca."),
    ] = None,
    level: Level = 0.95,
    seed: Seed = 0,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Compare two evaluations on the samples that both have.

    The difference is B less A. p-values are two-sided, and not adjusted for how many
    tests there are.
    """
    from motools.sweeps import comparison
    from motools.sweeps.statistics import Method, PairedTest

    asked = None if test is None else one_of(PairedTest, test, "--test")
    way = None if method is None else one_of(Method, method, "--interval")
    cache = Cache.open(cache_dir, create=False)
    if len(names) == 3:
        pairs = _pairs(planned(Path(names[0]), cache), names[1], names[2], evaluation)
    elif len(names) == 2:
        pairs = {"": (_by_key(cache, names[0]), _by_key(cache, names[1]))}
    else:
        raise typer.BadParameter("give a sweep and two of its cells, or two keys")
    rows = [
        {"evaluation": name or a.task, **found.row}
        for name, (a, b) in pairs.items()
        for found in comparison.compare(a, b, test=asked, method=way, level=level, seed=seed)
    ]
    output.emit(rows, _COMPARED, style)


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A sweep, as YAML.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    *,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Compare two sweeps: steps in both, in only one, or changed, and in which fields.

    A step has changed if its cell has the same parameters in both sweeps and its key
    differs. Where both have scores, they are shown. A table leaves out what is in both.
    """
    from motools.sweeps.diff import Where
    from motools.sweeps.diff import diff as differences

    cache = Cache.open(cache_dir, create=False)
    found = differences(planned(a, cache), planned(b, cache), cache)
    shown = [each for each in found if style is not Format.TABLE or each.where is not Where.BOTH]
    output.emit([_diff_row(each) for each in shown], _DIFFS, style)
    counts = {where: sum(each.where is where for each in found) for where in Where}
    output.say(", ".join(f"{count} {where}" for where, count in counts.items() if count))


def _pairs(
    plan: Plan, a: str, b: str, evaluation: str | None
) -> dict[str, tuple[Evaluation, Evaluation]]:
    """The evaluations that two cells have, by name."""
    from motools.sweeps.finding import one_cell

    here, there = _evaluations(one_cell(plan, a)), _evaluations(one_cell(plan, b))
    names = [name for name in here if name in there and evaluation in (None, name)]
    if not names:
        which = "an evaluation" if evaluation is None else f"the evaluation {evaluation}"
        raise ConfigError(
            f"{a} and {b} do not both have {which} in the cache: `motools sweep plan` says why"
        )
    return {name: (here[name], there[name]) for name in names}


def _evaluations(cell: PlannedCell) -> dict[str, Evaluation]:
    from motools.steps.evaluate import evaluation_of

    there = ((n, step.entry) for n, step in cell.named if step is not cell.training)
    return {name: evaluation_of(entry) for name, entry in there if entry is not None}


def _by_key(cache: Cache, key: str) -> Evaluation:
    from motools.steps.evaluate import KIND, evaluation_of

    entry = catalogue.find(cache, key)
    if entry.kind != KIND:
        raise KeyNotFoundError(f"{entry.key[:12]} is a {entry.kind}, not an evaluation")
    return evaluation_of(entry)


def _diff_row(found: StepDiff) -> Row:
    side = found.side
    return {
        "where": str(found.where),
        "cell": str(side.cell.cell),
        "step": side.planned.name,
        "key_a": None if found.a is None else found.a.planned.key,
        "key_b": None if found.b is None else found.b.planned.key,
        "scores": {name: list(both) for name, both in found.scores.items()} or None,
        "differences": None if found.differences is None else list(map(_plain, found.differences)),
    }


def _plain(difference: Difference) -> dict[str, Any]:
    text = str(difference)
    return {"field": difference.field, "a": difference.found, "b": difference.wanted, "text": text}


def _listed(differences: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield from (each["text"] for each in differences[:_SHOWN])
    if len(differences) > _SHOWN:
        yield f"and {len(differences) - _SHOWN} more: --format json"


def _scored(scores: dict[str, list[float | None]]) -> Iterator[str]:
    for name, (a, b) in scores.items():
        change = f" ({b - a:+.3g})" if a is not None and b is not None else ""
        yield f"{name}: {number(a)} → {number(b)}{change}"
