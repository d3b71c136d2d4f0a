"""The house: which part may import which, and what is loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import motools

PACKAGE = Path(motools.__file__).parent

FOUNDATION = {
    "artifacts",
    "configs",
    "datasets",
    "digest",
    "errors",
    "jobs",
    "memo",
    "rows",
    "settings",
    "stopping",
    "version",
    "worker",
}
CORE = FOUNDATION | {"cache"}

MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "digest": {"errors"},
    "durable": set(),
    "memo": {"digest"},
    "coercion": {"errors"},
    "configs": {"coercion", "digest", "errors"},
    "rows": {"errors"},
    "order": {"digest", "errors"},
    "lines": {"errors", "memo", "order", "rows"},
    "markup": set(),
    "reading": {"errors", "memo"},
    "datasets": {"digest", "errors", "lines", "markup", "memo", "order", "reading", "rows"},
    "stopping": {"errors"},
    "worker": {"errors", "stopping"},
    "settings": {"configs", "errors"},
    "artifacts": {"datasets", "digest", "errors", "markup"},
    "tags": {"configs", "digest", "errors"},
    "source": {"digest", "errors", "tags"},
    "arguments": {"configs", "digest", "errors", "source", "tags"},
    "codecs": {"artifacts", "digest", "errors", "source"},
    "s3": {"errors"},
    "cache": {
        "artifacts",
        "configs",
        "digest",
        "durable",
        "errors",
        "jobs",
        "markup",
        "memo",
        "s3",
        "settings",
        "stopping",
        "version",
    },
    "remotes": {*CORE, "durable", "upkeep"},
    "jobs": set(),
    "training": {
        "artifacts",
        "configs",
        "digest",
        "durable",
        "errors",
        "jobs",
        "memo",
        "worker",
    },
    "evals": {"configs", "digest", "errors", "memo", "source", "training", "version", "worker"},
    "steps": {*CORE, "arguments", "codecs", "evals", "reading", "source", "training"},
    "tasks": {*CORE, "evals", "steps", "training", "upkeep"},
    "testing": {*CORE, "steps", "training"},
    "sweeps": {*CORE, "evals", "steps", "tasks", "training"},
    "upkeep": {*CORE, "steps"},
    "server": {*CORE, "durable", "evals", "steps", "training", "upkeep"},
    "cli": {*CORE, "overview", "remotes", "server", "steps", "sweeps", "upkeep"},
    "overview": {"cache", "cli"},
    "__main__": {"cli"},
}

MAY_DELEGATE = {
    "artifacts": {"evals", "steps", "training"},
    "cache": {"remotes", "steps"},
    "datasets": {"steps"},
}
"""Values whose methods hand over to rooms above them, inside functions only."""

HEAVY = (
    "cryptography", "fastapi", "prefect", "psycopg", "torch", "inspect_ai", "openai", "sqlalchemy",
    "sqlmodel", "transformers", "uvicorn",
)  # fmt: skip

WHO_MAY = {
    "prefect": {"tasks", "sweeps"},
    "inspect_ai": {"evals"},
    "torch": {"training"},
    "openai": {"training"},
    "cryptography": {"cache"},
    "psycopg": {"cache"},
    "sqlmodel": {"cache", "server"},
    "sqlalchemy": {"cache", "server"},
    "fastapi": {"server"},
    "uvicorn": {"server"},
}


PREFECT_IN_SWEEPS = {"flow", "publish", "run", "runners", "view"}
"""A plan and results need no Prefect."""


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            found.append((parts[0], path))
    return found


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Absolute names that a module imports, and whether only inside a function.

    Imports for type checking alone do not count.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    late = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((name, id(node) in late) for name in names)


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value))
def test_dependencies_point_one_way(room: str, path: Path) -> None:
    for name, late in imports(path):
        first, *rest = name.split(".")
        if first == "motools" and rest and rest[0] != room:
            allowed = MAY_IMPORT[room] | (MAY_DELEGATE.get(room, set()) if late else set())
            assert rest[0] in allowed, f"{path} imports {name}"
        if first in WHO_MAY:
            assert room in WHO_MAY[first], f"{path} imports {name}"
        if room == "sweeps" and (first == "prefect" or rest[:1] == ["tasks"]):
            assert path.stem in PREFECT_IN_SWEEPS, f"{path} imports {name}"


def test_every_room_has_a_rule() -> None:
    assert {room for room, _ in modules()} <= MAY_IMPORT.keys()


def test_one_place_sleeps() -> None:
    """Besides the cache, which promises one run to callers that have nothing but it.

    It also waits for a database that restarts, its store between attempts, and a removal
    for those who want to write.
    """
    allowed = {
        "steps/wait.py",
        "cache/claim.py",
        "cache/dial.py",
        "cache/trash.py",
        "s3/connections.py",
    }
    for _, path in modules():
        if path.relative_to(PACKAGE).as_posix() not in allowed:
            assert "time.sleep(" not in path.read_text(encoding="utf-8"), f"{path} sleeps"


def test_the_core_of_the_cache_knows_no_kind() -> None:
    above = {"utils.py", "catalogue.py", "records.py", "sizes.py"}
    for path in (PACKAGE / "cache").glob("*.py"):
        if path.name in above:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        compared = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Compare, ast.Match, ast.Dict))
            for leaf in ast.walk(node)
            if isinstance(leaf, ast.Constant)
            and leaf.value in ("dataset", "model", "eval", "function")
        ]
        assert not compared, f"{path} branches on a kind: {compared}"


@pytest.mark.parametrize(
    "statement", ["import motools", "import motools.cli", "from motools.cache import Cache"]
)
def test_importing_is_cheap(statement: str) -> None:
    loaded = _loaded(statement)
    assert not loaded & set(HEAVY), loaded & set(HEAVY)


def test_a_hit_needs_only_the_driver(tmp_path: Path) -> None:
    fill = (
        "from motools.cache import Action, Cache\n"
        f"cache = Cache.open({str(tmp_path / 'cache')!r})\n"
        "entry = cache.get_or_run(Action('function', config={'n': 1}), lambda context: 1)\n"
        "cache.close()\n"
    )
    assert "sqlalchemy" in _loaded(fill)
    hit = fill.replace("cache.close()", "assert entry.hit")
    assert not _loaded(hit) & set(HEAVY)


def test_public_names_are_there() -> None:
    for name in motools.__all__:
        assert getattr(motools, name) is not None
    assert sorted(motools.__all__) == motools.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        motools.nothing  # noqa: B018


def _loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
