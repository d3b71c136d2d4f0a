"""What a digest cannot vouch for: names looked up, files and settings read, at run time."""

from __future__ import annotations

import ast
import codecs
import glob
import importlib
import io
import os
import sys
from typing import Final

_PINS: Final[dict[str, str]] = {
    "open": "reads a file, whose content no digest of source can know",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "globals": "looks names up at run time",
    "__import__": "imports a module that is named at run time",
    "input": "reads from the terminal",
    "getattr": "looks up an attribute that is named at run time",
}

_FILE: Final = _PINS["open"]
_ENVIRONMENT: Final = "reads the environment of the process"
_IMPORT: Final = _PINS["__import__"]

_DOTTED: Final[dict[str, str]] = {
    **dict.fromkeys(("os.environ", "os.environb", "os.getenv", "os.getenvb"), _ENVIRONMENT),
    **dict.fromkeys(("sys.argv", "sys.stdin", "os.getcwd", "pathlib.Path.cwd"), _ENVIRONMENT),
    **dict.fromkeys(("importlib.import_module", "importlib.reload", "sys.modules"), _IMPORT),
    **dict.fromkeys(("runpy.run_path", "runpy.run_module"), _IMPORT),
    **dict.fromkeys(("os.listdir", "os.scandir", "os.walk", "os.open", "os.popen"), _FILE),
    **dict.fromkeys(("glob.glob", "glob.iglob", "fileinput.input", "shelve.open"), _FILE),
    **dict.fromkeys(("linecache.getline", "linecache.getlines", "sqlite3.connect"), _FILE),
    **dict.fromkeys(("numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile"), _FILE),
    **dict.fromkeys(("torch.load", "datasets.load_dataset", "datasets.load_from_disk"), _FILE),
}

_OPENERS: Final = frozenset(
    {"io.open", "codecs.open", "gzip.open", "bz2.open", "lzma.open", "tokenize.open"}
)

_METHODS: Final = frozenset({"read_text", "read_bytes", "iterdir", "rglob"})

_OBJECTS: Final = {
    id(found): name
    for name, found in {
        "os.environ": os.environ,
        "os.environb": getattr(os, "environb", None),
        "os.getenv": os.getenv,
        "os.getcwd": os.getcwd,
        "os.listdir": os.listdir,
        "os.scandir": os.scandir,
        "os.walk": os.walk,
        "sys.argv": sys.argv,
        "sys.modules": sys.modules,
        "importlib.import_module": importlib.import_module,
        "glob.glob": glob.glob,
        "codecs.open": codecs.open,
        "io.open": io.open,
    }.items()
    if found is not None
}


def of_builtin(name: str, call: ast.Call | None) -> str | None:
    """Why a use of a builtin cannot be pinned, or None when it can."""
    if name not in _PINS:
        return None
    if call is not None and name == "open" and _only_writes(call, 1):
        return None
    if call is not None and name == "getattr" and _names_constant(call):
        return None
    return f"calls {name}(): it {_PINS[name]}"


def of_dotted(name: str, call: ast.Call | None) -> str | None:
    """Why a use of a library's name, as in ``os.environ.get``, cannot be pinned, or None."""
    parts = name.split(".")
    for end in range(2, len(parts) + 1):
        known = ".".join(parts[:end])
        if known in _DOTTED:
            return f"uses {known}: it {_DOTTED[known]}"
        if known in _OPENERS and (call is None or not _only_writes(call, 1)):
            return f"uses {known}: it {_FILE}"
    if parts[0] == "pandas" and parts[-1].startswith("read_"):
        return f"uses {name}: it {_FILE}"
    return None


def of_object(found: object, call: ast.Call | None) -> str | None:
    """Why a use of an object cannot be pinned, by whatever name it was reached."""
    name = _OBJECTS.get(id(found))
    return None if name is None else of_dotted(name, call)


def of_method(call: ast.Call) -> str | None:
    """Why a call of a method of an unknown object cannot be pinned, or None."""
    assert isinstance(call.func, ast.Attribute)
    name = call.func.attr
    if name in _METHODS or (name == "open" and not _only_writes(call, 0)):
        return f"calls .{name}(): it {_FILE}"
    return None


def _names_constant(call: ast.Call) -> bool:
    return (
        len(call.args) > 1
        and isinstance(call.args[1], ast.Constant)
        and isinstance(call.args[1].value, str)
    )


def _only_writes(call: ast.Call, position: int) -> bool:
    """Whether the mode of a call to an `open` says that nothing is read."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[position : position + 1]
    return (
        len(modes) == 1
        and isinstance(modes[0], ast.Constant)
        and isinstance(modes[0].value, str)
        and bool(set(modes[0].value) & set("wxa"))
        and not set(modes[0].value) - set("wxabt")
    )
