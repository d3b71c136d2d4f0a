"""Exit codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    NOTHING_MATCHED = 3
    PROBLEMS_FOUND = 4
    WORK_LEFT = 5
    INTERRUPTED = 130


MEANING: Final = {
    ExitCode.DONE: "done",
    ExitCode.ERROR: "an error, a refusal or a no: the reason is on stderr",
    ExitCode.USAGE: "the command line was wrong",
    ExitCode.NOTHING_MATCHED: "no entry has that key or fits those filters; nothing was changed",
    ExitCode.PROBLEMS_FOUND: "done, but some of what was looked at is damaged; it was left alone",
    ExitCode.WORK_LEFT: "the sweep has steps that are not in the cache",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}
"""What scripts may rely on."""


def explained() -> str:
    """The exit codes as a paragraph for a terminal."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANING.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)
