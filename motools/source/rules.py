"""What a digest cannot vouch for: names looked up, files and settings read, at run time."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Container
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

_PROGRAM: Final = "runs another program, whose source is out of reach"
_LIBRARY: Final = "loads a library, whose source is out of reach"
_STEP: Final = "runs a step on files of its own: what they hold is not in the key of the caller"

SUBCLASSES: Final = "__subclasses__(): which classes there are is known at run time only"

_DOTTED: Final[dict[str, str]] = {
    **dict.fromkeys(("os.environ", "os.environb", "os.getenv", "os.getenvb"), _ENVIRONMENT),
    **dict.fromkeys(("sys.argv", "sys.stdin", "os.getcwd", "pathlib.Path.cwd"), _ENVIRONMENT),
    **dict.fromkeys(("importlib.import_module", "importlib.reload", "sys.modules"), _IMPORT),
    **dict.fromkeys(("runpy.run_path", "runpy.run_module"), _IMPORT),
    **dict.fromkeys(
        ("os.listdir", "os.scandir", "os.walk", "os.open", "os.stat", "os.lstat"), _FILE
    ),
    **dict.fromkeys(("os.readlink", "os.access", "pkgutil.get_data"), _FILE),
    "shutil.which": _ENVIRONMENT,
    **dict.fromkeys(("glob.glob", "glob.iglob", "fileinput.input", "shelve.open"), _FILE),
    **dict.fromkeys(("linecache.getline", "linecache.getlines", "sqlite3.connect"), _FILE),
    **dict.fromkeys(("subprocess", "os.system", "os.popen", "os.posix_spawn"), _PROGRAM),
    **dict.fromkeys(
        ("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"), _PROGRAM
    ),
    **dict.fromkeys(
        ("ctypes.CDLL", "ctypes.PyDLL", "ctypes.cdll", "ctypes.pydll", "ctypes.LibraryLoader"),
        _LIBRARY,
    ),
}
"""Names by their dotted path from the module that they are imported from."""

_NAMES: Final[dict[str, dict[str, str]]] = {
    "os": {
        **dict.fromkeys(("exists", "lexists", "isfile", "isdir", "islink", "ismount"), _FILE),
        **dict.fromkeys(("getsize", "getmtime", "getatime", "getctime", "samefile"), _FILE),
        **dict.fromkeys(("expanduser", "expandvars"), _ENVIRONMENT),
    },
    "pathlib": dict.fromkeys(("home", "cwd", "expanduser"), _ENVIRONMENT),
    "io": {"FileIO": _FILE},
    "gzip": {"GzipFile": _FILE},
    "bz2": {"BZ2File": _FILE},
    "lzma": {"LZMAFile": _FILE},
    "tarfile": {"TarFile": _FILE},
    "zipfile": {"ZipFile": _FILE},
    "shutil": dict.fromkeys(("copy", "copy2", "copyfile", "copytree", "unpack_archive"), _FILE),
    "importlib": dict.fromkeys(
        ("read_text", "read_binary", "open_text", "open_binary", "contents", "is_resource"), _FILE
    ),
    "configparser": {"read": _FILE},
    "numpy": {
        **dict.fromkeys(("load", "loadtxt", "genfromtxt", "fromregex"), _FILE),
        **dict.fromkeys(("fromfile", "memmap"), _FILE),
        "load_library": _LIBRARY,
    },
    "scipy": dict.fromkeys(("loadmat", "load_npz"), _FILE),
    "torch": {"load": _FILE, "load_library": _LIBRARY},
    "joblib": {"load": _FILE},
    "h5py": {"File": _FILE},
    "safetensors": dict.fromkeys(("load_file", "load_model", "safe_open"), _FILE),
    "pyarrow": dict.fromkeys(
        (
            *("ParquetFile", "ParquetDataset", "ORCFile", "memory_map", "OSFile"),
            *("input_stream", "open_csv", "open_file", "dataset", "parquet_dataset"),
        ),
        _FILE,
    ),
    "pandas": dict.fromkeys(("HDFStore", "ExcelFile"), _FILE),
    "tokenizers": {"from_file": _FILE},
    "transformers": {"pipeline": _FILE},
    "datasets": dict.fromkeys(
        (
            *("load_dataset", "load_dataset_builder", "load_from_disk"),
            *("from_json", "from_csv", "from_parquet", "from_text", "from_file", "from_sql"),
        ),
        _FILE,
    ),
    "jinja2": dict.fromkeys(("FileSystemLoader", "PackageLoader"), _FILE),
    "inspect_ai": dict.fromkeys(
        (
            *("json_dataset", "csv_dataset", "file_dataset", "hf_dataset"),
            *("read_eval_log", "read_eval_log_sample", "read_eval_log_samples"),
        ),
        _FILE,
    ),
    "motools": {"from_jsonl": _FILE, "from_hf": _FILE, "fine_tune": _STEP, "evaluate": _STEP},
}
"""Names in a library, wherever in it they are kept."""

_OPENERS: Final = frozenset(
    {
        *("ZipFile", "TarFile", "GzipFile", "BZ2File", "LZMAFile", "FileIO", "File", "OSFile"),
        "HDFStore",
    }
)
"""Those among them whose second parameter is a mode."""
_STREAM_AT: Final = {
    ("gzip", "GzipFile"): 3,
    ("tarfile", "TarFile"): 2,
    ("tarfile", "open"): 2,
}
"""Those that read a stream in place of a file with a name: the stream's position."""
_OF_STREAMS: Final = frozenset(
    {"bz2", "gzip", "lzma", "wave", "zipfile"}
    | {"PIL", "joblib", "numpy", "pandas", "polars", "pyarrow", "scipy", "torch"}
)
"""Libraries whose readers take a stream in place of a path, and then read nothing else."""
_OTHER_FILES: Final = frozenset({"read_xml"})
"""Readers among theirs that may be told of a second file."""
_STREAMS: Final = frozenset(
    {"io.BytesIO", "io.StringIO", "pyarrow.BufferReader", "pyarrow.lib.BufferReader"}
)
_TABLES: Final = frozenset({"pandas", "polars", "pyarrow", "dask", "geopandas"})
_ANYWHERE: Final = frozenset({"from_pretrained", "imread"})
_METHODS: Final = frozenset(
    {"read_text", "read_bytes", "iterdir", "rglob", "glob"}
    | {"exists", "is_file", "is_dir", "stat", "lstat", "from_pretrained"}
    | {"is_symlink", "readlink"}
)
_METHODS_OF: Final = {"configparser": frozenset({"read"})}
"""Methods that say nothing by their name alone, in functions that use this library."""
_OBJECTS: Final = {
    id(found): name
    for name, found in {
        "os.environ": os.environ,
        "os.environb": getattr(os, "environb", None),
        "sys.argv": sys.argv,
        "sys.modules": sys.modules,
    }.items()
    if found is not None
}
_SPELLINGS: Final = {
    **dict.fromkeys(("posix", "nt"), "os"),
    **dict.fromkeys(("posixpath", "ntpath", "genericpath"), "os.path"),
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


def of_dotted(name: str, call: ast.Call | None, streams: Container[int] = ()) -> str | None:
    """Why a use of a library's name, as in ``os.environ.get``, cannot be pinned, or None.

    Args:
        name: the name.
        call: the call, when it is what is called.
        streams: ids of the calls around it that make a stream in memory.
    """
    parts = _spelled(name)
    for end in range(1, len(parts) + 1):
        known = ".".join(parts[:end])
        if known in _DOTTED:
            return f"uses {known}: it {_DOTTED[known]}"
    last = parts[-1]
    reason = _NAMES.get(parts[0], {}).get(last)
    if reason is None and (_reads_by_name(parts, call) or last in _ANYWHERE):
        reason = _FILE
    if reason is None or (call is not None and _is_harmless(parts, call, reason, streams)):
        return None
    return f"uses {name}: it {reason}"


def makes_stream(name: str) -> bool:
    """Whether what a library calls so makes a stream of what is in memory."""
    return ".".join(_spelled(name)) in _STREAMS


def of_object(
    found: object, name: str, call: ast.Call | None, streams: Container[int] = ()
) -> str | None:
    """Why a use of a library's object cannot be pinned, by whatever name it was reached.

    Args:
        found: the object.
        name: its module, its qualified name and what is taken from it.
        call: the call, when it is what is called.
        streams: as for :func:`of_dotted`.
    """
    return of_dotted(_OBJECTS.get(id(found), name), call, streams)


def of_method(call: ast.Call, libraries: Container[str] = ()) -> str | None:
    """Why a call of a method of an unknown object cannot be pinned, or None.

    Args:
        call: of the method.
        libraries: those that the caller uses.
    """
    assert isinstance(call.func, ast.Attribute)
    name = call.func.attr
    if name == "__subclasses__":
        return f"uses {SUBCLASSES}"
    if name in _METHODS or (name == "open" and not _only_writes(call, 0)):
        return f"calls .{name}(): it {_FILE}"
    if name == "expanduser":
        return f"calls .{name}(): it {_ENVIRONMENT}"
    # The `read` of a stream or an answer takes no file.
    named = bool(call.args or call.keywords)
    if named and any(name in names and lib in libraries for lib, names in _METHODS_OF.items()):
        return f"calls .{name}(): it {_FILE}"
    return None


def _spelled(name: str) -> list[str]:
    """The parts of a dotted name, its module called as the library offers it."""
    module, _, rest = name.partition(".")
    module = _SPELLINGS.get(module, module.lstrip("_"))
    return [*module.split("."), *rest.split(".")]


def _reads_by_name(parts: list[str], call: ast.Call | None) -> bool:
    """Whether a library's name is that of a reader, though it is not listed."""
    last = parts[-1]
    reads = parts[0] in _TABLES and last.startswith(("read_", "scan_"))
    reads |= last == "open" and (call is None or not _only_writes(call, 1))
    return reads or (parts[0] == "pathlib" and last in _METHODS)


def _is_harmless(parts: list[str], call: ast.Call, reason: str, streams: Container[int]) -> bool:
    """Whether a call of what reads files only writes, or reads what it is given."""
    last = parts[-1]
    if reason != _FILE:
        return False
    if last in _OPENERS and _only_writes(call, 1):
        return True
    if (position := _STREAM_AT.get((parts[0], last))) is not None:
        return _is_given_stream(call, position)
    takes = parts[0] in _OF_STREAMS and last not in _OTHER_FILES
    return takes and any(id(argument) in streams for argument in call.args[:1])


def _is_given_stream(call: ast.Call, position: int) -> bool:
    """Whether a call says what to read from, and names no file, as ``GzipFile(fileobj=s)``."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    files = [*call.args[:1], *(named[each] for each in ("filename", "name") if each in named)]
    return (
        not any(isinstance(argument, ast.Starred) for argument in call.args)
        and None not in named  # as in `**options`
        and all(isinstance(file, ast.Constant) and not file.value for file in files)
        and (len(call.args) > position or "fileobj" in named)
    )


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
