"""Equal values have equal bytes, different ones different bytes, and the rest is refused."""

from __future__ import annotations

import json
import math
import struct

import pytest
import rfc8785
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from motools.digest import (
    canonical_json,
    hash_bytes,
    hash_chunks,
    hash_file,
    hash_private_file,
)
from motools.errors import CanonicalError

SMALL = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def trees(*leaves):
    return st.recursive(
        st.one_of(st.none(), st.booleans(), TEXT, *leaves),
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
        max_leaves=12,
    )


PLAIN = trees(SMALL, FLOATS)
# Keys and texts that a tag is made of, so that a forged tag is likely.
FORGED = st.recursive(
    st.integers(2**53, 2**53 + 3) | st.sampled_from(["9007199254740992", "$", 1, None]),
    lambda inner: (
        st.dictionaries(st.sampled_from(["$int", "$$int", "$$$int", "int", "$"]), inner, max_size=2)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=4,
)


def without_dollars(value):
    if isinstance(value, dict):
        return all(key[:1] != "$" and without_dollars(item) for key, item in value.items())
    return not isinstance(value, list) or all(map(without_dollars, value))


@given(PLAIN.filter(without_dollars))
def test_agrees_with_another_implementation(value):
    assert canonical_json(value) == rfc8785.dumps(value)


@given(FLOATS)
def test_numbers_agree_with_another_implementation_and_read_back(value):
    text = canonical_json(value)
    assert text == rfc8785.dumps(value)
    assert float(text) == value


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785, appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_of_the_standard(bits, text):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value).decode() == text


@given(FORGED, FORGED)
def test_different_values_have_different_bytes(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical_json(one) == canonical_json(other)) is same


@given(trees(st.integers(), FLOATS))
def test_is_text_that_any_reader_of_json_reads(value):
    assert canonical_json(json.loads(canonical_json(value))) is not None


@given(st.dictionaries(TEXT, SMALL))
def test_the_order_of_keys_does_not_count(value):
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_text_is_never_normalised():
    assert canonical_json("é") != canonical_json("e\u0301")


class Text(str):
    __slots__ = ()


SELF_CONTAINING: list = []
SELF_CONTAINING.append(SELF_CONTAINING)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, math.nan]}, "config.a[1]"),
        ({"a": {"b": math.inf}}, "config.a.b"),
        ([b""], "config[0]"),
        ({"a": {1}}, "config.a"),
        ({"a": {1: 2}}, "config.a"),
        ({"a": "\ud800"}, "config.a"),
        ({"a": {"\udfff": 1}}, "config.a"),
        ({"a": {"\udfff": 1, "é": 1}}, "config.a"),
        ([object()], "config[0]"),
        ([Text("a")], "config[0]"),
        ({"a": 10**5000}, "config.a"),
        (SELF_CONTAINING, "config"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_path(value, path):
    with pytest.raises(CanonicalError) as caught:
        canonical_json(value, "config")
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 17 << 20])
def test_every_way_to_hash_gives_one_digest(tmp_path, size):
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    path = tmp_path / "blob"
    path.write_bytes(data)
    chunks = (data[start : start + 70_000] for start in range(0, size, 70_000))
    found = {hash_bytes(data), hash_file(path), hash_private_file(path), hash_chunks(chunks)}
    assert {(digest.hex, digest.size) for digest in found} == {(blake3(data).hexdigest(), size)}
