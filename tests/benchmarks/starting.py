"""Whole commands: how long until they have answered."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from motools.cache import Action, Cache
from tests.benchmarks.figures import Figure, median_of_each


def commands() -> list[Figure]:
    """``motools --version`` and ``motools cache list`` beside ``dvc --version``."""
    with tempfile.TemporaryDirectory() as place:
        cache = Cache.open(place)
        for number in range(100):
            cache.get_or_run(Action("function", config={"n": number}), lambda context: 1)
        cache.close()
        programs = Path(sys.executable).parent
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}

        def command(*arguments: str):  # type: ignore[no-untyped-def]
            return lambda: subprocess.run(
                [programs / arguments[0], *arguments[1:]],
                check=True,
                capture_output=True,
                env=environment,
            )

        listing = ("motools", "cache", "list", "all", "--limit", "20", "--cache-dir", place)
        medians = median_of_each(
            {
                "motools --version": command("motools", "--version"),
                "dvc --version": command("dvc", "--version"),
                "motools cache list": command(*listing),
            },
            11,
        )
    return [
        Figure("print the version", "motools", medians["motools --version"]),
        Figure("print the version", "dvc", medians["dvc --version"]),
        Figure("list entries", "motools cache list", medians["motools cache list"]),
        Figure("list entries", "dvc --version", medians["dvc --version"], "for comparison"),
    ]
