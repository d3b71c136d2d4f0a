"""Where a cache's directory is mounted, and what locks are worth there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from motools.errors import CacheUnavailableError

MOUNTS: Final = Path("/proc/self/mountinfo")

LOCAL_FILE_SYSTEMS: Final = frozenset(
    {
        *("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "ntfs3"),
        *("overlay", "ramfs", "reiserfs", "tmpfs", "ufs", "xfs", "zfs"),
    }
)
"""File systems whose locks SQLite can rely on."""

SHARED_FILE_SYSTEMS: Final = frozenset({"ceph", "gpfs", "lustre", "nfs", "nfs4"})
"""File systems of several machines that see each other's locks, unless mounted otherwise."""

_ONE_MACHINE: Final = frozenset({"nolock", "localflock", "local_lock=all", "local_lock=flock"})


@dataclass(frozen=True)
class Mount:
    """What a directory is on.

    Attributes:
        kind: the type of the file system.
        options: how it is mounted.
    """

    kind: str
    options: frozenset[str]


def check_file_system(directory: Path, mounts: Path = MOUNTS) -> None:
    """Refuse directories whose locks SQLite cannot rely on.

    Raises:
        CacheUnavailableError: the file system is not known to be local.
    """
    kind = mount_of(directory, mounts).kind
    if kind and kind not in LOCAL_FILE_SYSTEMS:
        raise CacheUnavailableError(
            f"{directory} is on {kind}, where SQLite's locks cannot be relied on. "
            "Put the cache on a local disk (--cache-dir, MOTOOLS_CACHE_DIR), "
            "or let PostgreSQL coordinate (MOTOOLS_DATABASE_URL)"
        )


def check_shared(directory: Path, mounts: Path = MOUNTS) -> None:
    """Refuse directories that other machines have too, but not their locks.

    A runner that was overtaken and goes on would write into the directory of
    the one that overtook it.

    Raises:
        CacheUnavailableError: the machines may not see each other's locks.
    """
    mount = mount_of(directory, mounts)
    local = mount.options & _ONE_MACHINE
    if local or (mount.kind and mount.kind not in LOCAL_FILE_SYSTEMS | SHARED_FILE_SYSTEMS):
        how = f"{mount.kind} ({', '.join(sorted(local))})" if local else mount.kind
        raise CacheUnavailableError(
            f"{directory} is on {how}, where machines may not see each other's file locks. "
            "Put the cache on NFS 4, mounted without local locks"
        )


def mount_of(directory: Path, mounts: Path) -> Mount:
    """What a directory is on, from ``mountinfo`` (proc(5)); of no kind where there is none."""
    if not mounts.exists():
        return Mount("", frozenset())  # not Linux: no list to hold it against
    wanted = os.stat(directory).st_dev
    device = f"{os.major(wanted)}:{os.minor(wanted)}"
    lines = [line.split(" - ") for line in mounts.read_text().splitlines()]
    for mount, source in lines:
        if mount.split()[2] == device:
            return _mount(mount, source)
    # Some file systems (btrfs, overlay) report a device of their own in stat: go by path.
    real, best = os.path.realpath(directory), ""
    found = Mount("an unknown file system", frozenset())
    for mount, source in lines:
        point = mount.split()[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, _mount(mount, source)
    return found


def _mount(mount: str, source: str) -> Mount:
    kind, _, *of_system = source.split()
    return Mount(kind, frozenset(",".join([mount.split()[5], *of_system]).split(",")))
