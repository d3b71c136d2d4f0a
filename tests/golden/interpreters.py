"""Python interpreters for the golden keys, each in an environment with blake3 alone.

``python tests/golden/interpreters.py 3.12 3.13`` makes the environments that can
be made, in ``.venvs/`` beside this repository's root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def found(version: str) -> Path | None:
    """An interpreter of this version: this one, on the path, or one of pyenv's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True),
        *filter(None, [shutil.which(f"python{version}")]),
    ]
    return next((Path(each) for each in candidates if _answers(Path(each), version)), None)


def environment(version: str) -> Path | None:
    """The interpreter of an environment with blake3, made if it is not there, or None."""
    python = found(version)
    if python is None or str(python) == sys.executable:
        return python
    home = ROOT / ".venvs" / version
    ready = home / "bin" / "python"
    if not (home / "ready").exists():
        # Workers of pytest-xdist may do this at once: each makes its own, the first one stays.
        fresh = home.with_name(f"{version}.{os.getpid()}")
        for command in (
            [python, "-m", "venv", fresh],
            [fresh / "bin" / "python", "-m", "pip", "install", "-q", "blake3"],
        ):
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
        (fresh / "ready").touch()
        try:
            fresh.rename(home)
        except OSError:
            shutil.rmtree(fresh)
    return ready


def _answers(python: Path, version: str) -> bool:
    # A shim of pyenv exists for versions that are installed but not selected.
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
    return answer.stdout.strip() == version


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(f"Python {wanted}: {environment(wanted) or 'not found'}")
