"""Source digests of classes: what they kept from when they were made, and what their types lead to."""

# ruff: noqa: E501 - programs that fit on a line are easier to compare there
from __future__ import annotations

import pytest

from motools.source import describe
from tests.source.test_describe import load


@pytest.fixture
def digest_of(tmp_path):
    """The digest of ``f`` in a module of this text."""
    made = iter(range(100))

    def digest_of(text: str) -> str:
        name = f"classes{next(made)}"
        return describe(load(tmp_path / f"{name}.py", text, name).f).digest

    return digest_of


KEPT = [
    "class A:\n def m(self, a=V): return a\n",
    "class A:\n def m(self, *, a=V): return a\n",
    "class A:\n @staticmethod\n def m(a=V): return a\n",
    "class A:\n @classmethod\n def m(cls, a=[V]): return a\n",
    "class A:\n W = V\n def m(self, a=W): return a\n",
    "import functools\nclass A:\n def m(self, a): return a\n k = functools.partialmethod(m, V)\n",
    "class A: __k__ = V\n",
    "class A:\n class B: k = V\n",
    "import enum\nclass A(enum.Enum): B = V\n",
    "import enum\nclass A(enum.Enum): B = 'b', V\n",
    "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A: a: int = V\n",
    "import dataclasses\n@dataclasses.dataclass\nclass A: a: list = dataclasses.field(default_factory=lambda v=V: v)\n",
    "import dataclasses\n@dataclasses.dataclass\nclass A: a: int = dataclasses.field(metadata={'a': V})\n",
    "import attrs\n@attrs.define\nclass A: a: int = V\n",
    "import attrs\n@attrs.define\nclass A: a: int = attrs.field(default=V)\n",
    "import pydantic\nclass A(pydantic.BaseModel): a: int = V\n",
    "import pydantic\nclass A(pydantic.BaseModel): a: int = pydantic.Field(V)\n",
    "import pydantic\nclass A(pydantic.BaseModel): a: int = pydantic.Field(default=V)\n",
    "import pydantic\nclass A(pydantic.BaseModel): a: int = pydantic.Field(0, ge=V)\n",
    "import pydantic, typing\nclass A(pydantic.BaseModel): a: typing.Annotated[int, pydantic.Field(ge=V)]\n",
    "import pydantic\nclass A(pydantic.BaseModel): _a: int = V\n",
    "import pydantic\nclass A(pydantic.BaseModel): _a: int = pydantic.PrivateAttr(V)\n",
]


@pytest.mark.parametrize("text", KEPT)
def test_what_a_class_kept_of_a_global_is_in_the_digest(digest_of, text):
    # As in a notebook, where the global was bound anew and the class was not.
    one, other, now = (
        digest_of(f"V = {value}\n{text}V = 5\ndef f(): return A\n") for value in (1, 2, 5)
    )
    assert len({one, other, now}) == 3


def test_what_a_class_kept_is_named_among_the_parts(tmp_path):
    text = "V = {}\nclass A:\n def m(self, a=V): return a\nV = 5\ndef f(): return A\n"
    one, other, now = (
        describe(load(tmp_path / "kept.py", text.format(value), "kept").f).parts
        for value in (1, 22, 5)
    )
    assert {name for name in one if one[name] != other[name]} == {"kept.A.m(a)"}
    assert one.keys() - now.keys() == {"kept.A.m(a)"}


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n def m(self, a=(1, -2), *, b=None, c=[], d=V): return a\n",
        "import functools\nclass A:\n def m(self, a): return a\n k = functools.partialmethod(m, 2)\n",
        "class A:\n W = V\n def m(self, a=W): return a\n def __repr__(self): return ''\n __str__ = __repr__\n __hash__ = None\n",
        "import enum\nclass A(enum.IntFlag): B = enum.auto(); C = V; D = B | 2\n",
        "import enum\nclass A(enum.Enum):\n B = 1, 2\n def __new__(cls, a, b):\n  new = object.__new__(cls); new._value_ = a; new.b = b; return new\n",
        "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A:\n a: int = V\n b: list = dataclasses.field(default_factory=list, repr=False)\n c: int = dataclasses.field(default=V)\n",
        "import pydantic\nclass B(pydantic.BaseModel): pass\nclass A(pydantic.BaseModel):\n a: B = V\n b: list[B] = pydantic.Field([], description='b')\n",
    ],
)
def test_what_source_and_names_say_of_a_class_adds_nothing(tmp_path, monkeypatch, text):
    # A digest that was made before what classes keep was read stays as it was.
    text = "V = 5\n" + text + "def f(): return A\n"
    now = describe(load(tmp_path / "now.py", text, "now").f).digest
    monkeypatch.setattr("motools.source.classes.describe_kept", lambda *_: {})
    assert describe(load(tmp_path / "before.py", text, "before").f).digest == now


@pytest.mark.parametrize(
    "change",
    [
        "A.m.__defaults__ = (2,)",
        "A.__call__ = lambda self: 2",
        "A.B.k = 2",
        "A.B.m = lambda self: 2",
        "A._k_ = 2",
    ],
)
def test_what_was_put_on_a_class_is_in_the_digest(digest_of, change):
    text = "class A:\n def m(self, a=1): return a\n def __call__(self): return 1\n class B:\n  def m(self): return 1\n"
    assert digest_of(f"{text}def f(): return A") != digest_of(f"{text}{change}\ndef f(): return A")


@pytest.mark.parametrize(
    "descriptor",
    [
        "class D:\n def __init__(self, f): self.f = f; self.seen = {}\n def __get__(self, one, cls): return self.seen.setdefault(id(one), 1)\n",
        "class D:\n def __init__(self, f): self.f = f; self.calls = 0\n def __get__(self, one, cls): self.calls += 1; return 1\n",
        "import weakref\nclass D:\n def __init__(self, f): self.seen = weakref.WeakKeyDictionary()\n def __get__(self, one, cls): return self.seen.setdefault(one, 1)\n",
    ],
)
@pytest.mark.parametrize(
    "use", ["@D\n def d(self): return 1\n", "d = D(None)\n", "_d_ = d = D(None)\n"]
)
def test_what_a_descriptor_remembers_is_not_in_the_digest(tmp_path, descriptor, use):
    module = load(tmp_path / "use.py", f"{descriptor}class A:\n {use}def f(): return A\n", "use")
    before = describe(module.f).digest
    one = module.A()
    assert one.d == 1
    assert describe(module.f).digest == before


@pytest.mark.parametrize(
    "use", ["@D\n def d(self): return 1\n", "d = D(None)\n", "_d_ = D(None)\n"]
)
def test_the_class_of_a_descriptor_is_told_from_a_newer_one_of_its_name(digest_of, use):
    descriptor = (
        "class D:\n def __init__(self, f): self.f = f\n def __get__(self, one, cls): return {}\n"
    )
    text = f"{descriptor}class A:\n {use}{descriptor.format(3)}def f(): return A\n"
    assert digest_of(text.format(1)) != digest_of(text.format(2))


@pytest.mark.parametrize(
    "text",
    [
        "class A(pydantic.BaseModel): a: int = pydantic.Field(3, ge=1, metadata={'unit': UNIT})",
        "class A(pydantic.BaseModel): a: typing.Annotated[int, pydantic.Field(ge=1)] = pydantic.Field(3, metadata={'unit': UNIT})",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_field_of_pydantic_may_be_given_metadata(digest_of, text):
    program = f"import pydantic, typing\nUNIT = {{!r}}\n{text.replace('{', '{{').replace('}', '}}')}\ndef f(): return A\n"
    assert digest_of(program.format("s")) != digest_of(program.format("m"))


@pytest.mark.parametrize("annotation", ["B", "list[B]", "'B'", "'list[B] | None'", "G[B]"])
def test_the_type_that_a_field_has_is_told_from_a_newer_one_of_its_name(digest_of, annotation):
    text = (
        "import pydantic, typing\nT = typing.TypeVar('T')\n"
        "class G(pydantic.BaseModel, typing.Generic[T]): g: T\n"
        "class B(pydantic.BaseModel):\n def m(self): return {}\n"
        f"class A(pydantic.BaseModel): b: {annotation}\n"
        "class B(pydantic.BaseModel):\n def m(self): return 3\n"
        "def f(x): return A(b=x).b\n"
    )
    assert digest_of(text.format(1)) != digest_of(text.format(2))


def test_a_protocol_can_be_described(digest_of):
    text = "import typing\nclass A(typing.Protocol):\n def m(self) -> int: return {}\ndef f(x: A): return A"
    assert digest_of(text.format(1)) != digest_of(text.format(2))


def test_looking_at_a_model_does_not_rebuild_it(tmp_path):
    text = "from __future__ import annotations\nimport pydantic\nclass A(pydantic.BaseModel): b: B\nclass B(pydantic.BaseModel): n: int\ndef f(x): return A(**x).b"
    module = load(tmp_path / "forward.py", text, "forward")
    before = describe(module.f).digest
    assert not module.A.__pydantic_complete__
    module.A.model_rebuild()
    assert describe(module.f).digest == before


@pytest.mark.parametrize("annotation", ["'B'", "list['B']", "'list[B]'", "'B | None'"])
@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("make", "base"), [("", "(pydantic.BaseModel)"), ("@dataclasses.dataclass\n", "")]
)
def test_quoted_annotations_are_followed(digest_of, annotation, first, make, base):
    text = (
        f"{first}import dataclasses, pydantic\n"
        f"{make}class A{base}: b: {annotation}\n"
        f"{make}class B{base}:\n n: int\n def m(self): return {{}}\n"
        "def f(x): return pydantic.TypeAdapter(A).validate_python(x)\n"
    )
    assert digest_of(text.format(1)) != digest_of(text.format(2))


@pytest.mark.parametrize(
    "annotation", ["typing.Literal['B']", "typing.Annotated[int, 'B']", "'no expression'"]
)
def test_text_in_an_annotation_that_is_no_type_is_not_followed(digest_of, annotation):
    text = f"import dataclasses, typing\n@dataclasses.dataclass\nclass A: b: {annotation}\nB = {{}}\ndef f(): return A\n"
    assert digest_of(text.format(1)) == digest_of(text.format(2))


@pytest.mark.parametrize("body", ["n = n", "n: int = n", "m, n = n, 1", "if n: n = 2", "n += 1"])
def test_a_class_in_a_function_reads_the_global_that_it_hides(digest_of, body):
    text = f"n = {{}}\ndef f():\n class A:\n  {body}\n return A\n"
    assert digest_of(text.format(1)) != digest_of(text.format(2))


def test_what_the_body_of_a_class_has_bound_is_no_global(digest_of):
    text = "n = {}\ndef f():\n class A:\n  n = 1\n  m = n\n  def k(self): return 1\n return A\n"
    assert digest_of(text.format(1)) == digest_of(text.format(2))


@pytest.mark.parametrize(
    "annotation", ["dict[str, 'B']", "tuple['B', ...]", "Callable[['B'], int]"]
)
def test_the_order_in_which_things_are_described_changes_nothing(tmp_path, annotation):
    text = (
        "from collections.abc import Callable\nfrom pydantic import BaseModel\n"
        "class B(BaseModel): y: int = 1\n"
        f"class A(BaseModel, arbitrary_types_allowed=True): x: {annotation} = None\n"
        "def f(): return A\n"
    )
    found = []
    for number, names in enumerate(("AfA", "fAf")):
        module = load(tmp_path / f"ordered{number}.py", text, "ordered")
        digests = [describe(getattr(module, name)).digest for name in names]
        assert digests[0] == digests[2]
        found.append(dict(zip(names, digests, strict=True)))
    assert found[0] == found[1]


@pytest.mark.parametrize("slots", ["('__v',)", "iter(('v',))", "'__v'"])
def test_what_is_in_slots_is_state(tmp_path, slots):
    name = "v" if "iter" in slots else "__v"
    text = (
        f"class P:\n __slots__ = {slots}\n def __init__(self, v): self.{name} = v\n"
        "class Q(P): pass\nONE, TWO, SUB = P(1), P(2), Q(1)\nOTHER = Q(2)\n"
    )
    module = load(tmp_path / "slotted.py", text, "slotted")
    digests = {describe(getattr(module, each)).digest for each in ("ONE", "TWO", "SUB", "OTHER")}
    assert len(digests) == 4
