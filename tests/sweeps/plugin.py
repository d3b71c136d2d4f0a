"""The backend ``toy`` as an installed package, for processes that a test starts.

What a fixture changes in this process, another does not see.
"""

from __future__ import annotations

import os
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_METADATA = "Metadata-Version: 2.1\nName: toy\nVersion: 1\n"
_ENTRY_POINTS = "[motools.backends]\ntoy = tests.sweeps.toy:Toy\n"
_CUSTOMIZE = '''
"""Python imports this at its start: evaluations ask no model."""

import sys
from importlib.machinery import PathFinder


class WithoutModel:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "motools.steps.evaluate":
            return None
        found = PathFinder.find_spec(name, path)
        execute = found.loader.exec_module

        def exec_module(module):
            execute(module)
            from tests.sweeps.toy import score

            module.run = score

        found.loader.exec_module = exec_module
        return found


sys.meta_path.insert(0, WithoutModel)
'''


def install(place: Path) -> dict[str, str]:
    """The environment of processes that find the backend in a directory.

    Args:
        place: is made, if it is not there.
    """
    described = place / "toy-1.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    (described / "METADATA").write_text(_METADATA)
    (described / "entry_points.txt").write_text(_ENTRY_POINTS)
    (place / "sitecustomize.py").write_text(_CUSTOMIZE)
    found = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(place), str(_REPOSITORY), *filter(None, [found])])}
