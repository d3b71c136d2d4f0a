"""Disks that are full, read-only, or cannot lock: a clear error, and the cache intact."""

from __future__ import annotations

from pathlib import Path

from tests.faults.conftest import Script

MOUNT = """
place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + sys.argv[2], "tmpfs", place], check=True)
"""


def test_full_disk_in_the_run(in_namespace: Script, tmp_path: Path) -> None:
    done = in_namespace(
        MOUNT
        + """
cache = Cache.open(place / "cache")
kept = cache.get_or_run(action(1), write(10_000))
try:
    cache.get_or_run(action(2), write(4_000_000))
except OSError as problem:
    assert problem.errno == errno.ENOSPC
else:
    raise SystemExit("did not notice")
assert cache.look_up([action(1), action(2)])[1] is None
again = cache.get_or_run(action(1), write(1))
assert again.hit and len(again.files["data.bin"].read_bytes()) == 10_000
assert not cache.get_or_run(action(2), write(10)).hit
print("intact")
""",
        tmp_path,
        "3m",
    )
    assert done.stdout == "intact\n", done.stderr


def test_full_disk_in_the_commit(in_namespace: Script, tmp_path: Path) -> None:
    done = in_namespace(
        MOUNT
        + """
cache = Cache.open(place / "cache")
cache.get_or_run(action(1), write(10_000))
ballast = place / "ballast"

def fill(context):
    (context.directory / "data.bin").write_bytes(b"x" * 1000)
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"0" * 4096)
        except OSError:
            pass
    return "y" * 200_000

try:
    cache.get_or_run(action(2), fill)
except CacheUnavailableError as problem:
    print(problem)
else:
    raise SystemExit("did not notice")
ballast.unlink()
assert cache.get_or_run(action(1), write(1)).hit
entry = cache.get_or_run(action(2), write(10))
assert Cache.open(place / "cache").look_up([action(2)])[0].value == entry.value
""",
        tmp_path,
        "3m",
    )
    assert done.returncode == 0, done.stderr
    assert "disk is full" in done.stdout or "No space left" in done.stdout
    assert "free" in done.stdout


def test_a_prune_makes_room_on_a_full_disk(in_namespace: Script, tmp_path: Path) -> None:
    """Bytes go before documents are written, and some entries' before those of the others."""
    done = in_namespace(
        MOUNT
        + """
from motools.upkeep import prune
from motools.upkeep.policy import Budget, Policy

everything = Policy(Budget(max_size=0), spare=0.0)
child = os.fork()
if child == 0:
    cache = Cache.open(place / "cache")
    for n in range(30):
        cache.get_or_run(action(n), write(50_000))
    cache.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
ballast = place / "ballast"
with ballast.open("wb", buffering=0) as stream:
    try:
        while True:
            stream.write(b"0" * 1024)
    except OSError:
        stream.truncate(stream.tell() - (96 << 10))
kept = Cache.open(place / "cache")
try:
    prune.execute(kept, prune.plan(kept, everything))
except CacheUnavailableError as problem:
    print(problem)
else:
    raise SystemExit("did not notice")
kept.database.close()
cache = Cache.open(place / "cache", settings=Settings.load(trash_days=0.0))
prune.execute(cache, prune.plan(cache, everything))
assert not list(cache.store.names("objects")) and not list(cache.store.names("trash"))
assert all(entry.released for entry in cache.entries()) and len(cache.entries()) == 30
assert not cache.database.read("SELECT * FROM outbox")
""",
        tmp_path,
        "8m",
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "MOTOOLS_TRASH_DAYS=0" in done.stdout and "full" in done.stdout


def test_read_only_directory(in_namespace: Script, tmp_path: Path) -> None:
    done = in_namespace(
        MOUNT
        + """
child = os.fork()
if child == 0:
    Cache.open(place / "cache").get_or_run(action(1), write(10))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
for attempt in (
    lambda: Cache.open(place / "cache").get_or_run(action(2), write(10)),
    lambda: Cache.open(place / "none"),
):
    try:
        attempt()
    except CacheUnavailableError as problem:
        print(problem)
    else:
        raise SystemExit("did not notice")
subprocess.run(["mount", "-o", "remount,rw", place], check=True)
assert Cache.open(place / "cache").get_or_run(action(1), write(1)).hit
""",
        tmp_path,
        "3m",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("read-only" in line.lower() and "writable" in line for line in lines), lines


def test_file_system_that_cannot_flock(with_failing: Script, tmp_path: Path) -> None:
    done = with_failing(
        "flock:error=ENOLCK",
        [],
        """
try:
    Cache.open(sys.argv[1]).get_or_run(action(1), write(10))
except CacheUnavailableError as problem:
    print(problem)
""",
        tmp_path / "cache",
    )
    assert "cannot lock" in done.stdout, done.stderr
    assert "local" in done.stdout


def test_file_system_that_cannot_lock_ranges(
    with_failing: Script, script: Script, tmp_path: Path
) -> None:
    """SQLite locks ranges of its files with fcntl."""
    fill = "Cache.open(sys.argv[1]).get_or_run(action(1), write(10))"
    assert script(fill, tmp_path / "cache").returncode == 0
    done = with_failing(
        "fcntl:error=ENOLCK",
        [tmp_path / "cache" / n for n in ("cache.db", "cache.db-shm", "tmp/in-use.lock")],
        """
try:
    cache = Cache.open(sys.argv[1])
    cache.get_or_run(action(2), write(10))
except CacheUnavailableError as problem:
    print(problem)
else:
    raise SystemExit("did not notice")
""",
        tmp_path / "cache",
    )
    assert done.returncode == 0, done.stderr
    assert "cannot lock" in done.stdout
    assert script(f"assert {fill}.hit", tmp_path / "cache").returncode == 0


def test_network_file_system_is_refused(tmp_path: Path) -> None:
    import os

    import pytest

    from motools.cache.mounts import check_file_system
    from motools.errors import CacheUnavailableError

    device = os.stat(tmp_path).st_dev
    table = tmp_path / "mountinfo"
    number = f"{os.major(device)}:{os.minor(device)}"
    for kind in ("nfs4", "fuse.sshfs", "9p", "lustre", "cifs"):
        table.write_text(f"36 35 {number} / / rw,noatime master:1 - {kind} server:/x rw\n")
        with pytest.raises(CacheUnavailableError, match=f"{kind}.*PostgreSQL"):
            check_file_system(tmp_path, table)
    table.write_text(f"36 35 {number} / / rw,noatime master:1 - ext4 /dev/vda rw\n")
    check_file_system(tmp_path, table)
