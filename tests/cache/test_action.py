"""The key: every part counts, anyone can recompute it, and nothing else is in it."""

from __future__ import annotations

import json

import pytest
import rfc8785
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from motools.cache.action import Action, key_of, material
from motools.errors import CanonicalError

BASE = {
    "kind": "model",
    "inputs": {"dataset": "d" * 64},
    "config": {"rate": 0.1, "lora": {"rank": 8}},
    "backend": {"name": "local", "recipe": 1},
    "replicate": 0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "eval"},
        {"inputs": {"dataset": "e" * 64}},
        {"inputs": {"data": "d" * 64}},
        {"inputs": {}},
        {"config": {"rate": 0.2, "lora": {"rank": 8}}},
        {"config": {"rate": 0.1, "lora": {"rank": 9}}},
        {"config": {"rate": "0.1", "lora": {"rank": 8}}},
        {"config": {"rate": 0.1, "lora.rank": 8}},
        {"backend": {"name": "local", "recipe": 2}},
        {"backend": {"name": "other", "recipe": 1}},
        {"replicate": 1},
        # The same content in another place.
        {"inputs": BASE["config"], "config": BASE["inputs"]},
        {"config": BASE["backend"], "backend": BASE["config"]},
    ],
)
def test_every_part_is_in_the_key(change):
    assert Action(**{**BASE, **change}).key != Action(**BASE).key


def test_the_order_of_fields_is_not_in_the_key():
    turned = {"lora": {"rank": 8}, "rate": 0.1}
    assert Action(**{**BASE, "config": turned}).key == Action(**BASE).key


def test_anyone_can_recompute_the_key():
    action = Action(**BASE)
    parts = {"schema": "motools.action/1", **BASE}
    assert action.key == blake3(rfc8785.dumps(parts)).hexdigest()
    assert key_of(action.canonical) == key_of(action.canonical.decode()) == action.key
    assert material(action.canonical) == parts


@given(st.integers(0), st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers()))
def test_a_stored_action_has_the_key_it_was_stored_under(replicate, config):
    action = Action("function", config=config, replicate=replicate)
    assert key_of(action.canonical) == action.key
    assert json.loads(action.canonical)["kind"] == "function"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"kind": ""}, "kind"),
        ({"kind": 3}, "kind"),
        ({"replicate": -1}, "replicate"),
        ({"replicate": True}, "replicate"),
        ({"replicate": 1.0}, "replicate"),
        ({"config": {"rate": float("nan")}}, "config.rate"),
        ({"inputs": {"dataset": b""}}, "inputs.dataset"),
        ({"backend": {"scopes": [{1}]}}, "backend.scopes[0]"),
    ],
)
def test_what_has_no_canonical_form_has_no_key(change, path):
    with pytest.raises(CanonicalError) as caught:
        _ = Action(**{**BASE, **change}).key
    assert caught.value.path == path


def test_equal_actions_are_equal():
    assert Action(**BASE) == Action(**BASE)
    assert len({Action(**BASE), Action(**BASE), Action(**{**BASE, "replicate": 1})}) == 2
    assert Action(**BASE) != BASE
