"""What comes back from a stored result is what was returned."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import subprocess
import sys
import textwrap
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from motools.artifacts import Dataset, Model, RemoteRef
from motools.codecs import decode, encode
from motools.errors import ResultError


def again(value: Any, directory: Path) -> Any:
    """``value`` through JSON text and files, as the cache would take it."""
    directory.mkdir(parents=True, exist_ok=True)
    form = json.loads(json.dumps(encode(value, directory), allow_nan=False))
    files = {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*")
        if path.is_file()
    }
    return decode(form, files)


def same(one: Any, other: Any) -> bool:
    """Equality with types, NaN and signs of zero, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same([*one], [*other]) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and _same_bits(one, other)
    if dataclasses.is_dataclass(one):
        return same(
            [getattr(one, f.name) for f in dataclasses.fields(one)],
            [getattr(other, f.name) for f in dataclasses.fields(other)],
        )
    return bool(one == other)


def _same_bits(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Fit:
    weights: Any
    points: list[Point]
    checked: bool = dataclasses.field(init=False, default=False)

    def __post_init__(self) -> None:
        self.checked = len(self.points) > 0

    @cached_property
    def total(self) -> float:
        return sum(point.x for point in self.points)


class Colour(enum.Enum):
    RED = "red"


class Score(BaseModel):
    value: float
    when: dt.datetime
    colour: Colour = Colour.RED
    hidden: int = Field(default=3, exclude=True)
    named: dict[str, Any] = {}


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 0


class Guarded(BaseModel):
    token: SecretStr


class Private(BaseModel):
    _count: int = PrivateAttr(default=1)


text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
arrays = st.sampled_from(["<f4", ">i8", "|b1", "<U3", "<M8[ns]", "<c8"]).flatmap(
    lambda dtype: st.lists(st.integers(0, 9), max_size=4).map(
        lambda items: np.array(items).astype(dtype)
    )
)
values = st.recursive(
    scalars | arrays | st.builds(Point, x=st.floats(), tags=st.tuples(text)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(text | st.sampled_from(["@tuple", "@@", "$int"]), inner, max_size=3)
        | st.dictionaries(
            st.integers() | st.tuples(st.integers(), text) | st.booleans(), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(value=values)
def test_round_trip_is_exact(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert same(again(value, tmp_path_factory.mktemp("result")), value)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.1),
        np.int8(-3),
        np.str_(""),
        np.bytes_(b"a\0"),
        np.str_("é"),
        np.datetime64("2026-01-02"),
        np.True_,
    ],
)
def test_numpy_scalars_keep_their_type(value: Any, tmp_path: Path) -> None:
    back = again(value, tmp_path)
    assert type(back) is type(value) and back.dtype == value.dtype and back == value


def test_instances_keep_every_field(tmp_path: Path) -> None:
    fit = Fit(np.eye(2), [Point(math.nan, ("a",)), Point(-0.0)])
    assert fit.total != 0  # computed and cached on the instance: not part of it
    assert same(again(fit, tmp_path / "dataclass"), fit)
    score = Score(value=1, when=dt.datetime.now(dt.UTC), hidden=9, named={"a": (1,)})
    back = again({"s": [score]}, tmp_path / "pydantic")["s"][0]
    assert back == score and back.hidden == 9 and back.named == {"a": (1,)}
    assert back.model_fields_set == {"value", "when", "hidden", "named"}
    assert list(dict(back)) == list(dict(score))
    extra = again(Open(n=1, more=[1.5]), tmp_path / "extra")  # type: ignore[call-arg]
    assert extra == Open(n=1, more=[1.5])  # type: ignore[call-arg]
    assert extra.more == [1.5]
    many = Open(n=1, **dict.fromkeys("zyxwvutsabc", 1))  # type: ignore[arg-type]
    assert list(dict(again(many, tmp_path / "many"))) == ["n", *"zyxwvutsabc"]
    wide = Wide(**dict.fromkeys(Wide.model_fields, 1))
    assert again(wide, tmp_path / "wide").model_dump_json() == wide.model_dump_json()


class Wide(BaseModel):
    zeta: int
    alpha: int
    omega: int
    beta: int
    kappa: int
    gamma: int
    sigma: int
    delta: int


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, math.nan], "s": ["a", None], "t": pd.to_datetime(["2026"] * 2)},
        index=pd.Index(["u", "v"], name="row"),
    )
    pd.testing.assert_frame_equal(again(frame, tmp_path / "good"), frame)
    holidays = pd.bdate_range("2026", periods=3, freq=pd.offsets.CDay(holidays=["2026-01-02"]))
    for bad in (
        frame[["n"]].set_index(holidays[:2]),
        pd.DataFrame({"mixed": [1, "a"]}),
        pd.DataFrame({"lists": [[1], [2]]}),
        pd.DataFrame([[1, 2]], columns=["same", "same"]),
    ):
        with pytest.raises(ResultError, match=r"result\['f'\]: this data frame"):
            encode({"f": bad}, tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2026", periods=3),
        pd.date_range("2026-03-28", periods=50, freq="h", tz="Europe/Berlin"),
        pd.date_range("2026", periods=3, freq=pd.offsets.QuarterBegin(startingMonth=2)),
        pd.date_range("2026", periods=3, freq=pd.DateOffset(months=1, days=2)),
        pd.date_range("2026", periods=3, freq=pd.offsets.MonthEnd(normalize=True)),
        pd.date_range("2026", periods=0),
        pd.timedelta_range("1h", periods=3, freq="-90min"),
        pd.period_range("2026", periods=3, freq="M"),
        pd.DatetimeIndex(["2026-01-01", "2026-01-02", "2026-01-03"]),
    ],
)
def test_the_frequency_of_an_index_is_kept(index: pd.Index[Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": range(len(index))}, index=index)
    across = [frame.T] if type(index) is pd.DatetimeIndex and len(index) == 3 else []
    for number, one in enumerate([frame, frame[[]], *across]):
        back = again(one, tmp_path / str(number))
        pd.testing.assert_frame_equal(back, one)
        for axis, other in zip(back.axes, one.axes, strict=True):
            assert getattr(axis, "freq", None) == getattr(other, "freq", None)


def test_a_frame_without_a_frequency_is_stored_as_ever(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1]}, index=pd.Index([5]))
    assert encode(frame, tmp_path) == {"@frame": "result.parquet"}


def test_paths_are_copied_in_and_out(tmp_path: Path) -> None:
    made, store = tmp_path / "made", tmp_path / "store"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "run.sh").write_text("#!")
    (made / "sub" / "run.sh").chmod(0o755)
    (made / "one.txt").write_text("one")
    (made / "none" / "below").mkdir(parents=True)
    store.mkdir()
    (store / "inside.txt").write_text("inside")
    results = [made, made / "one.txt", made / "one.txt", store / "inside.txt"]
    directory, first, second, inside = again(results, store)
    assert (directory / "sub" / "run.sh").stat().st_mode & 0o100
    assert (directory / "none" / "below").is_dir()
    assert first.read_text() == second.read_text() == "one" and first.suffix == ".txt"
    assert inside.read_text() == "inside" and inside != store / "inside.txt"
    first.write_text("mine now")
    assert "mine now" not in {path.read_text() for path in store.rglob("*.txt")}


def test_a_directory_with_a_link_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "lost").symlink_to(made / "nowhere")
    (tmp_path / "store").mkdir()
    with pytest.raises(ResultError, match=r"result: .*lost in .*made cannot be copied: .*No such"):
        encode(made, tmp_path / "store")


def test_artifacts_are_kept_whole(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "hi"}]}]
    in_memory = Dataset.from_rows(rows)
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps(rows[0]))
    model = Model("tiny", key="ab" * 32, remote=RemoteRef("p", "s", "i"))
    found = again([in_memory, Dataset.from_jsonl(source), model], tmp_path / "store")
    source.write_text("{}")  # what was returned is kept, whatever becomes of its file
    assert found[0] == in_memory and found[2] == model
    assert found[1].digest == in_memory.digest and b"".join(found[1].lines()) == in_memory.data


def test_each_decoding_is_a_fresh_object(tmp_path: Path) -> None:
    form = encode({"list": [1], "array": np.zeros(2)}, tmp_path)
    files = {path.name: path for path in tmp_path.iterdir()}
    one = decode(form, files)
    one["list"].append(2)
    one["array"][0] = 5
    other = decode(form, files)
    assert other["list"] == [1] and other["array"][0] == 0


def test_large_values_stand_in_a_file(tmp_path: Path) -> None:
    value = {"rows": [[i, 1.0] for i in range(50_000)]}
    assert len(json.dumps(encode(value, tmp_path / "."))) < 100
    assert same(again(value, tmp_path / "again"), value)


@dataclasses.dataclass
class Loop:
    me: Any = None


def _loop() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


class Ints(int):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [0, 1, {2}]}, r"result\['a'\]\[2\]: set cannot be stored; return a sorted list"),
        (b"x", r"result: bytes cannot be stored"),
        (object(), r"result: object cannot be stored"),
        (lambda: 1, r"result: function cannot be stored"),
        (Colour.RED, r"result: .*Colour cannot be stored"),
        (Ints(3), r"result: .*Ints cannot be stored"),
        ((Point(x={1}),), r"result\[0\]\.x: set"),  # type: ignore[arg-type]
        ({b"k": 1}, r"result: key b'k' is bytes"),
        ([10**5000], r"result\[0\]: an integer of more than 4300 digits .*hex"),
        ({-(10**5000): 1}, r"result key: an integer of more than 4300 digits"),
        ("\ud800", r"lone surrogate"),
        (_loop(), r"nested deeper than 200"),
        (Path("/no/such/file"), r"result: /no/such/file does not exist"),
        (Path("/dev/null"), r"neither a file nor a directory"),
        (np.array([object()]), r"array of object cannot be stored"),
        (Guarded(token=SecretStr("s")), r"result\.token: pydantic.*SecretStr cannot be stored"),
        (Private(), r"private attributes '_count' would be lost"),
        (dataclasses.make_dataclass("Local", ["x"])(1), r"Local cannot be imported again"),
    ],
)
def test_other_types_are_refused_by_name(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=message):
        encode(value, tmp_path)


def test_undeclared_attributes_are_refused(tmp_path: Path) -> None:
    loop = Loop()
    loop.more = 1  # type: ignore[attr-defined]
    with pytest.raises(ResultError, match="'more' would be lost"):
        encode(loop, tmp_path)


def test_a_class_that_changed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = encode([Point(1.0), Open(n=1)], tmp_path)
    module = sys.modules[__name__]
    changed = dataclasses.make_dataclass("Point", ["x", "y"])
    monkeypatch.setattr(module, "Point", changed)
    with pytest.raises(ResultError, match=r"result\[0\]: the fields .*added 'y', removed 'tags'"):
        decode(form, {})
    monkeypatch.setattr(module, "Point", dict)
    with pytest.raises(ResultError, match="no longer a dataclass"):
        decode(form, {})
    monkeypatch.delattr(module, "Point")
    with pytest.raises(ResultError, match=r"result\[0\]: class .*:Point is gone"):
        decode(form, {})


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(ResultError, match="@quaternion is not known here"):
        decode({"@quaternion": [1, 2, 3, 4]}, {})


def test_classes_of_a_script_work_there_in_what_it_spawns_and_where_it_is_imported(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            from dataclasses import dataclass
            from pathlib import Path
            from motools.codecs import decode, encode

            @dataclass
            class Mine:
                x: int

            def form(_=None):
                form = encode([Mine(1)], Path.cwd())
                assert form == [{"@dataclass": ["script:Mine", {"x": 1}]}], form
                assert decode(form, {}) == [Mine(1)]
                assert decode([{"@dataclass": ["__mp_main__:Mine", {"x": 1}]}], {}) == [Mine(1)]
                return form

            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    assert pool.map(form, [1]) == [form()]
            """
        )
    )
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path)
    other = (
        "from motools.codecs import decode; import script; "
        'form = [{"@dataclass": ["script:Mine", {"x": 1}]}]; '
        "assert decode(form, {}) == [script.Mine(1)]"
    )
    subprocess.run([sys.executable, "-c", other], check=True, cwd=tmp_path)
