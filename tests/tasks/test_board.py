"""What a person sees of jobs in flight: lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from motools.tasks import board
from motools.tasks.board import SHOWN, Board

SCRIPT = """
import logging, time
from motools.tasks import cached_task, run_context

@cached_task(version="1")
def slow() -> int:
    for n in range(1, 4):
        run_context().report(f"counting: {n} of 3", done=n, total=3)
        time.sleep(0.3)
    return 3

slow()
slow()
"""


def drawn(stream: io.StringIO) -> str:
    return stream.getvalue()


def test_each_job_has_a_line_until_it_is_dropped() -> None:
    stream = io.StringIO()
    lines = Board(Console(file=stream, force_terminal=True, width=100))
    assert lines.show("a", "training a: 1 of 2", 1, 2)
    assert lines.show("b", "[training b]: loading", None, None)
    assert lines.show("a", "training a: 2 of 2", 2, 2)
    assert lines._progress is not None
    lines._progress.refresh()
    last = drawn(stream).rpartition("training a: 2 of 2")
    assert "[training b]: loading" in last[2]
    lines.drop("a")
    lines._progress.refresh()
    assert "training a" not in drawn(stream).rpartition("[training b]")[2]
    lines.drop("b")
    lines.drop("c")
    assert lines._progress is None
    assert lines.show("a", "again", 1, 2)
    lines.drop("a")


def test_without_a_terminal_nothing_is_drawn(capsys) -> None:
    assert not Board().show("a", "training a: 1 of 2", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_what_is_on_the_board_is_not_printed_beside_it() -> None:
    record = logging.LogRecord("motools", logging.INFO, "", 0, "1 of 2", (), None)
    assert board._not_on_board(record)
    setattr(record, SHOWN, True)
    assert not board._not_on_board(record)


def script(tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "MOTOOLS_CACHE_DIR": str(tmp_path / "cache"), "TERM": "xterm"}
    return [sys.executable, str(path)], environment


def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    command, environment = script(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    # The second report comes too soon to be told; the hit is a function's, so it is silent.
    assert done.stderr.splitlines() == ["counting: 1 of 3", "counting: 3 of 3"]


def test_a_line_on_a_terminal(tmp_path: Path) -> None:
    command, environment = script(tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:
        pass  # how Linux says that the other end was closed
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    assert "━ counting: 2 of 3".encode() in said.replace(b"\x1b[0m", b"").replace(b"  ", b" ")
