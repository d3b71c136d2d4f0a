"""A module that stands for heavy ones, and workers that are forked after it was imported."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from motools.worker import fork_server, run_worker

HEAVY = "import os\npid, state, version = os.getpid(), [], 1\n"
WORKER = """
import os
import heavy
from motools.worker import serve

def main(request, emit):
    scope = {"heavy": heavy, "os": os, "request": request, "emit": emit}
    exec(request["code"], scope)
    return scope.get("value")

if __name__ == "__main__":
    serve(main)
"""


@dataclass
class Workplace:
    """A directory of modules, on the path of workers.

    Attributes:
        directory: has ``heavy.py`` and ``job.py``.
        log: what the last worker printed.
    """

    directory: Path
    log: Path

    def write(self, module: str, source: str) -> None:
        """Write a module, and wait until it is older than a process that begins now."""
        (self.directory / f"{module}.py").write_text(source)
        time.sleep(0.05)

    def run(
        self,
        code: str,
        *,
        imports: tuple[str, ...] = ("heavy",),
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        **options: Any,
    ) -> Any:
        """Run code in a worker, and return its ``value``."""
        request = {"code": textwrap.dedent(code), **options.pop("request", {})}
        log = options.pop("log", self.log)
        return run_worker("job", request, log=log, on_event=on_event, imports=imports, **options)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    directory = tmp_path / "modules"
    directory.mkdir()
    paths = [str(directory), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    place = Workplace(directory, tmp_path / "log")
    place.write("heavy", HEAVY)
    place.write("job", WORKER)
    yield place
    for server in fork_server._servers.values():
        server.end()
    fork_server._servers.clear()
