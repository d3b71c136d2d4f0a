"""Where code comes from: one's own source, a package, the standard library or motools."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import re
import site
import sys
import sysconfig
from enum import Enum
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Final

from motools.digest import hash_bytes
from motools.errors import SourceError


class Origin(Enum):
    """Who answers for a piece of code, which says how it enters a digest."""

    OWN = "by source"
    PACKAGE = "by the version of its distribution"
    STDLIB = "not at all"
    MOTOOLS = "by the recipe numbers of motools"


_BUILD: Final = re.compile(r"\+(cpu|xpu|cu\d+|rocm[\d.]+)$")
_INSTALLATION: Final = re.compile(r"^\.\.|\.dist-info/|__pycache__")
_MOTOOLS: Final = str(Path(__file__).parents[1])


@functools.cache
def of_file(filename: str) -> Origin:
    """The origin of code by the file it was compiled from; editable installs are one's own."""
    if filename.startswith("<frozen "):
        return Origin.STDLIB
    if filename.startswith("<"):
        return Origin.OWN
    path = Path(filename).absolute()
    if path.is_relative_to(_MOTOOLS):
        return Origin.MOTOOLS
    if {"site-packages", "dist-packages"} & set(path.parts) or any(
        path.is_relative_to(directory) for directory in _package_directories()
    ):
        return Origin.PACKAGE
    if any(path.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")):
        return Origin.STDLIB
    return Origin.OWN


def of_module(name: str) -> Origin:
    """The origin of a module by its name, without importing it.

    Raises:
        SourceError: there is no source and no distribution by which to tell.
    """
    top = name.partition(".")[0]
    if top == "motools":
        return Origin.MOTOOLS
    file = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(file, str):
        return of_file(file)
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return Origin.STDLIB
    if top in ("__main__", "__mp_main__"):
        return Origin.OWN
    return _of_distribution(top)


def extension_content(module: str) -> str | None:
    """A digest of a compiled module of one's own, or None for any other module.

    It is of the file as it was when first asked for: what is built meanwhile is not loaded.

    Args:
        module: its name; only of a module that is loaded is it known where it is.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(file, str) or not file.endswith(tuple(EXTENSION_SUFFIXES)):
        return None
    return _file_content(file) if of_file(file) is Origin.OWN else None


def public_name(module: str, name: str) -> str:
    """Where the standard library offers a name: in the outermost module that has it.

    Where it keeps a name differs between Python versions.
    """
    top, *inner = module.lstrip("_").split(".")
    first = name.partition(".")[0]
    found = getattr(sys.modules.get(module), first, None)
    places = [".".join([top, *inner[:end]]) for end in range(len(inner) + 1)]
    for place in places:
        if found is not None and getattr(sys.modules.get(place), first, None) is found:
            return f"{place}.{name}"
    return f"{places[-1]}.{name}"


def packages(name: str) -> dict[str, str]:
    """The distributions that provide a module, with their versions.

    Raises:
        SourceError: no installed distribution claims the module.
    """
    return _packages(name.partition(".")[0])


def of_live_module(module: ModuleType) -> Origin:
    """The origin of a module that is loaded, whether or not it can be imported by name."""
    file = getattr(module, "__file__", None)
    return of_file(file) if isinstance(file, str) else of_module(module.__name__)


@functools.cache
def _file_content(file: str) -> str:
    try:
        return hash_bytes(Path(file).read_bytes()).hex
    except OSError as problem:
        raise SourceError(f"{file}: cannot be read: {problem}; pass version=") from problem


@functools.cache
def _packages(top: str) -> dict[str, str]:
    try:
        return {top: _version(top)}
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(_distributions().get(top, ())))
    if not names:
        raise SourceError(
            f"module {top!r} is installed, but no distribution claims it, so its version is "
            "unknown; install it with pip, or pass version="
        )
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    distribution = importlib.metadata.distribution(name)
    # A laptop plans the same keys as a worker, whose build is for another accelerator.
    version = _BUILD.sub("", distribution.version)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if "vcs_info" in origin:
        return f"{version}+{origin['vcs_info'].get('commit_id')}"
    if str(origin.get("url", "")).startswith("file:"):
        return f"{version}+{_content(distribution)}"
    return version


def _content(distribution: importlib.metadata.Distribution) -> str:
    """A digest of what was installed from a directory: its version may stay as it changes."""
    lines = (distribution.read_text("RECORD") or "").splitlines()
    # Scripts begin with the path of an interpreter; the rest of these tell of the installation.
    kept = [line for line in lines if not _INSTALLATION.search(line)]
    return hash_bytes("\n".join(sorted(kept)).encode()).hex


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


@functools.cache
def _package_directories() -> tuple[str, ...]:
    found = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    found |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(found))


def _of_distribution(top: str) -> Origin:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SourceError(f"module {top!r} cannot be found; install it, or pass version=")
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    origins = {of_file(str(place)) for place in places}
    return Origin.OWN if Origin.OWN in origins else Origin.PACKAGE
