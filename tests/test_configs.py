"""Typed configs: one value, one form; another type is an error that names the field."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from motools.configs import Config, coerce, option
from motools.digest import canonical_json
from motools.errors import ConfigError


class Schedule(enum.StrEnum):
    LINEAR = "linear"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Lora(Config):
    rank: int = 16


@dataclasses.dataclass(frozen=True)
class Dora(Config):
    rank: int = 16


@dataclasses.dataclass(frozen=True)
class Train(Config):
    base: str
    rate: float = 1e-4
    batch: int = 8
    packed: bool = False
    adapter: Lora | Dora | None = None
    targets: tuple[str, ...] = option(["q", "v"])
    trainer: dict[str, Any] = option({})
    steps: int | float | None = None
    added: bool = option(True, absent=False)
    note: str = option("", hashed=False)


def key(config: Config) -> bytes:
    return canonical_json(config.resolved())


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, 1.0),
        (1.0, float, 1.0),
        (-0.0, float, 0.0),
        (4.0, int, 4),
        (Level.LOW, int, 1),
        (True, bool, True),
        ("x", str, "x"),
        (Schedule.LINEAR, str, "linear"),
        ("linear", Schedule, Schedule.LINEAR),
        (Schedule.LINEAR, Schedule, Schedule.LINEAR),
        (1, Literal[1, "a", True], 1),
        (True, Literal[1, "a", True], True),
        (None, int | float | None, None),
        (1, int | float | None, 1),
        (1.0, int | float | None, 1.0),
        (1.0, int | str, 1),
        ("a", tuple[str, ...] | str, "a"),
        (["a"], tuple[str, ...] | str, ("a",)),
        ([1.0, "a"], tuple[int, str], (1, "a")),
        ([], tuple[int, ...], ()),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"rank": 4.0}, Lora | None, Lora(4)),
        ({"a": (1, {"b": -0.0})}, Any, {"a": [1, {"b": 0.0}]}),
    ],
)
def test_coerces_to_the_declared_type(value, hint, expected):
    found = coerce(value, hint, "field")
    assert found == expected
    assert repr(found) == repr(expected)
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        ("1e-4", float, "'1e-4' is str, not float"),
        (True, float, "True is bool, not float"),
        (True, int, "True is bool, not int"),
        (1.5, int, "1.5 is float, not int"),
        (1, bool, "1 is int, not bool"),
        (1, str, "1 is int, not str"),
        (math.nan, float, "not a finite number"),
        (math.inf, int, "not a finite number"),
        (10**400, float, "not a finite number"),
        (2**53 + 1, float, "cannot be held exactly"),
        (math.nan, int | float, "field: nan"),
        (math.nan, Any, "not a finite number"),
        ("square", Schedule, "not one of 'linear'"),
        (True, Level, "not one of 1"),
        (True, Literal[1], "True is not one of 1"),
        ("ab", tuple[str, ...], "'ab' is not a list"),
        ([1], tuple[int, str], "1 items, not 2"),
        ({1: 2}, dict[str, int], "key 1 is int, not str"),
        ("x", int | float, "not int; or field: 'x' is str, not float"),
        ([1, "2"], tuple[int, ...], r"field\[1\]: '2' is str"),
    ],
)
def test_another_type_is_an_error_that_says_which(value, hint, words):
    with pytest.raises(ConfigError, match=words) as caught:
        coerce(value, hint, "field")
    assert str(caught.value).startswith("field")


def test_one_learning_rate_is_one_key():
    assert key(Train("tiny", rate=1)) == key(Train("tiny", rate=1.0))
    assert key(Train("tiny", rate=1)) == key(Train.from_mapping({"base": "tiny", "rate": 1}))


def test_a_wrong_name_gets_the_nearest_one():
    with pytest.raises(ConfigError, match=r"Train\.ratee: no such field; did you mean 'rate'"):
        Train.from_mapping({"base": "tiny", "ratee": 1})
    with pytest.raises(ConfigError, match=r"Lora\.rnak"):
        Train.from_mapping({"base": "tiny", "adapter": {"rnak": 1}})
    with pytest.raises(ConfigError, match=r"Train: missing base"):
        Train.from_mapping({})
    with pytest.raises(ConfigError, match=r"Train\.1: no such field"):
        Train.from_mapping({1: 2})


CHANGES: list[dict[str, Any]] = [
    {"base": "other"},
    {"rate": 2e-4},
    {"batch": 9},
    {"packed": True},
    {"adapter": Lora()},
    {"adapter": Dora()},
    {"adapter": Lora(17)},
    {"targets": ["q"]},
    {"targets": ["v", "q"]},
    {"trainer": {"warmup": 1}},
    {"trainer": {"warmup": 1.0}},
    {"trainer": {"warmup": {"$float": "1"}}},
    {"trainer": {"warmup": "1"}},
    {"trainer": {"warmup": True}},
    {"steps": 1},
    {"steps": 1.0},
    {"added": False},
]


def test_every_field_is_in_the_key_and_no_two_values_share_one():
    keys = {key(Train("tiny").replace(**changes)) for changes in [{}, *CHANGES]}
    assert len(keys) == 1 + len(CHANGES)


def test_what_cannot_change_the_result_is_not_in_the_key():
    assert key(Train("tiny", note="a")) == key(Train("tiny", note="b"))


def test_a_field_added_later_is_left_out_at_its_absent_value():
    assert "added" not in Train("tiny", added=False).resolved()
    assert Train("tiny").resolved()["added"] is True

    fields = [("extra", Any, option(None, absent=False))]
    Untyped = dataclasses.make_dataclass("Untyped", fields, bases=(Config,), frozen=True)
    assert "extra" in Untyped(0).resolved()
    assert "extra" not in Untyped(False).resolved()


def test_changed_names_only_what_differs_from_the_defaults():
    assert Train("tiny", rate=1e-4, targets=["q", "v"]).changed() == {"base": "tiny"}  # type: ignore[arg-type]
    assert Train("tiny", batch=9).changed() == {"base": "tiny", "batch": 9}


def test_a_config_keeps_no_hold_on_what_it_was_made_from():
    trainer = {"a": {"b": [1]}}
    config = Train("tiny", trainer=trainer)
    before = key(config)
    trainer["a"]["b"].append(2)
    assert key(config) == before


@pytest.mark.parametrize("hint", [SecretStr, SecretStr | None, list[int], Callable[[], None]])
def test_a_hashed_field_of_a_type_that_no_key_can_hold_is_refused(hint):
    cls = dataclasses.make_dataclass("Keyed", [("token", hint, None)], bases=(Config,), frozen=True)
    with pytest.raises(ConfigError, match=r"Keyed\.token: .* option\(hashed=False\)"):
        cls()
    fields = [("token", hint, option(None, hashed=False))]
    unhashed = dataclasses.make_dataclass("Unhashed", fields, bases=(Config,), frozen=True)
    secret = SecretStr("never in a key")
    if hint is SecretStr:
        assert unhashed(secret).resolved() == {}
        assert unhashed(secret).token is secret


def test_a_secret_in_an_untyped_field_is_refused_without_being_shown():
    config = Train("tiny", trainer={"token": SecretStr("hunter2")})
    with pytest.raises(ConfigError, match=r"Train\.trainer\.token: SecretStr") as caught:
        config.resolved()
    assert "hunter2" not in str(caught.value)
