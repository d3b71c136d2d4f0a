"""Blobs and trees: hashed once, trusted while untouched, refused when strange."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from motools.cache import Cache, RunContext
from motools.cache.tree import Tree, TreeFile
from motools.digest import Digest, hash_bytes, hash_file, hash_private_file
from motools.errors import CacheError, CacheUnavailableError, CorruptDocumentError
from tests.cache.conftest import action


def settle() -> None:
    """Let the times of files grow old enough to tell the next change from the last."""
    time.sleep(0.05)


def opened(cache_root: Path, source: Path) -> set[str]:
    """The files below ``source`` that a second process opens when it adds it."""
    code = (
        "import sys\n"
        "seen = []\n"
        "def watch(name, args):\n"
        "    if name == 'open':\n"
        "        seen.append(str(args[0]))\n"
        "sys.addaudithook(watch)\n"
        "from motools.cache import Cache\n"
        f"tree = Cache.open({str(cache_root)!r}).add({str(source)!r})\n"
        f"print(*[name for name in seen if name.startswith({str(source)!r})], sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")) - {""}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "deep").mkdir(parents=True)
    (place / "a.txt").write_text("a")
    (place / "deep" / "b.bin").write_bytes(b"b" * 3_000_000)
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    return place


def test_adding_copies_and_names(cache: Cache, source: Path) -> None:
    tree = cache.add(source)
    assert [(f.path, f.executable) for f in tree.files] == [
        ("a.txt", False),
        ("deep/b.bin", False),
        ("run.sh", True),
    ]
    for file in tree.files:
        data = (source / file.path).read_bytes()
        assert file.digest == blake3(data).hexdigest()
        assert cache.blobs.read(file.digest, file.size) == data
        assert os.stat(cache.blobs.path(file.digest, file.size)).st_mode & 0o222 == 0
    (source / "a.txt").write_text("changed")
    assert cache.blobs.read(tree.files[0].digest, 1) == b"a"


def test_unchanged_files_are_not_read_again(cache: Cache, source: Path) -> None:
    settle()
    tree = cache.add(source)
    assert opened(cache.root, source) == set()
    (source / "a.txt").write_text("b")
    settle()
    assert opened(cache.root, source) == {str(source / "a.txt")}
    assert cache.add(source) != tree


def test_a_file_changed_just_now_is_read_again(cache: Cache, source: Path) -> None:
    """Its times might not tell the next change from the last one."""
    (source / "a.txt").write_text("x")
    cache.add(source)
    status = os.stat(source / "a.txt")
    (source / "a.txt").write_text("y")
    os.utime(source / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.add(source).files[0].digest == blake3(b"y").hexdigest()


def test_a_change_with_the_times_put_back_is_noticed(cache: Cache, source: Path) -> None:
    settle()
    cache.add(source)
    status = os.stat(source / "a.txt")
    (source / "a.txt").write_text("z")
    os.utime(source / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.add(source).files[0].digest == blake3(b"z").hexdigest()


def test_a_vanished_blob_is_copied_again(cache: Cache, source: Path) -> None:
    settle()
    [file, *_] = cache.add(source).files
    cache.blobs.path(file.digest, file.size).unlink()
    assert cache.add(source).files[0] == file
    assert cache.blobs.read(file.digest, file.size) == b"a"


@pytest.mark.parametrize("make", ["symlink", "fifo"])
def test_links_and_devices_are_refused(cache: Cache, source: Path, make: str) -> None:
    if make == "symlink":
        (source / "strange").symlink_to(source / "a.txt")
    else:
        os.mkfifo(source / "strange")
    with pytest.raises(CacheError, match="strange is neither a file nor a directory"):
        cache.add(source)


def test_what_is_not_there_is_an_error(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises((CacheError, OSError), match="none"):
        cache.add(tmp_path / "none")


@pytest.mark.parametrize(
    "path", ["../up", "/root", "a/../b", "a//b", "./a", "a/", "", "a\\b", "a\0b"]
)
def test_paths_that_leave_are_refused(path: str) -> None:
    with pytest.raises(CacheError, match="plain relative path"):
        Tree.of([TreeFile(path, "ab" * 32, 1)])


@pytest.mark.parametrize(
    ("one", "two"), [("README", "readme"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE")]
)
def test_names_that_fold_together_are_refused(one: str, two: str) -> None:
    with pytest.raises(CacheError, match="folded"):
        Tree.of([TreeFile(one, "ab" * 32, 1), TreeFile(two, "ab" * 32, 1)])


PATHS = st.lists(st.text("abcxyz01", min_size=1, max_size=4), min_size=1, max_size=3).map(
    lambda parts: "/".join([*(f"{part}.d" for part in parts[:-1]), parts[-1]])
)
FILES = st.builds(
    TreeFile,
    PATHS,
    st.binary(max_size=3).map(lambda data: hash_bytes(data).hex),
    st.integers(0, 2**53 - 1),
    st.booleans(),
)


@given(st.dictionaries(PATHS, FILES, max_size=6))
def test_trees_round_trip_in_any_order(files: dict[str, TreeFile]) -> None:
    named = [TreeFile(p, f.digest, f.size, f.executable) for p, f in files.items()]
    tree = Tree.of(named)
    assert Tree.of(reversed(named)) == tree
    assert Tree.parse(tree.canonical) == tree
    assert tree.digest == hash_bytes(tree.canonical)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"schema":"motools.tree/1","files":[["../x","ab",1,false]]}', b"[1]"]
)
def test_what_is_not_a_tree_is_refused(data: bytes) -> None:
    with pytest.raises((CorruptDocumentError, CacheError)):
        Tree.parse(data)


@given(st.binary(max_size=100))
def test_hashing_is_blake3(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("hash") / "data"
    for size in (1, 20_000):
        path.write_bytes(data * size)
        expected = blake3(data * size).hexdigest()
        assert hash_bytes(data * size).hex == expected
        assert hash_file(path).hex == hash_private_file(path).hex == expected
        assert hash_file(path).size == len(data) * size


def test_a_file_that_changes_while_it_is_read_is_an_error(
    cache: Cache, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from motools.cache import staging

    original = staging.copy_file

    def copy_and_write(one: Path, two: Path) -> None:
        original(one, two)
        one.write_bytes(b"someone else's")

    monkeypatch.setattr(staging, "copy_file", copy_and_write)
    with pytest.raises(CacheUnavailableError, match=r"b\.bin changed while it was read"):
        cache.add(source / "deep")


def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_moved(cache: Cache) -> None:
    def run(context: RunContext) -> None:
        (context.directory / "good").write_text("good")
        (context.directory / os.fsdecode(b"bad\xff")).write_text("bad")

    with pytest.raises(CacheError, match=r"bad\\udcff' is not UTF-8: rename it"):
        cache.get_or_run(action(), run)
    assert not list((cache.root / "objects").rglob("*"))


def test_odd_names_are_kept(cache: Cache, tmp_path: Path) -> None:
    names = ["new\nline", "'quoted\"", "ünïcode", " spaced ", "-rf", "con.txt", "%s$HOME"]

    def run(context: RunContext) -> None:
        for name in names:
            (context.directory / name).write_text(name)

    entry = cache.get_or_run(action(), run)
    place = entry.checkout(tmp_path / "out")
    assert {name: (place / name).read_text() for name in names} == {name: name for name in names}


def test_a_folder_that_is_not_utf_8_can_be_read_from(cache: Cache, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    (place / "file").write_text("data")
    assert cache.add(place).files[0].digest == cache.digest_file(place / "file").hex


def test_a_file_and_a_directory_that_fold_together_are_refused() -> None:
    with pytest.raises(CacheError, match="are one file where case"):
        Tree.of([TreeFile("Data", "0" * 64, 1), TreeFile("data/x", "0" * 64, 1)])


def test_a_digest_that_is_none_is_refused() -> None:
    with pytest.raises(CacheError, match="is not a digest"):
        Tree.of([TreeFile("file", "../../../etc/passwd", 1)])


def test_who_may_execute_is_per_path_not_per_blob(cache: Cache, tmp_path: Path) -> None:
    def run(context: RunContext) -> None:
        for name, mode in (("a", 0o644), ("b.sh", 0o755), ("c", 0o644)):
            (context.directory / name).write_text("the same bytes")
            (context.directory / name).chmod(mode)

    place = cache.get_or_run(action(), run).checkout(tmp_path / "out")
    assert [(path.name, os.access(path, os.X_OK)) for path in sorted(place.iterdir())] == [
        ("a", False),
        ("b.sh", True),
        ("c", False),
    ]


def test_a_digest_of_a_file_that_changes_while_it_is_read_is_an_error(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from motools.cache import memo

    path = tmp_path / "file"
    path.write_text("before")
    hash_file = memo.hash_file

    def changing(name: str) -> Digest:
        found = hash_file(name)
        path.write_text("after!")
        return found

    monkeypatch.setattr(memo, "hash_file", changing)
    with pytest.raises(CacheUnavailableError, match="changed while it was read"):
        cache.digest_file(path)
