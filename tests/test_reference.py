"""The reference of the Python names is written from the code, and leaves no public name out."""

from __future__ import annotations

import dataclasses
import inspect
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

import motools
import motools.cache
import motools.tasks
from motools import errors
from motools.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
WRITTEN = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
HEADINGS = set(re.findall(r"^#+ `(?:motools\.(?:\w+\.)*)?(\w+(?:\.\w+)?)`$", WRITTEN, re.MULTILINE))


def test_it_is_current() -> None:
    assert runpy.run_path(str(DOCS / "python_reference.py"))["reference"]() == WRITTEN, (
        "write it again: python docs/python_reference.py > docs/reference/python.md"
    )


@pytest.mark.parametrize("module", [motools, motools.tasks, motools.cache])
def test_every_public_name_has_an_entry(module: ModuleType) -> None:
    assert set(module.__all__) - {"__version__"} <= HEADINGS


@pytest.mark.parametrize("name", sorted(set(motools.__all__) | {"CacheUtils", "CachedTask"}))
def test_every_method_and_field_has_an_entry(name: str) -> None:
    home = next(m for m in (motools, motools.cache, motools.tasks) if name in m.__all__)
    found = getattr(home, name)
    if not inspect.isclass(found):
        return
    methods = [n for n, raw in vars(found).items() if n[0] != "_" and inspect.isroutine(raw)]
    assert {f"{name}.{method}" for method in methods} <= HEADINGS
    fields = [s.name for s in dataclasses.fields(found)] if dataclasses.is_dataclass(found) else []
    assert {f for f in fields if f"\n| `{f}` |" not in WRITTEN} == set()


def test_every_setting_and_error_is_named() -> None:
    assert all(f"\n| `{spec.name}` |" in WRITTEN for spec in dataclasses.fields(Settings))
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(re.search(rf"[─\s]{kind.__name__}\s", WRITTEN) for kind in kinds)


def test_it_reads_well() -> None:
    prose = re.sub(r"```.*?```", "", WRITTEN, flags=re.DOTALL)
    assert "``" not in prose
    assert not re.search(r":\w+:`|::$|\| required \| *\|$", prose, re.MULTILINE)
