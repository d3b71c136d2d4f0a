"""Ceph's programs, for a real S3 in the tests: those of the system, or unpacked from packages.

``python tests/ceph.py DIRECTORY`` unpacks Debian's packages into a directory, as anybody:
nothing is installed and no script of theirs is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PROGRAMS = ("ceph-mon", "ceph-osd", "monmaptool", "osdmaptool", "radosgw", "radosgw-admin")
UNPACKED = Path(__file__).parents[1] / ".venv" / "ceph"

_PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
_TRIPLE = str(sysconfig.get_config_var("MULTIARCH") or "")


class NoCephError(Exception):
    """There are no programs, and none can be had here; it says why."""


def root() -> Path:
    """Below which the programs are.

    Raises:
        NoCephError: they are neither installed nor unpacked.
    """
    if all(map(shutil.which, PROGRAMS)):
        return Path("/")
    place = Path(os.environ.get("MOTOOLS_TEST_CEPH", UNPACKED))
    if (place / "usr" / "bin" / "radosgw").exists():
        return place
    raise NoCephError(
        "Ceph is neither installed (apt install radosgw ceph-mon ceph-osd ceph-common) "
        f"nor in {place} (python tests/ceph.py {place})"
    )


def libraries(root: Path) -> dict[str, str]:
    """Environment in which programs below a directory find what they load."""
    if root == Path("/"):
        return {}
    below = (f"usr/lib/{_TRIPLE}", f"usr/lib/{_TRIPLE}/ceph", f"lib/{_TRIPLE}", "usr/lib/ceph")
    return {"LD_LIBRARY_PATH": ":".join(str(root / folder) for folder in below)}


def plugins(root: Path) -> dict[str, Path]:
    """Settings of Ceph that say where the plugins below a directory are."""
    if root == Path("/"):
        return {}
    folder = root / "usr" / "lib" / _TRIPLE
    return {
        "osd_class_dir": folder / "rados-classes",
        "erasure_code_dir": folder / "ceph" / "erasure-code",
        "plugin_dir": folder / "ceph",
    }


def unpack(place: Path) -> None:
    """Unpack the packages, and what they need that the system lacks, into a directory.

    Raises:
        NoCephError: there is no apt, or it does not find them.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NoCephError("Ceph can be unpacked from Debian's packages only, and there is no apt")
    place = place.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="ceph-") as folder:
        work = Path(folder)
        try:
            _download(work)
        except NoCephError:
            _apt(work, "update")  # lists of the system's are missing, or name what is no more
            _download(work)
        for package in (work / "archives").glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, work / "root"], check=True)
        shutil.rmtree(place, ignore_errors=True)
        (work / "root").rename(place)


def _download(work: Path) -> None:
    _apt(work, "install", "--download-only", "--yes", "--no-install-recommends", *_PACKAGES)


def _apt(work: Path, *command: str) -> None:
    """Run apt with all that it writes in a directory of ours."""
    for folder in ("archives", "lists"):
        (work / folder / "partial").mkdir(parents=True, exist_ok=True)
    lists = work / "lists"
    options = [
        "Debug::NoLocking=1", f"Dir::Cache={work}", f"Dir::Cache::archives={work / 'archives'}",
        "APT::Sandbox::User=", "Acquire::Retries=3",
    ]  # fmt: skip
    if command[0] == "update" or len(list(lists.iterdir())) > 1:
        options.append(f"Dir::State::lists={lists}")
    arguments = [part for option in options for part in ("-o", option)]
    done = subprocess.run(
        ["apt-get", "--quiet", *arguments, *command], capture_output=True, text=True
    )
    if done.returncode:
        raise NoCephError(f"apt-get {command[0]} failed: {done.stderr.strip()[-1000:]}")


if __name__ == "__main__":
    try:
        root()
    except NoCephError:
        try:
            unpack(Path(sys.argv[1]))
        except NoCephError as problem:
            print(f"tests that need a real S3 will be skipped. {problem}", file=sys.stderr)
