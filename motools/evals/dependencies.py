"""What loading a task depended on, so that an unchanged task is not loaded again.

The :class:`Recorder` watches the worker that loads the task: files and
directories read, looked for or missing, environment variables read. What it
cannot follow (the network, other processes, writing, libraries that open files
by themselves) makes the load *opaque*,
and an opaque load is never remembered. :func:`unchanged` is the other end, in
the process that would like to skip the load.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from motools.digest import hash_bytes
from motools.evals import native
from motools.memo import SETTLED_NS

_OPAQUE: Final = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.sendmsg",
        "socket.sendto",
        "sqlite3.connect",
        "subprocess.Popen",
    }
)
_KINDS: Final = ("stdlib", "platstdlib", "purelib", "platlib")
_LISTING: Final = frozenset({"os.listdir", "os.scandir"})
_DIRECTORY: Final = "directory"
_ALL: Final = "="  # no variable can be called so
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Signature = list[int] | str | None
"""Size, mtime, ctime and inode of a file; ``directory``; or None: it is not there."""


@dataclass
class Dependencies:
    """What a load depended on, as JSON-able facts.

    Attributes:
        files: path to signature, of everything read, looked for or missing.
        listed: directory to signature, of directories whose names were listed.
        environment: variable to the digest of its value, or None where unset; ``=``
            to the digest of all names, where they were listed. Values may be
            secrets, so they are not kept.
        opaque: why the load cannot be remembered; empty if it can.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    listed: dict[str, Signature] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)
    opaque: list[str] = field(default_factory=list)


def unchanged(dependencies: Mapping[str, Any]) -> bool:
    """Whether everything that a load depended on is as it was.

    Args:
        dependencies: the fields of :class:`Dependencies`, as read back from JSON.
    """
    return (
        all(signature_of(path) == seen for path, seen in dependencies["files"].items())
        and all(
            signature_of(path, listed=True) == seen for path, seen in dependencies["listed"].items()
        )
        and all(_digest_now(name) == seen for name, seen in dependencies["environment"].items())
    )


def signature_of(path: str, *, listed: bool = False) -> Signature:
    """What changes when a file changes, or for ``listed`` when a directory's names do."""
    try:
        status = _stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not listed and status.st_mode & 0o170000 == 0o040000:
        return _DIRECTORY
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def variable_digest(name: str, value: str | None) -> str | None:
    """The digest that stands for an environment variable's value."""
    if value is None:
        return None
    return hash_bytes(f"{name}={value}".encode(errors="surrogateescape")).hex


def _digest_now(name: str) -> str | None:
    if name == _ALL:
        return _digest_of_names(os.environ)
    return variable_digest(name, os.environ.get(name))


def _digest_of_names(names: Iterable[str]) -> str | None:
    """A digest of which variables there are, for who reads them all."""
    return variable_digest(_ALL, " ".join(sorted(names)))


class Recorder:
    """Records what this process depends on while :meth:`recording`."""

    def __init__(self) -> None:
        self.dependencies = Dependencies()
        self._active = False
        for directory in _INSTALLED:
            # Installing, upgrading or removing a distribution changes the names in it.
            self.dependencies.listed[directory] = signature_of(directory, listed=True)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record until the end of the block. An audit hook stays, so: once a process."""
        environ = type(os.environ)
        read, names, stat = environ.__getitem__, environ.__iter__, os.stat
        sys.addaudithook(self._audit)
        environ.__getitem__ = self._reading(read)  # type: ignore[method-assign]
        environ.__iter__ = self._naming(names)  # type: ignore[method-assign]
        os.stat = self._looking(stat)
        self._active = True
        try:
            yield
        finally:
            self._active = False
            os.stat = stat
            environ.__getitem__ = read  # type: ignore[method-assign]
            environ.__iter__ = names  # type: ignore[method-assign]
            sources = [path for path in self.dependencies.files if path.endswith(".py")]
            for unseen in native.used(sources):
                self._cannot_follow(unseen)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            self._opened(*arguments)
        elif event == "import":
            self._imported(*arguments[:3])
        elif event in _LISTING:
            # The import system lists directories for itself; `_imported` covers it.
            caller = sys._getframe(1)  # noqa: SLF001  (the only way to know who lists)
            if not caller.f_code.co_filename.startswith("<frozen importlib"):
                self._see(arguments[0], listed=True)
        elif event in _OPAQUE:
            self._cannot_follow(f"{event} {arguments[:1]!r}")

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        writing = set(mode) & set("wax+") if isinstance(mode, str) else (flags or 0) & _WRITING
        if writing and path != os.devnull:
            self._cannot_follow(f"wrote {path!r}")
        else:
            self._see(path)

    def _imported(self, module: str, file: Any, search: Any) -> None:
        """Note where else a module would be found, since it may appear there."""
        if file is not None:  # an extension module, which Python does not open by itself
            self._see(file)
        package, _, module = module.rpartition(".")
        if package:
            search = getattr(sys.modules.get(package), "__path__", ())
        for directory in search or ():
            for candidate in (module, f"{module}.py"):
                self._see(os.path.join(directory, candidate))

    def _see(self, path: Any, *, listed: bool = False) -> None:
        if isinstance(path, os.PathLike):
            path = os.fspath(path)
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str):
            return
        path = os.path.abspath(path)
        seen = self.dependencies.listed if listed else self.dependencies.files
        if path in seen or is_installed(path):
            return
        seen[path] = signature = signature_of(path, listed=listed)
        if isinstance(signature, list) and max(signature[1:3]) > time.time_ns() - SETTLED_NS:
            self._cannot_follow(f"{path} is changing")

    def _cannot_follow(self, what: str) -> None:
        if what not in self.dependencies.opaque:
            self.dependencies.opaque.append(what)

    def _reading(self, read: Any) -> Any:
        def __getitem__(environ: Any, name: Any) -> Any:  # noqa: N807
            text = os.fsdecode(name) if isinstance(name, bytes) else name
            if self._active and isinstance(text, str):
                self._read_variable(text, read)
            return read(environ, name)

        return __getitem__

    def _naming(self, names: Any) -> Any:
        def __iter__(environ: Any) -> Any:  # noqa: N807
            if self._active:
                self.dependencies.environment[_ALL] = _digest_of_names(names(os.environ))
            return names(environ)

        return __iter__

    def _read_variable(self, name: str, read: Any) -> None:
        if name in self.dependencies.environment:
            return
        try:
            value = read(os.environ, name)
        except KeyError:
            value = None
        self.dependencies.environment[name] = variable_digest(name, value)

    def _looking(self, stat: Any) -> Any:
        def looking(path: Any, *arguments: Any, **options: Any) -> Any:
            if self._active and options.get("dir_fd") is None:
                self._see(path)
            return stat(path, *arguments, **options)

        return looking


def is_installed(path: str) -> bool:
    """Whether an absolute path is in the standard library or an installed distribution.

    These enter by version, not by file.
    """
    return path.startswith(_INSIDE)


_stat = os.stat
_PATHS: Final = sysconfig.get_paths()
_INSTALLED: Final = sorted({os.path.abspath(_PATHS[name]) for name in _KINDS})
_INSIDE: Final = tuple(directory + os.sep for directory in _INSTALLED)
