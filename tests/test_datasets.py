"""Datasets in hand: taken apart, put together, made by functions and read from other formats."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motools import Dataset
from motools.cache import Cache
from motools.cache.current import use_cache
from motools.errors import DatasetError, SourceError
from motools.order import permutation
from motools.settings import Settings
from motools.steps.function import Function
from motools.steps.mapping import MapRows

ROWS = [{"id": n, "messages": [{"role": "user", "content": f"Hi {n}"}]} for n in range(12)]


def ids(dataset: Dataset) -> list[int]:
    return [row["id"] for row in dataset]


@pytest.fixture(params=["file", "memory", "joined", "holes"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    """The same rows, wherever they are."""
    if request.param == "memory":
        return Dataset.from_rows(ROWS)
    if request.param == "joined":
        return Dataset.from_rows(ROWS[:5]) + Dataset.from_rows(ROWS[5:])
    lines = [json.dumps(row).encode() for row in ROWS]
    path = tmp_path / "rows.jsonl"
    holes = b"\xef\xbb\xbf\n \n" + b"\r\n\r\n".join(lines)
    path.write_bytes(holes if request.param == "holes" else b"\n".join(lines))
    return Dataset.from_jsonl(path)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with use_cache(tmp_path / "cache") as opened:
        yield opened


def test_a_dataset_is_read_like_a_list(dataset: Dataset) -> None:
    assert len(dataset) == 12
    assert list(dataset) == ROWS
    assert [dataset[n] for n in (0, 7, -1)] == [ROWS[0], ROWS[7], ROWS[-1]]
    with pytest.raises(IndexError):
        dataset[12]
    for which in (slice(3), slice(-3, None), slice(2, 9, 3), slice(None, None, -1), slice(5, 5)):
        chosen = dataset[which]
        assert list(chosen) == ROWS[which]
        assert len(chosen) == len(ROWS[which])
    assert ids(dataset[2:10][1:-1][::2]) == [3, 5, 7]
    with pytest.raises(ValueError, match="zero"):
        dataset[::0]


def test_equal_rows_are_one_dataset_however_made(dataset: Dataset, tmp_path: Path) -> None:
    whole = Dataset.from_rows(ROWS).digest
    first, second = dataset.split(0.25, seed=1)
    assert (len(first), len(second)) == (3, 9)
    assert sorted(ids(first) + ids(second)) == list(range(12))
    assert (first + second).identify().digest == dataset.shuffle(1).identify().digest != whole
    assert (dataset[:4] + dataset[4:]).identify().digest == whole
    assert dataset[3:6].identify() == dataset[3:6].identify()
    assert dataset[3:6].identify().digest == Dataset.from_rows(ROWS[3:6]).digest
    written = dataset.to_jsonl(tmp_path / "copy.jsonl")
    assert written.identify().digest == whole
    again = written.shuffle(2).to_jsonl(tmp_path / "copy.jsonl")
    assert ids(again) == ids(dataset.shuffle(2)), "a file may be written from its own rows"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_what_is_drawn_is_drawn_for_ever(dataset: Dataset) -> None:
    assert ids(dataset.shuffle(0)) == DRAWN
    assert ids(dataset.sample(5, seed=0)) == DRAWN[:5]
    assert ids(dataset.shuffle(1)) != DRAWN
    assert ids(dataset.shuffle(-1)) != DRAWN


DRAWN = [9, 0, 4, 1, 11, 5, 3, 6, 7, 2, 10, 8]


def test_every_order_is_as_likely_as_the_others() -> None:
    orders = [tuple(permutation(4, seed)) for seed in range(4800)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    # Chi squared with 23 degrees of freedom: above 49.7 once in a thousand.
    assert sum((count - 200) ** 2 / 200 for count in counts) < 49.7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda d: d.sample(13, seed=0), "13 of 12"),
        (lambda d: d.sample(0, seed=0), "0 of 12"),
        (lambda d: d.shuffle("a"), "'a' is not an integer"),
        (lambda d: d.split(0.01, seed=0), "one side empty"),
        (lambda d: d[5:5].identify(), "no row"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(wrong: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        wrong(Dataset.from_rows(ROWS))


def test_a_wrong_row_is_named_wherever_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 0}\n\n{"id": NaN}\n')
    dataset = Dataset.from_jsonl(path)
    assert dataset[0] == {"id": 0}
    for read in (lambda: list(dataset), lambda: dataset[1], lambda: dataset[::-1].identify()):
        with pytest.raises(DatasetError, match=r"rows\.jsonl, (line 3|row 2): NaN"):
            read()
    path.unlink()
    with pytest.raises(DatasetError, match="No such file"):
        dataset.shuffle(0).identify()


def test_recipes_are_small_travel_and_see_their_file_change(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 500))
    os.utime(path, (1, 1))
    dataset = (Dataset.from_jsonl(path)[10:] + Dataset.from_jsonl(path)).sample(500, seed=3)
    assert len(pickle.dumps(dataset)) < 2_000
    assert pickle.loads(pickle.dumps(dataset)) == dataset
    assert Dataset.from_json(json.loads(json.dumps(dataset.to_json()))) == dataset
    before = dataset.identify(cache.memo)
    assert dataset.identify(cache.memo) == before
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[1:] * 600))
    assert dataset.identify(cache.memo).digest != before.digest


def test_map_runs_once_for_the_same_source_and_rows(tmp_path: Path, cache: Cache) -> None:
    dataset = Dataset.from_rows(ROWS)
    doubled = dataset.map(double)
    assert ids(doubled) == [2 * n for n in range(12)]
    assert doubled.digest == Dataset.from_rows(list(doubled)).digest
    assert dataset[::-1][::-1].map(double) == doubled
    assert len(cache.entries("function")) == 1
    assert ids(dataset.map(lambda row: {"id": row["id"] + 1})) == list(range(1, 13))
    assert ids(dataset[:2].map(double)) == [0, 2]
    assert len(cache.entries("function")) == 3
    assert pickle.loads(pickle.dumps(doubled.shuffle(0))) == doubled.shuffle(0)


def with_ones(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "ones": np.ones(2).tolist()}


def test_versions_named_as_equivalent_are_one_map(cache: Cache) -> None:
    step = MapRows(Dataset.from_rows(ROWS), Function(with_ones))
    groups = {"numpy": (("1.0", importlib.metadata.version("numpy")),)}
    keys = []
    for cache.settings in (Settings(), Settings(equivalent=groups), Settings()):
        keys.append(step.action(cache).key)
    assert keys[0] == keys[2] != keys[1]


def double(row: dict[str, Any]) -> dict[str, Any]:
    row["id"] *= 2
    return row


async def later(row: dict[str, Any]) -> dict[str, Any]:
    return row


def test_map_says_which_row_became_none(cache: Cache) -> None:
    dataset = Dataset.from_rows(ROWS)
    with pytest.raises(DatasetError, match=r"row 4: .* returned NoneType"):
        dataset.map(lambda row: row if row["id"] < 3 else None)
    with pytest.raises(DatasetError, match=r"row 1: .*set"):
        dataset.map(lambda row: {"id": {1}})
    with pytest.raises(SourceError, match="async"):
        dataset.map(later)
    assert cache.entries() == []


@pytest.mark.parametrize("form", ["parquet", "json", "directory", "saved", "splits"])
def test_files_in_hugging_face_formats(form: str, tmp_path: Path, cache: Cache) -> None:
    import datasets

    rows, place = datasets.Dataset.from_list(ROWS), tmp_path / "data"
    place.mkdir()
    if form == "parquet":
        rows.to_parquet(place := place / "rows.parquet")
    elif form == "json":
        rows.to_json(place := place / "rows.jsonl")
    elif form == "directory":
        rows.to_parquet(place / "train-00000.parquet")
    elif form == "saved":
        rows.save_to_disk(place)
    else:
        datasets.DatasetDict(train=rows, test=rows.select([3])).save_to_disk(place)
        assert ids(Dataset.from_hf(str(place), split="test")) == [3]
        with pytest.raises(DatasetError, match="no split 'tset', but train, test"):
            Dataset.from_hf(str(place), split="tset")
    found = Dataset.from_hf(str(place))
    assert found.digest == Dataset.from_rows(ROWS).digest
    assert Dataset.from_hf(str(place)) == found
    assert [e.labels["function"] for e in cache.entries() if e.value["rows"] == 12] == [
        "motools.Dataset.from_hf"
    ]


def test_a_dataset_of_the_hub_is_pinned_or_refused(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="give revision="):
        Dataset.from_hf("nobody/nothing")
    code = (
        "from motools import Dataset; from motools.errors import DatasetError\n"
        "import sys\n"
        "for revision in sys.argv[1:]:\n"
        "    try: Dataset.from_hf('nobody/nothing', revision=revision)\n"
        "    except DatasetError as problem: print(problem)\n"
    )

    def said(*revisions: str, **settings: str) -> list[str]:
        """In a process of its own: the library reads these when it is imported."""
        env = {**os.environ, **settings, "HF_HOME": str(tmp_path / "hf")}
        command = [sys.executable, "-c", code, *revisions]
        return subprocess.check_output(command, env=env, cwd=tmp_path, text=True).splitlines()

    branch, commit = said("main", "a" * 40, HF_HUB_OFFLINE="1")
    [unreachable] = said("main", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    for answer in (branch, unreachable):
        assert "did not say which commit 'main' is" in answer and "give a commit" in answer
    assert "dataset 'nobody/nothing' at aaaaaaaaaaaa" in commit


def test_it_shows_itself_escaped() -> None:
    html = Dataset.from_rows([{"<b>": "<script>", "n": n} for n in range(7)])._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "<th>&lt;b&gt;</th>" in html
    assert "7 rows" in html and "and 2 more" in html


@pytest.mark.slow
def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path, line = tmp_path / "large.jsonl", json.dumps({"messages": ROWS[0], "text": "x" * 1000})
    with path.open("w") as stream:
        for n in range(190_000):
            stream.write(f'{{"id": {n}, {line[1:]}\n')
    assert path.stat().st_size > 200e6
    code = (
        "import resource, sys; from motools import Dataset\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before, dataset = peak(), Dataset.from_jsonl(sys.argv[1])\n"
        "drawn = dataset.identify().shuffle(0).to_jsonl(sys.argv[2])\n"
        "assert len(drawn) == len(dataset) == 190_000 and drawn[0] != dataset[0]\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "drawn.jsonl")]
    assert float(subprocess.check_output(command)) < 40
