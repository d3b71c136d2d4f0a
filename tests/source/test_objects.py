"""Source digests of classes and objects: their state, and what was put on them from elsewhere."""

# ruff: noqa: E501 - programs that fit on a line are easier to compare there
from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from pathlib import Path

import pytest

from motools.errors import SourceError
from motools.source import describe, origin
from motools.source.objects import functions_in
from motools.tags import alike
from tests.source.test_describe import load


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        ("import collections\nC = collections.Counter({})\ndef f(): return C['a']", "'aab'", "'abb'"),
        ("class T(dict): pass\nC = T({})\ndef f(): return C", "{'a': 1}", "{'a': 2}"),
        ("class T(list): pass\nC = T({})\ndef f(): return C", "[1]", "[2]"),
        ("class T(tuple): pass\nC = T({})\ndef f(): return C", "(1,)", "(2,)"),
        ("class T(set): pass\nC = T({})\ndef f(): return C", "{1}", "{2}"),
        ("class T(str): pass\nC = T({})\ndef f(): return C", "'a'", "'b'"),
        ("class T(int): pass\nC = T({})\ndef f(): return C", "1", "2"),
        ("class T(ValueError): pass\nC = T({})\ndef f(): return C", "1", "2"),
        ("G = {}.get\ndef f(x): return G(x)", "{1: 1}", "{1: 2}"),
        ("G = {}.join\ndef f(x): return G(x)", "','", "';'"),
        ("import torch\nG = torch.{}\ndef f(x): return x.to(G)", "float16", "bfloat16"),
        ("import numpy as np\nG = np.dtype('{}')\ndef f(x): return x.astype(G)", "f4", "f8"),
        ("G = ({}).__add__\ndef f(x): return G(x)", "1", "2"),
        ("G = {}.upper\ndef f(x): return G(x)", "str", "bytes"),
        ("import datetime\nG = datetime.{}.fromisoformat\ndef f(x): return G(x)", "date", "datetime"),
        ("from {} import parse as p\ndef f(x): return p(x)", "xml.dom.minidom", "xml.etree.ElementTree"),
        ("from importlib.{} import files as p\ndef f(x): return p(x)", "resources", "metadata"),
        ("import numpy as np\nclass A: w = np.zeros(1)\nA.w = np.ones({})\ndef f(): return A.w", "1", "2"),
        ("class C: pass\nclass A: w = C()\nA.w.n = {}\ndef f(): return A.w", "1", "2"),
        ("class X: n = 1\nclass Y: n = 2\nclass A: I = None\nA.I = {}\ndef f(): return A", "X", "Y"),
        ("def g(s): pass\ndef h(s): return 1\nclass A: pass\nA.x, A.y = {}\ndef f(): return A", "g, h", "h, g"),
        ("class A:\n def g(s): pass\n def h(s): return 1\nA.g, A.h = {}\ndef f(): return A", "A.g, A.h", "A.h, A.g"),
    ],
)  # fmt: skip
def test_what_an_object_holds_is_in_the_digest(tmp_path, text, one, other):
    found = [
        describe(load(tmp_path / f"m{i}.py", text.format(held), f"m{i}").f).digest
        for i, held in enumerate((one, other, one))
    ]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(
    "text",
    [
        "class B:\n def h(self): return 1\nclass A(B):\n def m(self): return self.h()\ndef f(): return A().m()\ndef change(): A.h = lambda self: 2",
        "class B:\n def h(self): return 1\nclass C:\n def h(self): return 2\nclass A(B): pass\ndef f(): return A().h()\ndef change(): A.__bases__ = (C,)",
        "import functools as t\ndef twice(g):\n @t.wraps(g)\n def inner(self): return 2 * g(self)\n return inner\nclass A:\n def m(self): return 1\ndef f(): return A().m()\ndef change(): A.m = twice(A.m)",
        "class A: __slots__ = ('n',)\na = A()\ndef f(): return a.n\ndef change(): a.n = 1",
        "class T(dict): pass\nt = T()\ndef f(): return t\ndef change(): t['a'] = 1",
        "def g(x): return 1\ndef f(x): return g.n\ndef change(): g.n = 3",
        "def f():\n    from other import h\n    return h()\ndef change():\n    import other\n    other.h = lambda: 2",
        "import sys, types\ndef f():\n    from other import h\n    return h()\ndef change():\n    m = types.ModuleType('other')\n    m.__file__ = __file__\n    m.h = lambda: 2\n    sys.modules['other'] = m",
    ],
)  # fmt: skip
def test_what_is_put_there_meanwhile_is_seen(tmp_path, monkeypatch, text):
    monkeypatch.setitem(sys.modules, "other", None)
    load(tmp_path / "other.py", "def h(): return 1", "other")
    module = load(tmp_path / "meanwhile.py", text, "meanwhile")
    before = describe(module.f).digest
    assert describe(module.f).digest == before
    module.change()
    assert describe(module.f).digest != before


def test_a_class_that_was_edited_after_the_import_is_refused(tmp_path):
    path = tmp_path / "edited.py"
    module = load(path, "class A:\n def m(self): return 1\ndef f(): return A().m()", "edited")
    path.write_text("class A:\n def m(self): return 2\ndef f(): return A().m()")
    with pytest.raises(SourceError, match="not the code that is loaded"):
        describe(module.f)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import collections\nC = collections.deque([1])\ndef f(): return C", "state that cannot be read"),
        ("import random\nclass R(random.Random): pass\nr = R(1)\ndef f(): return r", "state that cannot be read"),
        ("import random\nG = random.Random(0).random\ndef f(): return G()", "state that cannot be read"),
        ("import random\nclass A: pass\nA.r = random.Random(1)\ndef f(): return A", "was given r"),
        ("import subprocess\ndef f(): return subprocess.run(['train'])", "runs another program"),
        ("from subprocess import run as r\ndef f(): return r(['train'])", "runs another program"),
        ("def f(p): return list(p.glob('*'))", r"\.glob\(\).*reads a file"),
        ("def f(p): return p.exists()", r"\.exists\(\).*reads a file"),
        ("import os\ndef f(p): return os.path.getsize(p)", "reads a file"),
        ("from os.path import exists\ndef f(p): return exists(p)", "reads a file"),
        ("from os import listdir as l\ndef f(p): return l(p)", "reads a file"),
        ("from glob import glob\ndef f(p): return glob(p)", "reads a file"),
        ("from numpy import load as l\ndef f(p): return l(p)", "reads a file"),
        ("from pandas import read_csv\ndef f(p): return read_csv(p)", "reads a file"),
        ("import tarfile\ndef f(p): return tarfile.open(p)", "reads a file"),
        ("import zipfile\ndef f(p): return zipfile.ZipFile(p)", "reads a file"),
        ("from pathlib import Path\ndef f(p): return Path.read_text(p)", "reads a file"),
        ("def f(model): return model.from_pretrained('gpt2')", "reads a file"),
        ("from motools import Dataset\ndef f(): return Dataset.from_jsonl('x')", "reads a file"),
        ("from motools import evaluate\ndef f(m, c): return evaluate(m, c)", "runs a step"),
        ("import motools\ndef f(d, c): return motools.fine_tune(d, c)", "runs a step"),
        ("def f(d, c):\n    from motools import fine_tune as t\n    return t(d, c)", "runs a step"),
        ("from motools import Dataset\ndef f(p): return Dataset.from_hf(p)", "uses motools.*from_hf: it reads a file"),
        ("import motools\ndef f(p): return motools.Dataset.from_hf(p)", "reads a file"),
        ("import datasets\ndef f(p): return datasets.Dataset.from_json(p)", "reads a file"),
        ("def f(p):\n    from datasets import Dataset\n    return Dataset.from_csv(p)", "reads a file"),
        ("import pyarrow.parquet as pq\ndef f(p): return pq.ParquetFile(p).read()", "reads a file"),
        ("def f(p):\n    from tokenizers import Tokenizer\n    return Tokenizer.from_file(p)", "reads a file"),
        ("def f(p):\n    from transformers import pipeline\n    return pipeline(model=p)", "reads a file"),
        ("import importlib.resources as r\ndef f(p): return r.read_text(p, 'x')", "reads a file"),
        ("from importlib.resources import open_text\ndef f(p): return open_text(p, 'x')", "reads a file"),
        ("import pkgutil\ndef f(p): return pkgutil.get_data(p, 'x')", "reads a file"),
        ("from configparser import ConfigParser\ndef f(p):\n    c = ConfigParser()\n    c.read(p)\n    return c", r"\.read\(\).*reads a file"),
        ("import io\ndef f(p): return io.FileIO(p)", "reads a file"),
        ("from gzip import GzipFile\ndef f(p): return GzipFile(p)", "reads a file"),
        ("import tarfile\ndef f(p): return tarfile.TarFile(p)", "reads a file"),
        ("from gzip import GzipFile\ndef f(p, s): return GzipFile(p, 'rb', 9, s)", "reads a file"),
        ("import gzip\ndef f(p, s): return gzip.GzipFile(filename=p, fileobj=s)", "reads a file"),
        ("import gzip\ndef f(s, **k): return gzip.GzipFile(fileobj=s, **k)", "reads a file"),
        ("import tarfile\ndef f(a): return tarfile.open(None, *a)", "reads a file"),
        ("import pandas as pd\ndef f(p): return pd.ExcelFile(p)", "reads a file"),
        ("import pandas as pd\ndef f(p, BytesIO): return pd.ExcelFile(BytesIO(p))", "reads a file"),
        ("import pandas as pd\ndef BytesIO(p): return p\ndef f(p): return pd.ExcelFile(BytesIO(p))", "reads a file"),
        ("import pandas as pd\nfrom io import BytesIO\ndef f(p):\n    def BytesIO(p): return p\n    return pd.ExcelFile(BytesIO(p))", "reads a file"),
        ("import io, pandas as pd\ndef f(b, p): return pd.read_xml(io.BytesIO(b), stylesheet=p)", "reads a file"),
        ("import io\ndef f(p, b): return p.open(io.BytesIO(b))", "reads a file"),
        ("import pandas as pd\nR = {'csv': pd.read_csv}\ndef f(p): return R['csv'](p)", r"R\.csv.*reads a file"),
        ("import pandas as pd\ndef f(p, r=pd.read_csv): return r(p)", "defaults.*reads a file"),
        ("import functools as t\no = t.partial(open, encoding='utf8')\ndef f(p): return o(p)", "reads a file"),
        ("import functools as t, pandas as pd\ndef g(r, p): return r(p)\nf = t.partial(g, pd.read_csv)", "reads a file"),
        ("class A:\n def __init__(self, r): self.r = r\na = A(open)\ndef f(p): return a.r(p)", "reads a file"),
        ("import os\nR = [os.getenv]\ndef f(n): return R[0](n)", "environment"),
        ("R = {'a': getattr}\ndef f(x, n): return R['a'](x, n)", "run time"),
        ("import shutil\ndef f(p, q): return shutil.copy(p, q)", "reads a file"),
        *(
            (f"import tests.source.test_describe as m\nclass A: pass\na = A(); a.m = m\n{text}", "module tests.source.test_describe, .*run time")
            for text in (
                "def f(): return a.m.h()",
                "def f(m=m): return m.h()",
                "H = {'a': m}\ndef f(): return H['a'].h()",
                "import functools\ndef g(m): return m.h()\nf = functools.partial(g, m)",
                "def g(): pass\ng.m = [m]\ndef f(): return g.m[0].h()",
            )
        ),
        ("def f(p):\n    from jinja2 import FileSystemLoader\n    return FileSystemLoader(p)", "reads a file"),
        ("import ctypes\ndef f(p): return ctypes.CDLL(p)", "loads a library"),
        ("from ctypes import cdll\ndef f(p): return cdll.LoadLibrary(p)", "loads a library"),
        ("import os\ndef f(p): return os.path.expandvars(p)", "environment"),
        ("from os.path import expanduser\ndef f(p): return expanduser(p)", "environment"),
        ("from pathlib import Path\ndef f(p): return Path.home() / p", "environment"),
        ("def f(p): return p.expanduser()", r"\.expanduser\(\).*environment"),
        ("import os\ndef f(p): return os.readlink(p)", "reads a file"),
        ("import asyncio\nasync def f(p): return await asyncio.create_subprocess_exec(p)", "runs another program"),
        ("class B: pass\nclass A(B): n = 1\ndef f(): return [a.n for a in B.__subclasses__()]", r"uses __subclasses__\(\).*run time"),
        ("def f(b): return [a.n for a in type(b).__subclasses__()]", r"uses __subclasses__\(\).*run time"),
        ("class B: pass\ndef f(): return map(lambda a: a.n, B.__subclasses__())", r"uses __subclasses__\(\).*run time"),
    ],
)  # fmt: skip
def test_what_source_does_not_pin_is_refused(tmp_path, text, words):
    with pytest.raises(SourceError, match=words) as caught:
        describe(load(tmp_path / "unsure.py", text, "unsure").f)
    assert "version=" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "import zipfile\ndef f(p): return zipfile.ZipFile(p, 'w')",
        "import gzip\ndef f(s, p): return gzip.GzipFile(fileobj=s), gzip.GzipFile(p, mode='wb')",
        "import gzip\ndef f(s): return gzip.GzipFile(None, 'rb', 9, s), gzip.GzipFile('', fileobj=s)",
        "import tarfile\ndef f(s): return tarfile.open(fileobj=s), tarfile.TarFile(None, 'r', s)",
        "import io, pandas as pd\ndef f(b): return pd.ExcelFile(io.BytesIO(b)), pd.read_csv(io.StringIO(b))",
        "from io import BytesIO\nfrom pandas import ExcelFile\ndef f(b): return ExcelFile(BytesIO(b))",
        "def f(b):\n    from io import BytesIO\n    from zipfile import ZipFile\n    return ZipFile(BytesIO(b))",
        "import pyarrow as pa, pyarrow.parquet as pq\ndef f(b): return pq.ParquetFile(pa.BufferReader(b))",
        "from pyarrow import BufferReader\nfrom pyarrow.parquet import ParquetFile\ndef f(b): return ParquetFile(BufferReader(b))",
        "import io, numpy as np\ndef f(b): return np.load(io.BytesIO(b))",
        "import io\nfrom PIL import Image\ndef f(b): return Image.open(io.BytesIO(b))",
        "import json, math\nR = {'a': json.load, 'b': math.sqrt, 'c': len}\ndef f(x, r=R): return r['a'](x)",
        "o = open\ndef f(p): return o(p, 'w')",
        "import zipfile\nK = (zipfile.ZipFile, list)\ndef f(x): return isinstance(x, K)",
        "import json, numpy\nH = {'a': json, 'b': numpy}\ndef f(x): return H[x].dumps(x)",
        "import configparser\ndef f(s):\n    c = configparser.ConfigParser()\n    c.read_string(s)\n    return c",
        "def f(stream): return stream.read(10)",
        "from random import choice, random\ndef f(x): return choice(x), random()",
        "import abc, typing\nT = typing.TypeVar('T')\nclass A(abc.ABC, typing.Generic[T]): pass\na = A()\ndef f(): return a",
        "import enum\nclass E(enum.Enum):\n A = 1\n def m(self): return 1\ndef f(): return E.A.m()",
        "import re\nclass A: pattern = re.compile('a'); logger = object()\ndef f(): return A.pattern",
        "import pydantic\nclass M(pydantic.BaseModel):\n x: int = 1\n def m(self): return 1\ndef f(): return M()",
        "def f():\n    from motools import upload_dataset\n    return upload_dataset",
    ],
)  # fmt: skip
def test_what_source_pins_is_described(tmp_path, text):
    one = describe(load(tmp_path / "one.py", text, "one").f)
    assert one.digest == describe(load(tmp_path / "two.py", text, "two").f).digest


def test_a_module_that_is_an_attribute_of_a_function_is_followed(tmp_path):
    text = "import held as m\ndef g(): pass\ng.m = m\ndef f(): return g.m.h()"
    found = set()
    for number in (1, 2):
        load(tmp_path / f"held{number}.py", f"def h(): return {number}", "held")
        found.add(describe(load(tmp_path / f"m{number}.py", text, f"m{number}").f).digest)
    assert len(found) == 2


def scaled(by, x):
    return by * x


def summed(by, x):
    return by + x


class Scaler:
    def __init__(self, by):
        self.by = by

    def scale(self, x):
        return x * self.by


def make(by):
    def run(x):
        return x * by

    return run


def test_a_version_stands_for_source_and_not_for_what_is_bound():
    described = [
        functools.partial(scaled, 1),
        functools.partial(scaled, 2),
        functools.partial(summed, 1),
        Scaler(1).scale,
        Scaler(2).scale,
        make(1),
        make(2),
        lambda x: x,
        lambda x: -x,
    ]
    assert len({describe(one, version="1").digest for one in described}) == len(described)
    assert describe(make(1), version="1") == describe(make(1), version="1")
    with pytest.raises(SourceError, match="is bound to"):
        describe(functools.partial(scaled, iter(())), version="1")


@pytest.mark.parametrize(
    "origin_of_it", ['{"url": "file:///home/me/mine", "dir_info": {}}', '{"url": "g", "vcs_info": {"commit_id": "%s"}}']
)  # fmt: skip
def test_a_package_installed_from_source_enters_by_its_content(tmp_path, monkeypatch, origin_of_it):
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: mine\nVersion: 1.0\n")

    def version(content: str, scripts: str = "1") -> str:
        (info / "direct_url.json").write_text(origin_of_it.replace("%s", content))
        (info / "RECORD").write_text(
            f"mine.py,sha256={content},1\n../bin/mine,sha256={scripts},1\nmine-1.0.dist-info/x,,\n"
        )
        origin._packages.cache_clear()
        return origin.packages("mine")["mine"]

    assert version("a") == version("a", scripts="2") != version("b")


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Has a module of one's own in C in place of ``xxlimited``; what it is given ends its file."""
    original = Path(pytest.importorskip("xxlimited").__file__)

    def compiled(name: str, end: bytes) -> None:
        (tmp_path / name).mkdir()
        copy = tmp_path / name / original.name
        copy.write_bytes(original.read_bytes() + end)
        spec = importlib.util.spec_from_file_location("xxlimited", copy)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, "xxlimited", module)

    return compiled


@pytest.mark.skipif(sys.platform != "linux", reason="a changed file may not be loaded elsewhere")
@pytest.mark.parametrize(
    "text",
    [
        "import xxlimited\ndef f(x): return xxlimited.foo(x, x)",
        "def f(x):\n    from xxlimited import foo\n    return foo(x, x)",
        "from xxlimited import Xxo\ndef f(): return Xxo()",
    ],
)
def test_what_one_compiled_oneself_enters_by_its_content(tmp_path, compiled, text):
    found = []
    for number, end in enumerate((b"", b"1", b"")):
        compiled(f"c{number}", end)
        found.append(describe(load(tmp_path / f"m{number}.py", text, f"m{number}").f).digest)
    assert found[0] == found[2] != found[1]


def test_an_object_of_a_class_that_one_compiled_oneself_is_refused(tmp_path, compiled):
    compiled("c", b"")
    module = load(
        tmp_path / "m.py", "import xxlimited\nX = xxlimited.Xxo()\ndef f(): return X", "m"
    )
    with pytest.raises(SourceError, match="state that cannot be read"):
        describe(module.f)


@pytest.mark.parametrize(
    "text",
    [
        "import functools\ndef g(x): return x\nS = {functools.partial(g, i) for i in ORDER}",
        "def make(i): return lambda: i\nS = frozenset(make(i) for i in ORDER)",
        "def make(i): return (i // 9, lambda: i)\nS = {make(i) for i in ORDER}",
        "class A:\n def __init__(self, i): self.i = lambda: i\nS = {A(i) for i in ORDER}",
        f"S = {{{', '.join(f'lambda x: x + {i}' for i in range(20))}}}",
        f"S = {{{', '.join(f'lambda: {i}' for i in range(20))}}}",
        f"S = {{{','.join(f'{chr(10)} lambda x: x + {i}' for i in range(20))}}}",
    ],
)
def test_a_set_of_functions_has_one_digest_in_any_order(tmp_path, text):
    found = set()
    for i in range(6):
        order = "range(20)" if i % 2 else "reversed(range(20))"
        program = f"ORDER = {order}\n{chr(10) * i}{text}\ndef f(): return S"
        found.add(describe(load(tmp_path / f"m{i}.py", program, f"m{i}").f).digest)
    assert len(found) == 1


def test_a_set_of_objects_that_lead_to_each_other_is_read_once_a_round(tmp_path, monkeypatch):
    text = (
        "class N:\n def __init__(self): self.near = []\n"
        "ALL = [N() for _ in range({})]\n"
        "for n in ALL: n.near = {}(m for m in ALL if m is not n)\n"
        "S = set(ALL[:2])\ndef f(): return S"
    )
    held, read = alike._held, []
    monkeypatch.setattr(
        alike, "_held", lambda value, ranks: (read.append(1), held(value, ranks))[1]
    )
    for kind in ("list", "set"):
        read.clear()
        describe(load(tmp_path / f"{kind}.py", text.format(20, kind), kind).f)
        # In each of at most four rounds; a set is read when it is met and in objects once more.
        assert read
        assert len(read) <= 20 * 4 * 21


def test_values_and_functions_are_not_searched_for_functions_as_objects_are(monkeypatch):
    def searched(*_):
        raise AssertionError

    def function():
        return 1

    function.func = function
    monkeypatch.setattr(inspect, "getattr_static", searched)
    assert [functions_in(value) for value in (1, "a", None, (1,), {})] == [[]] * 5
    assert functions_in(function) == [function, function]
