"""Figures: what is in them, and the files they become."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib.colors import to_hex

from motools.errors import ConfigError
from motools.sweeps.drawing import COLOURS
from motools.sweeps.plots import Kind, Plot, overview, plot
from motools.sweeps.results import Results, of_plan
from motools.sweeps.subset import Subset
from tests.sweeps.results.conftest import Swept

SCORE = "includes/accuracy"


@pytest.fixture
def found(tuned: Swept) -> Results:
    return of_plan(tuned.plan)


@pytest.fixture
def lines(found: Results) -> Plot:
    return plot(found, x="learning_rate", by="dataset", y=SCORE, evaluation="quiz")


def test_lines_are_means_with_bands(lines: Plot) -> None:
    assert (lines.xs, lines.groups) == ([1e-4, 1e-3], ["data.jsonl", "other.jsonl"])
    axes = lines.figure().axes[0]
    first, second, base = axes.lines
    assert list(first.get_xdata()) == [1e-4, 1e-3]
    assert list(first.get_ydata()) == [0.3125, 0.5625]
    assert list(second.get_ydata()) == [0.1875, 0.40625]
    assert to_hex(first.get_color()).upper() == COLOURS[0]
    assert list(base.get_ydata()) == [0.125, 0.125]  # the base model goes across
    band = axes.collections[0].get_paths()[0].vertices
    mean = lines.points[1e-4, "data.jsonl"]
    assert mean.interval is not None
    at_first = [y for x, y in band if x == 1e-4]
    assert (min(at_first), max(at_first)) == pytest.approx((mean.interval.low, mean.interval.high))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", f"quiz: {SCORE}")
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["data.jsonl", "other.jsonl", "tiny"]


def test_a_learning_rate_is_on_a_logarithmic_axis(lines: Plot) -> None:
    axes = lines.figure().axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["$10^{-4}$", "$10^{-3}$"]


@pytest.mark.parametrize(
    ("name", "xs", "logarithmic"),
    [
        ("epochs", [1, 3, 10], False),
        ("epochs", [1, 3, 100], True),
        ("learning_rate", [1e-4, 2e-4], True),
        ("seed", [0, 1000], False),
        ("learning_rate", [1e-4], False),
        ("dataset", ["a", "b"], False),
    ],
)
def test_axes_are_logarithmic_where_that_helps(
    lines: Plot, name: str, xs: list[object], logarithmic: bool
) -> None:
    mean = next(iter(lines.points.values()))
    drawn = Plot(Kind.LINE, name, None, "y", {(x, None): mean for x in xs}, {})
    assert drawn.logarithmic is logarithmic
    assert drawn.figure().axes[0].get_xscale() == ("log" if logarithmic else "linear")


def test_bars_stand_beside_each_other(found: Results) -> None:
    drawn = plot(
        found, x="evaluation", by="dataset", y=SCORE, over=["learning_rate", "seed"], kind=Kind.BARS
    )
    axes = drawn.figure().axes[0]
    assert drawn.groups == ["data.jsonl", "other.jsonl", "tiny"]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[:2] == [0.4375, 0.4375]
    assert heights[-1] == 0.125
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    assert all(right <= left for (_, right), (left, _) in itertools.pairwise(spans))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["quiz", "short"]


def test_a_heat_map_says_its_numbers(found: Results) -> None:
    drawn = plot(
        found, x="learning_rate", by="dataset", y=SCORE, evaluation="quiz", kind=Kind.HEATMAP
    )
    axes = drawn.figure().axes[0]
    assert axes.images[0].get_array().tolist() == [[0.3125, 0.5625], [0.1875, 0.40625]]
    assert axes.texts[0].get_text() == "0.312\n±0.155"
    with pytest.raises(ConfigError, match="a heat map has two parameters"):
        plot(found, x="learning_rate", y=SCORE, evaluation="quiz", kind=Kind.HEATMAP)


def test_what_is_not_clear_is_asked(tuned: Swept, found: Results) -> None:
    with pytest.raises(ConfigError, match="evaluation: say which: quiz, short"):
        plot(found, x="learning_rate", by="dataset", y=SCORE)
    with pytest.raises(ConfigError, match="score: say which: includes/accuracy, lengths/mean"):
        plot(found, x="learning_rate", by="dataset", evaluation="quiz")
    with pytest.raises(ConfigError, match="score: there is no 'accuracy'; there are includes/acc"):
        plot(found, x="learning_rate", by="dataset", evaluation="quiz", y="accuracy")
    with pytest.raises(
        ConfigError, match=r"several means at learning_rate=0.0001: they differ in d"
    ):
        plot(found, x="learning_rate", evaluation="quiz", y=SCORE)
    with pytest.raises(ConfigError, match="datset: no such field; did you mean 'dataset'"):
        plot(found, x="datset")
    waiting = Subset.parse(["dataset=other.jsonl", "learning_rate=1e-3", "seed=2"], tuned.sweep)
    with pytest.raises(ConfigError, match="nothing to draw"):
        plot(of_plan(tuned.plan, waiting), x="learning_rate")


@pytest.mark.parametrize(
    ("style", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_files_are_the_same_each_time(
    lines: Plot, tmp_path: Path, style: str, start: bytes
) -> None:
    once, again = tmp_path / f"a.{style}", tmp_path / f"b.{style}"
    lines.save(once)
    lines.save(again)
    assert once.read_bytes().startswith(start)
    assert once.read_bytes() == again.read_bytes()


def test_a_page_needs_no_network_and_has_the_numbers(lines: Plot, tmp_path: Path) -> None:
    path = tmp_path / "figure.html"
    lines.save(path)
    text = path.read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!#)[^\"']*|url\((?!#)|@import", text)
    page = ET.fromstring(re.sub(r"<!doctype html>|<meta[^>]*>", "", text))
    cells = [[cell.text for cell in row] for row in page.iter("tr")]
    assert cells[0][:2] == ["learning rate", "dataset"]
    assert cells[1][:2] == ["0.0001", "data.jsonl"]
    assert "0.3125" in cells[1]
    assert cells[-1][0] is None
    assert page.find(".//{http://www.w3.org/2000/svg}svg") is not None
    with pytest.raises(ConfigError, match=r"end it in .png, .svg, .pdf or .html"):
        lines.save(tmp_path / "figure.gif")


def test_names_are_neither_markup_nor_formulas(tuned: Swept, tmp_path: Path) -> None:
    found = of_plan(tuned.plan)
    strange = tuple(
        replace(each, parameters={**each.parameters, "dataset": "<b>$x^{$ & co"})
        for each in found.measurements
        if each.parameters["dataset"] == "data.jsonl"
    )
    drawn = plot(
        replace(found, measurements=strange),
        x="dataset",
        y=SCORE,
        evaluation="quiz",
        over=["seed", "learning_rate"],
        kind=Kind.BARS,
    )
    drawn.save(tmp_path / "strange.html")
    assert "<td>&lt;b&gt;$x^{$ &amp; co</td>" in (tmp_path / "strange.html").read_text()


@pytest.mark.parametrize("kind", [Kind.LINE, Kind.BARS])
@pytest.mark.filterwarnings("error::UserWarning")  # of no room for the figure
def test_every_group_is_in_the_legend(found: Results, kind: Kind) -> None:
    names = [f"_{number}" for number in range(30)]
    first = next(each for each in found.measurements if each.score == SCORE)
    many = tuple(
        replace(first, parameters={"learning_rate": 0.1, "dataset": name}, eval_key=name)
        for name in names
    )
    drawn = plot(replace(found, measurements=many), x="learning_rate", by="dataset", kind=kind)
    figure = drawn.figure()
    figure.savefig(io.BytesIO())
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text().strip() for text in legend.get_texts()] == names


def test_an_overview_chooses_its_axes(tuned: Swept, found: Results) -> None:
    whole = overview(found)
    assert whole is not None
    assert (whole.kind, whole.x, whole.by) == (Kind.LINE, "learning_rate", "dataset")
    assert whole.y == f"quiz: {SCORE}"
    words = overview(of_plan(tuned.plan, Subset.parse(["learning_rate=1e-3"], tuned.sweep)))
    assert words is not None
    assert (words.kind, words.x, words.by) == (Kind.BARS, "dataset", None)
    single = ["learning_rate=1e-3", "dataset=data.jsonl"]
    one = overview(of_plan(tuned.plan, Subset.parse(single, tuned.sweep)))
    assert one is not None
    assert (one.x, one.xs) == ("evaluation", ["quiz", "short"])
    crowded = tuple(
        replace(each, parameters={**each.parameters, "epochs": number % 2})
        for number, each in enumerate(found.measurements)
    )
    columns = {**found.columns, "fine_tune.epochs": "epochs"}
    assert overview(replace(found, columns=columns, measurements=crowded)) is None
    assert overview(replace(found, measurements=())) is None
