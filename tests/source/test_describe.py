"""Source digests: the same for the same meaning, another for another, an error when unsure."""

# ruff: noqa: E501 - programs that fit on a line are easier to compare there
from __future__ import annotations

import functools
import importlib.util
import linecache
import subprocess
import sys
import textwrap
import timeit
import types
from importlib import metadata
from itertools import count
from pathlib import Path

import pytest

from motools.errors import SourceError
from motools.source import Text, describe

_NUMBER = count()

HELPERS = '''
"""Helpers."""
import dataclasses, enum, functools

LIMIT = 10
TABLE = {"a": [1, 2]}
UNUSED = 1

class Colour(enum.Enum):
    RED = "red"

class Base:
    def size(self):
        return LIMIT

@dataclasses.dataclass
class Row(Base):
    """A row."""
    text: str = "x"

    def double(self):
        return 2 * self.size()

def decorate(times):
    def wrap(function):
        @functools.wraps(function)
        def inner(*args):
            return function(*args) * times
        return inner
    return wrap

def clean(text, fill="-"):
    """Cleans."""
    return text.strip() or fill  # of blanks

def unused():
    return 1
'''

TASKS = '''
"""Tasks."""
import json
import helpers
from helpers import clean as tidy, decorate

@decorate(3)
def loud(text):
    return text.upper()

def make(level):
    def run(text, *, scale=2):
        """Runs.

        Twice.
        """
        from helpers import Row as R
        row = R(tidy(text))
        return [json.dumps(row.double()), loud(text), helpers.Colour.RED,
                helpers.TABLE["a"], level * scale, f"{text!r:>{scale}}"]
    return run

run = make(1)
'''


def load(path: Path, text: str, name: str) -> types.ModuleType:
    path.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest of ``tasks.run`` after some changes of text to tasks and helpers."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def digest_of(*changes: tuple[str, str]) -> str:
        texts = {"helpers": HELPERS, "tasks": TASKS}
        for old, new in changes:
            assert any(old in text for text in texts.values()), old
            texts = {name: text.replace(old, new) for name, text in texts.items()}
        place = tmp_path / str(next(_NUMBER))
        place.mkdir()
        for name in texts:
            monkeypatch.delitem(sys.modules, name, raising=False)
        load(place / "helpers.py", texts["helpers"], "helpers")
        return describe(load(place / "tasks.py", texts["tasks"], "tasks").run).digest

    return digest_of


@pytest.mark.parametrize(
    "change",
    [
        ("  # of blanks", ""),
        ("def clean", "# comment\n\n\ndef clean"),
        ('return text.strip() or fill', 'return (\n        text.strip( )  or fill\n    )'),
        ("LIMIT = 10", "LIMIT = 0xA"),
        ("LIMIT = 10", "LIMIT = 5 + 5  # the value counts"),
        ('"x"', "'x'"),
        ('f"{text!r:>{scale}}"', 'f\'{ text !r:>{ scale }}\',\n'),
        ("level * scale", "level * \\\n scale"),
        ("    def run", "    # why\n    def run"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("def unused():\n    return 1", "def unused():\n    return 2"),
        ('"""Helpers."""', '"""Other."""'),
        ("import json\n", "import json\nimport os\n"),
    ],
)  # fmt: skip
def test_what_is_cosmetic_is_not_in_the_digest(digest_of, change):
    assert digest_of(change) == digest_of()


def test_the_width_of_indentation_is_not_in_the_digest(digest_of):
    narrow = [(line, line.replace("    ", "  ")) for line in TASKS.splitlines() if "    " in line]
    assert digest_of(*sorted(narrow, key=lambda change: -len(change[0]))) == digest_of()


@pytest.mark.parametrize(
    "change",
    [
        ("text.strip() or fill", "text.strip() and fill"),
        ('fill="-"', 'fill="_"'),
        ('"""Cleans."""', '"""Tidies."""'),
        ('"""Cleans."""\n', "\n"),
        ("LIMIT = 10", "LIMIT = 11"),
        ("LIMIT = 10", "LIMIT = 10.0"),
        ("[1, 2]", "[1, 3]"),
        ('"red"', '"blue"'),
        ("return LIMIT", "return LIMIT + 0"),
        ("2 * self.size()", "3 * self.size()"),
        ('"""A row."""', '"""One row."""'),
        ('text: str = "x"', 'text: str = "y"'),
        ("function(*args) * times", "times * function(*args)"),
        ("@decorate(3)", "@decorate(4)"),
        ("@decorate(3)\n", ""),
        ("text.upper()", "text.lower()"),
        ("scale=2", "scale=3"),
        ("scale=2", "scale=2.0"),
        ("make(1)", "make(2)"),
        ("make(1)", "make(True)"),
        ("Twice.", "Once."),
        ("!r:>", "!s:>"),
        ("json.dumps", "json.loads"),
        ("import json", "import pickle as json"),
        ("import clean as tidy", "import unused as tidy"),
        ("@dataclasses.dataclass\n", "@dataclasses.dataclass(order=True)\n"),
    ],
)
def test_what_can_change_the_result_is_in_the_digest(digest_of, change):
    assert digest_of(change) != digest_of()


def test_a_miss_can_be_explained_by_naming_what_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    one = describe(load(tmp_path / "a.py", "K = 1\ndef g(): return K\ndef f(): return g()", "a").f)
    two = describe(load(tmp_path / "a.py", "K = 2\ndef g(): return K\ndef f(): return g()", "a").f)
    assert set(one.parts) == {"a.f", "a.g", "a.K"}
    assert [name for name in one.parts if one.parts[name] != two.parts[name]] == ["a.K"]


def test_two_helpers_that_trade_places_make_another_digest(tmp_path):
    text = "def make(x):\n    def h(): return x\n    return h\na, b = make({}), make({})\ndef f(): return a() - b()"
    one = load(tmp_path / "one.py", text.format(1, 2), "one")
    two = load(tmp_path / "two.py", text.format(2, 1), "two")
    same = load(tmp_path / "same.py", text.format(1, 2), "same")
    assert describe(one.f).digest != describe(two.f).digest
    assert describe(one.f).digest == describe(same.f).digest


def test_globals_that_change_meanwhile_are_seen(tmp_path):
    module = load(
        tmp_path / "live.py",
        "N = 1\nD = {'a': []}\ndef g(): return N\ndef f(x=1): return g(), D, len(x)",
        "live",
    )
    before = describe(module.f).digest
    changes = [
        (module, "N", 2),
        (module, "D", {"a": [1]}),
        (module, "g", lambda: 3),
        (module, "len", lambda x: 4),
        (module.f, "__defaults__", (2,)),
    ]
    for owner, name, value in changes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, value, raising=False)
            assert describe(module.f).digest != before, name
        assert describe(module.f).digest == before, name
    module.D["a"].append(1)
    assert describe(module.f).digest != before


@pytest.mark.parametrize(
    "text",
    [
        "class A: pass\na = A(); a.n = 1\ndef f(): return a.n\ndef change(): a.n = 2",
        "class A: pass\na = A()\ndef f(): return vars(a)\ndef change(): a.n = 2",
        "class A: __slots__ = ('n',)\na = A(); a.n = 1\ndef f(): return a.n\ndef change(): a.n = 2",
        "class A: items = []\ndef f(): return len(A.items)\ndef change(): A.items.append(1)",
        "class A: n = 1\ndef f(): return A.n\ndef change(): A.n = 2",
        "class A:\n def m(self): return 1\ndef f(): return A().m()\ndef change(): A.m = lambda self: 2",
        "def f(): return f.scale\nf.scale = 1\ndef change(): f.scale = 2",
        "def make():\n n = 1\n def f(): return n\n def change():\n  nonlocal n\n  n = 2\n return f, change\nf, change = make()",
        "def f(x, seen=[]): return len(seen)\ndef change(): f.__defaults__[0].append(1)",
        "import functools\n@functools.singledispatch\ndef g(x): pass\ndef f(x): return g(x)\ndef change(): g.register(int, lambda x: 1)",
        "import dataclasses\n@dataclasses.dataclass\nclass A: n: int = 1\na = A()\ndef f(): return a.n\ndef change(): a.n = 2",
    ],
)
def test_state_that_changes_meanwhile_is_seen(tmp_path, text):
    module = load(tmp_path / "state.py", text, "state")
    before = describe(module.f).digest
    assert describe(module.f).digest == before
    module.change()
    assert describe(module.f).digest != before


def test_either_branch_of_an_import_counts(tmp_path, monkeypatch):
    text = "def f(x):\n    if x:\n        from one import h\n    else:\n        from two import h\n    return h()"
    found = set()
    for one, two in ((1, 2), (3, 2), (1, 3), (2, 1)):
        load(tmp_path / "one.py", f"def h(): return {one}", "one")
        load(tmp_path / "two.py", f"def h(): return {two}", "two")
        found.add(describe(load(tmp_path / "either.py", text, "either").f).digest)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("C = {}\ndef f(x): C[x] = 1", 2, "changes C, which outlives the call"),
        ("C = []\ndef f(x): C.append(x)", 2, "changes C"),
        ("C = {}\ndef g(x):\n    C['a']['b'] = x\ndef f(x): g(x)", 3, r"\.g .*changes C"),
        ("C = set()\ndef f(x):\n    def g(): C.add(x)\n    g()", 3, "changes C"),
        ("N = 0\ndef f():\n    global N\n    N += 1", 4, "changes N"),
        ("def f(): f.calls = 1", 1, "changes f"),
        ("class S: n = 0\ndef f(): S.n += 1", 2, "changes S"),
        ("class S: n = 0\ndef f(): setattr(S, 'n', 1)", 2, "changes S"),
        ("def f(x, n): return getattr(x, n)", 1, "getattr"),
        ("def f(x): return map(getattr, x)", 1, "getattr"),
        ("def f(): return globals()['x']", 1, "globals"),
        ("def f(x): return eval(x)", 1, "eval"),
        ("def f(x): exec(x)", 1, "exec"),
        ("def f(x): return __import__(x)", 1, "__import__"),
        ("import importlib\ndef f(x): return importlib.import_module(x)", 2, "named at run time"),
        ("def f(x):\n    from importlib import import_module as i\n    return i(x)", 3, "named at"),
        ("def f(p): return open(p).read()", 1, "reads a file"),
        ("def f(p): return open(p, 'r+')", 1, "reads a file"),
        ("def f(p, m): return open(p, m)", 1, "reads a file"),
        ("def f(p): return p.read_text()", 1, "reads a file"),
        ("from pathlib import Path\ndef f(p): return Path(p).open().read()", 2, "reads a file"),
        ("import gzip\ndef f(p): return gzip.open(p)", 2, "reads a file"),
        ("import numpy as np\ndef f(p): return np.load(p)", 2, "reads a file"),
        ("def f(p):\n    import pandas as pd\n    return pd.read_csv(p)", 3, "reads a file"),
        ("import os\ndef f(): return os.environ['A']", 2, "environment"),
        ("import os\ndef f(): return os.environ.get('A')", 2, "environment"),
        ("from os import environ\ndef f(): return environ['A']", 2, "environment"),
        ("from os import getenv as g\ndef f(): return g('A')", 2, "environment"),
        ("import sys\ndef f(): return sys.argv", 2, "environment"),
        ("def f(): return __file__", 1, "__file__"),
        ("import random\nR = random.Random(0)\ndef f(): return R.random()", 0, "state"),
        ("def f(x=object): pass\nf.__defaults__ = ((i for i in ()),)", 0, "cannot be read"),
        ("X = float('nan')\ndef f(): return X", 0, "finite"),
        ("f = eval('lambda: 1')", 0, "out of reach"),
        ("import collections\nf = type('Made', (), {})", 0, "out of reach"),
        (
            "import dataclasses as d\nA = d.make_dataclass('A', [('x', int, 1)])\ndef f(): return A()",
            0,
            "out of reach",
        ),
    ],
)
def test_what_source_does_not_pin_is_refused(tmp_path, text, line, words):
    path = tmp_path / "unsure.py"
    module = load(path, text, "unsure")
    with pytest.raises(SourceError, match=words) as caught:
        describe(module.f)
    assert "version=" in str(caught.value)
    if line:
        assert f"unsure.py:{line})" in str(caught.value)
    assert describe(module.f, version="1").digest != describe(module.f, version="2").digest


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): return getattr(x, 'name', None)",
        "def f(p): open(p, 'w').write('x')",
        "def f(p): p.write_text('x'); p.open('wb').close()",
        "def f(x): x.append(1); x['a'] = 1; x.b = 2; return x",
        "def f(x):\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    g()\n    return n",
        "C = {}\ndef f(x):\n    C = {}\n    C[x] = 1\n    return C",
        "import logging, threading\nL = logging.getLogger('x'); K = threading.Lock()\n"
        "def f():\n    with K: L.info('x')",
        "M = object()\ndef f(x=M): return x is M",
        "def f(): return not_defined_yet()",
        "def f(x: 'Missing') -> Missing: return x",
        "def f():\n    try:\n        import not_installed_at_all as m\n    except ImportError:\n        m = None\n    return m",
        "import os\ndef f(p): return os.path.join(p, os.sep)",
        "from typing import TypeVar, Optional\nT = TypeVar('T')\nA = Optional[list[int]]\n"
        "def f(x: A) -> T: return A",
        "import operator\nG = operator.itemgetter(1)\ndef f(x): return G(x)",
        "import functools\n@functools.singledispatch\ndef f(x): return 1\n@f.register\ndef _(x: int): return 2",
        "import contextlib\n@contextlib.contextmanager\ndef g(): yield\ndef f():\n    with g(): pass",
        "class A:\n    def __init__(self): self.n = 1\n    def __call__(self): return self.n\nf = A()",
        "class A:\n    __slots__ = ('n',)\n    def m(self): return self.n\na = A(); a.n = 1; f = a.m",
        "def make():\n    class A:\n        def m(self): return super().__init__()\n    return A\nf = make()",
    ],
)  # fmt: skip
def test_what_source_pins_is_described(tmp_path, text):
    text = "from __future__ import annotations\n" + text
    one = describe(load(tmp_path / "one.py", text, "one").f)
    two = describe(load(tmp_path / "two.py", text, "two").f)
    assert one.digest == two.digest
    assert one.packages == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x): return 1", "def f(x): return 2"),
        ("class A:\n def __call__(self): return self.n\nf = A(); f.n = 1", "class A:\n def __call__(self): return self.n\nf = A(); f.n = 2"),
        ("import functools as t\ndef g(x): pass\nf = t.partial(g, 1)", "import functools as t\ndef g(x): pass\nf = t.partial(g, 2)"),
        ("import contextlib\n@contextlib.contextmanager\ndef f(): yield 1", "import contextlib\n@contextlib.contextmanager\ndef f(): yield 2"),
        ("import functools\n@functools.lru_cache\ndef f(): return 1", "import functools\n@functools.lru_cache\ndef f(): return 2"),
        ("import functools\n@functools.singledispatch\ndef f(x): pass\n@f.register\ndef _(x: int): return 1", "import functools\n@functools.singledispatch\ndef f(x): pass\n@f.register\ndef _(x: int): return 2"),
        ("import contextlib as c\nM = c.contextmanager(lambda: 1)\ndef f(): return M", "import contextlib as c\nM = c.contextmanager(lambda: 2)\ndef f(): return M"),
        ("class B:\n def m(self): return 1\nclass A(B): pass\nf = A", "class B:\n def m(self): return 2\nclass A(B): pass\nf = A"),
        ("class A:\n def h(self): return 1\n def m(self): return self.h()\nf = A.m", "class A:\n def h(self): return 2\n def m(self): return self.h()\nf = A.m"),
        ("class A:\n n = 1\n def m(self): return self.n\nf = A", "class A:\n n = 1\n def m(self): return self.n\nA.n = 2\nf = A"),
        ("class A:\n def m(self): return 1\nf = A", "class A:\n def m(self): return 1\nA.m = lambda self: 2\nf = A"),
        ("f = lambda: 1", "f = lambda: 2"),
        ("f, g = (lambda: 1), (lambda: 2)", "g, f = (lambda: 1), (lambda: 2)"),
        ("f, g = (lambda x: x + 1), (lambda x: x - 1)", "g, f = (lambda x: x + 1), (lambda x: x - 1)"),
        ("def len(x): return 1\ndef f(x): return len(x)", "def f(x): return len(x)"),
        ("from json import dumps as d\ndef f(x): return d(x)", "from pickle import dumps as d\ndef f(x): return d(x)"),
        ("def f(): return '\\ud83d\\ude00'", "def f(): return '\\U0001f600'"),
        ("def f(): return -0.0", "def f(): return 0.0"),
        ("def f(): return 'ab'", "def f(): return b'ab'"),
        ("async def f(): return 1", "def f(): return 1"),
        ("def f(x: int): pass", "def f(x: str): pass"),
        ("import typing\nN = typing.NewType('N', int)\ndef f(x: N): pass", "import typing\nN = typing.NewType('N', str)\ndef f(x: N): pass"),
    ],
)  # fmt: skip
def test_different_functions_have_different_digests(tmp_path, one, other):
    first = describe(load(tmp_path / "m1.py", one, "m1").f).digest
    second = describe(load(tmp_path / "m2.py", other, "m2").f).digest
    assert first != second


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no such statement before")
def test_what_a_type_statement_stands_for_counts(tmp_path):
    text = "class R:\n def m(self): return {}\ntype X = list[R] | list[X]\ndef f(x: X): return x"
    one, same, other = (
        describe(load(tmp_path / f"m{i}.py", text.format(number), f"m{i}").f).digest
        for i, number in enumerate((1, 1, 2))
    )
    assert one == same != other


def test_packages_enter_by_their_version(tmp_path):
    text = "import numpy as np\nimport blake3\ndef f(x):\n    import yaml\n    return np.sum(x), blake3.blake3, yaml.safe_load"
    found = describe(load(tmp_path / "third.py", text, "third").f)
    names = {name: metadata.version(name) for name in ("numpy", "blake3", "PyYAML")}
    assert {name.lower(): version for name, version in found.packages.items()} == {
        name.lower(): version for name, version in names.items()
    }


TYPED = (
    "{first}import functools, pydantic, typing\n"
    "def checked(g): return pydantic.validate_call(g) if typing.get_type_hints(g) else g\n"
    "class Row(pydantic.BaseModel):\n n: int\n def m(self): return {number}\n"
    "class A:\n"
    " @property\n def row(self) -> 'Row': return 1\n"
    " @row.setter\n def row(self, row: 'Row'): pass\n"
    "{decorator}\ndef f(x: {annotation}): return A\n"
)


@pytest.mark.parametrize("annotation", ["'Row'", "list['Row']", "'Row | None'"])
@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("decorator", "follows"),
    [
        ("@pydantic.validate_call", True),
        ("@pydantic.validate_call(validate_return=True)", True),
        ("@checked", True),
        ("@functools.lru_cache(1)", False),
        ("", False),
    ],
)
def test_quoted_annotations_are_followed_where_a_decorator_may_read_them(
    tmp_path, annotation, first, decorator, follows
):
    given = {"first": first, "decorator": decorator, "annotation": annotation}
    one, other = (
        describe(load(tmp_path / f"t{n}.py", TYPED.format(number=n, **given), f"t{n}").f).digest
        for n in (1, 2)
    )
    assert (one != other) == follows


def test_a_wrapper_that_a_package_made_elsewhere_must_be_read_whole(tmp_path):
    text = (
        "import pydantic\ndef g(x): return x\nf = pydantic.validate_call(g, validate_return=True)"
    )
    with pytest.raises(SourceError, match="state that cannot be read"):
        describe(load(tmp_path / "made.py", text, "made").f)


def test_what_a_package_made_enters_with_what_it_was_made_from(tmp_path):
    pytest.importorskip("inspect_ai")
    text = "from inspect_ai.scorer import match\nM = match({!r})\ndef f(): return M"
    found = [
        describe(load(tmp_path / f"m{i}.py", text.format(where), f"m{i}").f).digest
        for i, where in enumerate(["end", "end", "begin"])
    ]
    assert found[0] == found[1] != found[2]


def test_versions_that_count_as_the_same_are_hashed_as_the_first(tmp_path):
    module = load(tmp_path / "same.py", "import numpy\ndef f(): return numpy.ones(1)", "same")
    version = metadata.version("numpy")
    found = [
        describe(module.f, equivalent={"numpy": [["1.0", *same]]}).digest
        for same in (["1.1", version], [version], ["1.1"])
    ]
    assert found[0] == found[1] != found[2] == describe(module.f).digest


def test_task_decorators_of_motools_are_cosmetic(tmp_path, monkeypatch):
    tasks = types.ModuleType("motools.stand_in")
    exec(
        "import functools\ndef cached(**options):\n    return lambda function: function",
        vars(tasks),
    )
    monkeypatch.setitem(sys.modules, "motools.stand_in", tasks)
    text = "from motools.stand_in import cached\n{}def f(x): return x"
    found = {
        describe(load(tmp_path / f"t{i}.py", text.format(decorator), f"t{i}").f).digest
        for i, decorator in enumerate(["", "@cached(retries=1)\n", "@cached(retries=2)\n"])
    }
    assert len(found) == 1


def test_source_that_was_edited_after_the_import_is_refused(tmp_path):
    path = tmp_path / "edited.py"
    module = load(path, "def g(): return 1\ndef f(): return g()", "edited")
    digest, wrapped = describe(module.f).digest, describe(functools.partial(module.f)).digest
    path.write_text("# moved down\n\ndef g():\n  return 1\n\ndef f(): return g()  # the same\n")
    # Describing through a wrapper asks anew what has been described before.
    assert describe(functools.partial(module.f)).digest == wrapped
    path.write_text("def g(): return 2\ndef f(): return g()")
    with pytest.raises(SourceError, match=r"g \(.*edited\.py:1\): .*not the code that is loaded"):
        describe(functools.partial(module.f))
    assert describe(module.f).digest == digest


def test_cells_of_a_notebook_are_described():
    def cell(number: int, text: str) -> types.FunctionType:
        name = f"<ipython-input-{number}-test>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        namespace = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), namespace)
        return namespace["f"]

    one = cell(1, "K = 1\ndef f(): return K")
    assert describe(one).digest == describe(cell(2, "K = 1\n\n\ndef f():\n  return K")).digest
    assert describe(one).digest != describe(cell(3, "K = 1\ndef f(): return -K")).digest


def test_a_script_and_its_import_have_one_digest(tmp_path):
    text = (
        "import enum\nfrom motools.source import describe\n"
        "from motools.source.objects import name_of\n"
        "from wrapping import wrap\n"
        "class E(enum.Enum): A = 1\ndef g(): return E.A\n@wrap\ndef f(): return g()\n"
        "if __name__ == '__main__': print(describe(f).digest, name_of(f))\n"
    )
    wrapping = "import functools\ndef wrap(g): return functools.wraps(g)(lambda: g())\n"
    load(tmp_path / "wrapping.py", wrapping, "wrapping")
    module = load(tmp_path / "script.py", text, "script")
    root = str(Path(__file__).parents[2])
    for arguments in (["script.py"], ["-m", "script"]):
        answer = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.stdout.split() == [describe(module.f).digest, "script.f"], answer.stderr


def test_a_script_and_the_processes_it_spawns_have_one_digest(tmp_path):
    text = (
        "import enum, multiprocessing\nfrom motools.source import describe\n"
        "from motools.source.objects import name_of\n"
        "class E(enum.Enum): A = 1\ndef f(): return E.A\n"
        "def show(): print(describe(f).digest, describe(f, version='1').digest, name_of(f))\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=show)\n"
        "    child.start()\n    child.join()\n"
    )
    module = load(tmp_path / "script.py", text, "script")
    answer = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = [describe(module.f).digest, describe(module.f, version="1").digest, "script.f"]
    assert answer.stdout.split() == expected, answer.stderr


def test_code_without_source_is_refused():
    code = "from motools.source import describe\nexec('def f(): return 1')\ndescribe(f)"
    answer = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert "SourceError" in answer.stderr
    assert "version=" in answer.stderr


def test_describing_again_costs_microseconds(tmp_path):
    module = load(
        tmp_path / "quick.py",
        "import json\nK = 1\ndef g(x): return K + x\ndef f(x): return [g(x), json.dumps(x), len(x)]",
        "quick",
    )
    describe(module.f)
    best = min(timeit.repeat(lambda: describe(module.f), number=1000, repeat=20))
    assert best / 1000 < 5e-6


def test_methods_partials_and_callables_are_told_apart():
    class Scaler:
        def __init__(self, by):
            self.by = by

        def scale(self, x):
            return x * self.by

    made = [Scaler, Scaler(1), Scaler(2), Scaler(1).scale, Scaler(2).scale, Scaler.scale]
    made += [functools.partial(Scaler(1).scale, 1), functools.partial(Scaler(1).scale, x=1)]
    assert len({describe(each).digest for each in made}) == len(made)
    assert describe(Scaler(1).scale).digest == describe(Scaler(1).scale).digest


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("KEY = 'sk-proj-abcdefghijklmnop'", "KEY = '***'"),
        ('API_KEY: str = "anything"', 'API_KEY: str = "***"'),
        ("ask(password='a b', n=1)", "ask(password='***', n=1)"),
        ("{'client_secret': 'x'}", "{'client_secret': '***'}"),
        ("eos_token = '<|end|>'", "eos_token = '<|end|>'"),
        ("API_KEY = os.environ['API_KEY']", "API_KEY = os.environ['API_KEY']"),
        ("task = 'risk-of-something-or-other'", "task = 'risk-of-something-or-other'"),
    ],
)
def test_what_is_shown_of_source_has_no_secrets(line: str, kept: str) -> None:
    assert Text("a.py", 1, line).lines == kept
