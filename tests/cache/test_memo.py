"""Memos: forgotten the moment their signature is another."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from blake3 import blake3

from motools.cache import Cache
from motools.memo import settled


def test_a_memo_holds_while_its_signature_does(cache: Cache) -> None:
    cache.memo.record("task/1", "tasks.py", "1:2:3", {"id": "abc"})
    assert cache.memo.recall("task/1", "tasks.py", "1:2:3") == {"id": "abc"}
    assert cache.memo.recall("task/1", "tasks.py", "1:2:4") is None
    assert cache.memo.recall("task/2", "tasks.py", "1:2:3") is None
    cache.memo.record("task/1", "tasks.py", "1:2:4", None)
    assert cache.memo.recall("task/1", "tasks.py", "1:2:3") is None


def test_thousands_at_once(cache: Cache) -> None:
    cache.memo.record_many("many", [(f"s{n}", "sig", n) for n in range(1_700)])
    found = cache.memo.recall_many("many", {f"s{n}": "sig" for n in range(2_000)})
    assert found == {f"s{n}": n for n in range(1_700)}


def test_threads_may_record_at_once(cache: Cache) -> None:
    threads = [
        threading.Thread(target=cache.memo.record, args=("t", f"s{n}", "", n)) for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.memo.recall_many("t", {f"s{n}": "" for n in range(40)})) == 40


def test_a_digest_follows_the_file(cache: Cache, tmp_path: Path) -> None:
    """However it is changed: in the same moment, with its times put back, by another file."""
    path = tmp_path / "file"
    for turn in range(40):
        data = f"{turn:04}".encode()
        if turn % 3 == 0:
            path.write_bytes(data)
        elif turn % 3 == 1:
            status = path.stat()
            path.write_bytes(data)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            (tmp_path / "new").write_bytes(data)
            (tmp_path / "new").replace(path)
        if turn % 4 == 0:
            time.sleep(0.03)  # long enough for the digest to be remembered
        assert cache.digest_file(path).hex == blake3(data).hexdigest()


def test_what_was_just_changed_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    status = path.stat()
    newest = max(status.st_mtime_ns, status.st_ctime_ns)
    assert not settled(status, newest)
    assert not settled(status, newest + 10_000_000)
    assert settled(status, newest + 100_000_000)
