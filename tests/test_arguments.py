"""Arguments as canonical values: what differs differs, what is equal is equal."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import importlib.metadata
import importlib.util
import logging
import re
import subprocess
import sys
import tempfile
import threading
import timeit
import uuid
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import numpy as np
import pandas as pd
import pydantic
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motools import EvalConfig, source
from motools.arguments import bind, tagged
from motools.configs import Config
from motools.digest import canonical_json
from motools.errors import CanonicalError, ConfigError


class Colour(enum.Enum):
    RED = 1


class Text(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    ONE = 1


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


@dataclasses.dataclass(frozen=True)
class Left:
    x: Any = 1


@dataclasses.dataclass(frozen=True)
class Right:
    x: Any = 1


class Row(pydantic.BaseModel):
    x: Any = 1
    hidden: int = pydantic.Field(default=1, exclude=True)


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    x: float = 1.0


Pair = namedtuple("Pair", "a b")


class Handle:
    def __init__(self, digest: str) -> None:
        self.digest = digest

    def __motools_digest__(self) -> str:
        return self.digest


class Plain:
    def __init__(self, x: Any) -> None:
        self.x = x


class Alike:
    def __init__(self, x: Any) -> None:
        self.x = x

    def twice(self) -> Any:
        return 2 * self.x


class Node:
    def __init__(self, value: Any, near: Any = ()) -> None:
        self.value = value
        self.near = [*near]
        self.lock = threading.Lock()
        self.log = logging.getLogger("node")
        self.handlers = {"run": self.run, "again": functools.partial(self.run, 1)}

    def run(self, times: int = 1) -> Any:
        return times * self.value

    @functools.cached_property
    def total(self) -> Any:
        return self.value + len(self.near)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


class Table(dict[str, int]):
    pass


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


def key(value: Any) -> bytes:
    return canonical_json(tagged(value, "x"))


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


DIFFERENT: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 2**53, float(2**53), 1j, decimal.Decimal(1)),
    *("", "1", "a", "None", b"", b"1", b"a", bytearray(b"a"), "é", "e\u0301"),
    *([], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), [[1]], [(1,)], range(1)),
    *({"a": 1}, {"a": 1.0}, {1: "a"}, {"1": "a"}, {True: "a"}, {"$float": "0x1.0p+0"}),
    *({"$tuple": [1]}, {"$dict": []}, {"$$float": 1}, {"a": {"$float": "0x1.0p+0"}}),
    *(Colour.RED, Text.A, Level.ONE, Bits.ONE, Bits.ONE | Bits.TWO),
    *(
        Left(),
        Right(),
        Left(1.0),
        Left((1,)),
        Row(),
        Row(x=2),
        Row(hidden=2),
        Settings(),
        Pair(1, 2),
    ),
    *(
        Path("a"),
        Path("b"),
        uuid.UUID(int=1),
        re.compile("a"),
        re.compile("a", re.IGNORECASE),
        re.compile(b"a"),
    ),
    *(dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), dt.time(1), dt.timedelta(1)),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Etc/UTC")),
    *(Plain(1), Plain(1.0), Plain([1]), Plain(Plain(1)), Alike(1), Slotted(1), Slotted(2)),
    *(Table(), Table(a=1), Table(a=2), Counter("a"), Counter("aa")),
    *(OrderedDict(a=1), OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    *(defaultdict(list), defaultdict(int), defaultdict(list, a=[1]), defaultdict(None, a=[1])),
    *(Handle("a" * 64), Handle("b" * 64), "a" * 64),
    *(double, triple, Left, Right, len, functools.partial(double, 1), functools.partial(double, 2)),
    *(np.int64(1), np.int32(1), np.float64(1), np.float32(1), np.bool_(True)),
    *(np.array(1), np.array([1]), np.array([[1]]), np.array([1.0]), np.array([1], "<i4")),
    *(np.array([1], ">i8"), np.array([1, 2, 3, 4]), np.array([[1, 2], [3, 4]]), np.array(["a"])),
    *(np.dtype("f4"), np.dtype(">f4"), np.dtype("f8"), np.dtype(("f4", 2)), np.dtype(("f4", 3))),
    *(np.dtype([("a", "f4")]), np.dtype([("b", "f4")]), np.dtype("M8[s]"), np.dtype("M8[ms]")),
    *(torch.float16, torch.bfloat16, torch.device("cpu"), torch.device("cuda", 1)),
    *(np.array([[1, 3], [2, 4]]), np.array([(1, 2.0)], "i8,f8"), np.array([(1, 2.0)], "i8,f4")),
    *(pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01", tz="UTC"), pd.Timedelta(1)),
    *(frame(a=[1]), frame(b=[1]), frame(a=[1.0]), frame(a=["1"]), frame(a=[None]), frame(a=[1, 2])),
    *(frame(a=[1], b=[2]), frame(b=[2], a=[1]), frame(a=[1]).set_index(pd.Index([7]))),
    *(frame(a=["x", None]), frame(a=["x", "nan"]), frame(a=[(1,)]), frame(a=[[1]])),
    *(frame(a=pd.Categorical(["x"])), frame(a=pd.Categorical(["x"], ["x", "y"]))),
    *(frame(a=pd.array([1, None], "Int64")), frame(a=pd.array([1, 0], "Int64"))),
    *(pd.Series([1], name="a"), pd.Series([1], name="b"), pd.Index([1]), pd.Index(["1"])),
]


def test_no_two_different_values_share_a_key():
    seen: dict[bytes, Any] = {}
    for value in DIFFERENT:
        found = key(value)
        assert found not in seen, (value, seen.get(found))
        seen[found] = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: "a", (2,): "b"}, {(2,): "b", 1: "a"}),
        ({"x", "y", "z", 1, None}, {None, 1, "z", "y", "x"}),
        (np.asfortranarray([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]])),
        (np.arange(8)[::2], np.array([0, 2, 4, 6])),
        (frame(a=[1, 2]), pd.DataFrame({"a": [1, 2]}, index=[0, 1])),
        (Row(x=1), Row()),
        (functools.partial(double, 1), functools.partial(double, 1)),
        (Settings(1), Settings(1.0)),
        (Plain({"a": Slotted(1)}), Plain({"a": Slotted(1)})),
        (Table(a=1), Table(a=1)),
        (Counter("ab"), Counter("ba")),
        (OrderedDict(a=1), OrderedDict[str, int](a=1)),
        (Plain(OrderedDict(a=1)), Plain(OrderedDict(a=1))),
        (Plain(defaultdict(list, a=[1])), Plain(defaultdict(list, a=[1]))),
        (defaultdict(list, a=[1], b=[2]), defaultdict(list, b=[2], a=[1])),
    ],
)
def test_equal_values_have_one_key(one, other):
    assert key(one) == key(other)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.integers(2**53, 2**53 + 2),
    st.floats(-2, 2, width=16),
    st.sampled_from(
        ["", "1", "$float", "$tuple", "0x1.0000000000000p+0", Colour.RED, Text.A, b"1"]
    ),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(
            st.sampled_from(["a", "$float", "$tuple", "$dict", "$enum", 1, 1.5]), inner, max_size=2
        ),
        inner.map(Left),
    ),
    max_leaves=5,
)


def exact(value: Any) -> Any:
    """Equality that tells types and the signs of zeros."""
    if isinstance(value, dict):
        return dict, frozenset((exact(k), exact(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(exact, value))
    if isinstance(value, Left):
        return Left, exact(value.x)
    return type(value), repr(value)


@given(VALUES, VALUES)
def test_keys_are_equal_exactly_when_values_are(one, other):
    assert (key(one) == key(other)) == (exact(one) == exact(other))


def with_attribute(value: Any) -> Any:
    value.mode = "fast"
    return value


SELF_CONTAINING: list[Any] = []
SELF_CONTAINING.append(SELF_CONTAINING)


class Arbitrary:
    def __init__(self) -> None:
        self.lines = (line for line in ())


@pytest.mark.parametrize(
    ("make", "path", "words"),
    [
        (lambda: [1, float("nan")], "x[1]", "finite"),
        (lambda: Left({"a": float("inf")}), "x.x.a", "finite"),
        (lambda: decimal.Decimal("nan"), "x", "finite"),
        (lambda: np.float64("nan"), "x", "finite"),
        (lambda: np.array([object()]), "x", "pass a list"),
        (lambda: (i for i in ()), "x", "builtins.generator"),
        (lambda: sys.stdout, "x", "__motools_digest__"),
        (lambda: {"a": Arbitrary()}, "x.a", r"test_arguments\.Arbitrary .* unhashed"),
        (lambda: {"a": object()}, "x.a", "builtins.object"),
        (lambda: Plain(pydantic.SecretStr("hunter2")), "x", "Plain cannot .*never enter keys"),
        (lambda: Plain(float("nan")), "x", "not a finite number"),
        (lambda: with_attribute(Counter("a")), "x", "attributes besides its items"),
        (lambda: pydantic.SecretStr("hunter2"), "x", "secrets never enter keys"),
        (lambda: Row(x=pydantic.SecretBytes(b"hunter2")), "x.x", "secrets never enter keys"),
        (lambda: Left(pydantic.SecretStr("hunter2")), "x.x", "secrets never enter keys"),
        (lambda: SELF_CONTAINING, "x", "contains itself"),
        (lambda: frame(a=[Arbitrary()]), "x['a'][0]", "Arbitrary"),
    ],
)
def test_the_rest_is_refused_with_its_path(make, path, words):
    with pytest.raises(CanonicalError, match=words) as caught:
        key(make())
    assert caught.value.path.startswith(path) and len(str(caught.value)) < 400
    assert "hunter2" not in str(caught.value)


def test_bound_arguments_are_one_however_they_were_passed():
    def call(x, y=2, *rest, key=None, **more):
        raise AssertionError

    assert bind(call, (1,), {}) == bind(call, (), {"x": 1}) == bind(call, (1, 2), {"key": None})
    assert bind(call, (1,), {}) != bind(call, (1.0,), {})
    assert bind(call, (1, 2, 3), {}) != bind(call, (1, 2), {})
    assert bind(call, (1,), {"a": 1, "b": 2}) == bind(call, (1,), {"b": 2, "a": 1})
    assert bind(call, (1,), {"a": 1}) != bind(call, (1,), {"key": {"a": 1}})
    assert bind(call, (1,), {"y": object()}, unhashed=["y"]) == bind(call, (1,), {}, unhashed=["y"])
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        bind(call, (), {})
    with pytest.raises(CanonicalError) as caught:
        bind(call, ([1, {2: Arbitrary()}],), {})
    assert caught.value.path == "x[1][2]"
    with pytest.raises(ConfigError, match=r"'kee' of .*call: no such field; did you mean 'key'"):
        bind(call, (1,), {}, unhashed=["kee"])


def test_plain_arguments_cost_microseconds():
    def call(x, y=2, name="a"):
        raise AssertionError

    best = min(timeit.repeat(lambda: bind(call, (1,), {"y": "b"}), number=1000, repeat=20))
    assert best / 1000 < 10e-6


def test_nothing_is_imported_for_plain_arguments():
    code = (
        "import sys; from motools.arguments import bind;"
        "bind(lambda x: 0, ([1, {'a': (2.0,)}],), {});"
        "sys.exit(bool({'numpy', 'pandas', 'pydantic', 'motools.source'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_was_set_beside_the_fields_counts():
    @dataclasses.dataclass
    class Scaled:
        x: int
        by: dataclasses.InitVar[int] = 1

        def __post_init__(self, by: int) -> None:
            self._by = by

        @functools.cached_property
        def total(self) -> int:
            return self.x * self._by

    @attrs.define(slots=False)
    class Made:
        x: int = 1

    class Named(namedtuple("Named", "a")):
        pass

    asked, made, named = Scaled(1), Made(), Named(1)
    assert asked.total == 1
    made.mode, named.mode = "fast", "fast"
    assert key(Scaled(1)) == key(asked) != key(Scaled(1, 2))
    assert key(made) != key(Made())
    assert key(named) != key(Named(1))


def test_items_beside_the_fields_are_refused():
    @dataclasses.dataclass
    class Bag(list):
        x: int

    with pytest.raises(CanonicalError, match="items besides its fields"):
        key(Bag(1))


def test_the_task_of_an_evaluation_counts():
    configs = [
        EvalConfig(task="a.py"),
        EvalConfig(task="b.py"),
        EvalConfig(task="a.py", task_args={"x": 1}),
        EvalConfig(task="a.py", version="1"),
    ]
    assert len({key(config) for config in configs}) == 4


def test_the_source_of_a_config_of_one_s_own_counts():
    texts = [f"def scaled(self): return {n} * self.x" for n in (1, 2)]
    found = set()
    for text in texts:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "own.py"
            path.write_text(
                "import dataclasses\nfrom motools.configs import Config\n"
                f"@dataclasses.dataclass(frozen=True)\nclass Own(Config):\n x: int = 1\n {text}\n"
            )
            spec = importlib.util.spec_from_file_location("own", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules["own"] = module
            spec.loader.exec_module(module)
            found.add(key(module.Own()))
    assert len(found) == 2


def test_names_and_attributes_of_frames_count():
    plain, named, noted = frame(a=[1]), frame(a=[1]), frame(a=[1])
    named.columns.name = "metric"
    noted.attrs["unit"] = "m"
    days = pd.date_range("2026-01-01", periods=2)
    dated, listed = frame(a=[1, 2]).set_index(days), frame(a=[1, 2])
    listed.index = pd.DatetimeIndex(list(days))
    assert len({key(one) for one in (plain, named, noted, dated, listed)}) == 5


def ring(*values: Any) -> Node:
    nodes = [Node(value) for value in values]
    for node, near in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        node.near.append(near)
    return nodes[0]


def test_objects_may_lead_to_each_other():
    assert key(ring(1, 2, 3)) == key(ring(1, 2, 3))
    shared, alike = Node(1), (Node(2), Node(2))
    found = [ring(1, 2, 3), ring(1, 3, 2), ring(1, 2), Node(1), Node(1, [shared, shared])]
    found += [Node(1, [Node(1), Node(1)]), Node(1, alike), Node(1, alike[::-1] + alike)]
    assert len({key(each) for each in found}) == len(found)
    asked = Node(1)
    assert asked.total == 1
    assert key(asked) == key(Node(1))  # asking changes nothing
    chain = Node(0)
    for _ in range(2000):
        chain = Node(0, [chain])
    assert key(chain) == key(chain)


def test_the_class_of_an_object_is_described_once(monkeypatch):
    described: list[Any] = []
    walked = source._walked
    monkeypatch.setattr(source, "_walked", lambda obj: (described.append(obj), walked(obj))[1])
    source._KNOWN.pop(id(Plain), None)
    first = key([Plain(Plain(n)) for n in range(20)])
    assert described == [Plain]
    assert key([Plain(Plain(n)) for n in range(20)]) == first
    assert described == [Plain]


@pytest.mark.parametrize(
    ("name", "value"),
    [("twice", lambda self: 3 * self.x), ("unit", "m"), ("twice", property(lambda self: 1))],
)
def test_a_class_that_changes_meanwhile_is_described_anew(monkeypatch, name, value):
    before = key([Alike(1)])
    with monkeypatch.context() as changed:
        changed.setattr(Alike, name, value, raising=False)
        assert key([Alike(1)]) != before
    assert key([Alike(1)]) == before


def test_what_the_methods_of_an_object_reach_counts(monkeypatch):
    before = key(Reaching())
    monkeypatch.setitem(globals(), "REACHED", [2])
    now = key(Reaching())
    REACHED.append(3)
    assert len({before, now, key(Reaching())}) == 3


REACHED = [1]


class Reaching:
    def first(self) -> Any:
        return REACHED[0]


def test_what_a_bound_method_of_a_builtin_is_bound_to_counts():
    assert key({"a": 1}.get) != key({"a": 2}.get)
    assert key("a".join) != key("b".join) == key("b".join)
    assert key(dt.date.fromisoformat) != key(dt.datetime.fromisoformat)


def test_versions_that_count_as_the_same_hold_for_arguments():
    def ones(n):
        return np.ones(n)

    version = importlib.metadata.version("numpy")
    same = {"NumPy": [["1.0", version]]}
    assert bind(len, [ones], {}) != bind(len, [ones], {}, equivalent=same)
    assert bind(len, [1], {}) == bind(len, [1], {}, equivalent=same)
