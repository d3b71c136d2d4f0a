"""Source digests in a notebook whose cells are edited and run again."""

# ruff: noqa: E501 - programs that fit on a line are easier to compare there
from __future__ import annotations

import linecache
import sys
import types

import pytest

from motools.errors import SourceError
from motools.source import describe

FIRST = "import dataclasses, enum, typing, attrs, pydantic\nfrom pydantic import Field\ndef f(): return A\nV = 1"


@pytest.fixture
def notebook(monkeypatch):
    """Starts a notebook; what it returns runs a cell, and gives the digest of ``f`` after it."""
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))

    def notebook():
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        for name in [name for name in linecache.cache if name.startswith("<ipython-input-")]:
            del linecache.cache[name]
        cells: list[str] = []

        def run(text: str) -> str | None:
            if text not in cells:  # a cell that runs again keeps its name
                cells.append(text)
            name = f"<ipython-input-{cells.index(text)}-test>"
            linecache.cache[name] = (len(text), None, text.splitlines(True), name)
            exec(compile(text, name, "exec", dont_inherit=True), vars(main))
            return describe(main.f).digest if hasattr(main, "A") else None

        run(FIRST)
        return run

    return notebook


def dataclass(text: str) -> str:
    return f"@dataclasses.dataclass\nclass A:\n {text}\n"


def model(text: str) -> str:
    return f"class A(pydantic.BaseModel):\n {text}\n"


def member(text: str, base: str = "enum.Enum") -> str:
    return f"class A({base}):\n {text}\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dataclass("a: int = 1"), dataclass("a: int = 2")),
        (dataclass("a: int = 1"), dataclass("a: float = 1")),
        (dataclass("a: int = 1"), dataclass("a: int = 1; b: int = V")),
        (dataclass("a: int"), dataclass("a: int = 1")),
        (dataclass("a: int; b: str"), dataclass("b: str; a: int")),
        (dataclass("a: list[int]"), dataclass("a: list[str] | None")),
        (dataclass("a: int = dataclasses.field(default=1)"), dataclass("a: int = dataclasses.field(default=2)")),
        (dataclass("a: int = 1"), dataclass("'''Doc.'''\n a: int = 1")),
        (dataclass("a: int = 1"), dataclass("a: int = 1").replace("dataclass\n", "dataclass(frozen=True)\n")),
        (dataclass("a: int = 1"), dataclass("a: int = 1").replace("dataclass\n", "dataclass(slots=True)\n")),
        (dataclass("a: int = 1"), "from __future__ import annotations\n" + dataclass("a: float = 1")),
        (model("a: int = 1"), model("a: int = 2")),
        (model("a: int = Field(1, gt=0)"), model("a: int = Field(2, gt=0)")),
        (model("a: int"), model("a: int = 1")),
        (model("a: 'int' = 1"), model("a: 'float' = 1")),
        (model("a: int; _b: int = 1"), model("a: int; _b: int = 2")),
        (model("a: int = 1"), dataclass("a: int = 1")),
        (member("B = 1"), member("B = 2")),
        (member("B = 1"), member("B = 1; C = 2")),
        (member("B = 1"), member("B = 1", "enum.IntEnum")),
        (member("B = 1; C = 2"), member("C = 2; B = 1")),
        ("@attrs.define\nclass A: a: int = 1\n", "@attrs.define\nclass A: a: int = 2\n"),
        ("class A: a = 1\n", "class A: a = 1; b = 2\n"),
        ("class A: a = 1\n", "class A:\n a = 1\n def m(self): return 1\n"),
        ("class A(typing.NamedTuple): a: int = 1\n", "class A(typing.NamedTuple): a: int = 2\n"),
    ],
)  # fmt: skip
def test_of_several_cells_the_one_that_made_a_class_is_found(notebook, one, other):
    fresh = {text: notebook()(text) for text in (one, other)}
    assert fresh[one] != fresh[other]
    run = notebook()
    assert run(one) == fresh[one]
    assert run(other) == fresh[other]
    assert run(one) == fresh[one]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dataclass("a: int = V + 1"), dataclass("a: int = V + 2")),
        (member("B = 1.0", "float, enum.Enum"), member("B = 1", "float, enum.Enum")),
    ],
)
def test_cells_that_cannot_be_told_apart_are_refused(notebook, one, other):
    run = notebook()
    run(one)
    with pytest.raises(SourceError, match=r"several cells define it.*Restart.*version="):
        run(other)
    assert run(f"{other} def m(self): return 1\n")


def test_a_class_that_runs_again_unchanged_is_no_other(notebook):
    run = notebook()
    assert run(dataclass("a: int = V + 1")) == run(dataclass("a: int  =  V + 1  # the same"))
