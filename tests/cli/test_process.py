"""``motools`` as a process: streams, terminals, completion, and what starting it imports."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from motools.cache import Cache
from motools.cache.marks import NOTE
from motools.version import __version__
from tests.filled import Filled

HEAVY = {"prefect", "torch", "inspect_ai", "openai", "sqlalchemy", "sqlmodel", "pydantic", "rich"}
RUN = "import sys; from motools.cli import main; sys.argv[0] = 'motools'; main()"


def motools(
    *arguments: str, cache: Path | None = None, code: str = RUN, **environment: str
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    if cache is not None:
        env["MOTOOLS_CACHE_DIR"] = str(cache)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "--help"]])
def test_version(arguments: list[str]) -> None:
    result = motools(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{__version__}\n", "")


def test_python_m() -> None:
    out = subprocess.check_output([sys.executable, "-m", "motools", "--version"], text=True)
    assert out.strip() == __version__


def test_data_goes_to_stdout_and_prose_to_stderr(filled: Filled) -> None:
    listed = motools("cache", "list", "models", "--format", "json", cache=filled.root)
    assert len(json.loads(listed.stdout)) == 2
    assert listed.stderr == ""
    cleared = motools("cache", "clear", "evals", "--yes", "--format", "json", cache=filled.root)
    assert len(json.loads(cleared.stdout)) == 3
    assert "cleared 3 entries" in cleared.stderr


def test_without_a_terminal_nothing_is_cleared(filled: Filled) -> None:
    result = motools("cache", "clear", "all", cache=filled.root)
    assert result.returncode == 1
    assert "--yes" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(filled.live()) == 8


def test_a_reader_that_leaves_early_is_no_error_message(filled: Filled) -> None:
    code = f"import os, sys; os.close(0); r, w = os.pipe(); os.close(r); os.dup2(w, 1); {RUN}"
    result = motools("cache", "list", cache=filled.root, code=code)
    assert result.stderr == ""


def test_streams_may_be_closed(filled: Filled) -> None:
    shell = f'exec "$0" -c "{RUN}" cache clear all <&- >&- 2>&-'
    environment = {**os.environ, "MOTOOLS_CACHE_DIR": str(filled.root)}
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable], env=environment, check=False, timeout=60
    )
    assert done.returncode == 1
    shell = f'exec "$0" -c "{RUN}" cache list >&-'
    listed = subprocess.run(
        ["sh", "-c", shell, sys.executable],
        env=environment,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (listed.returncode, listed.stderr) == (0, b"")


def test_letters_that_a_stream_has_not_are_escaped(filled: Filled) -> None:
    Cache.open(filled.root).marks.set(filled.function.key, NOTE, "naïve")
    for encoding, shown in (("ascii", r"na\xefve"), ("utf-8", "naïve")):
        result = motools("cache", "list", cache=filled.root, PYTHONIOENCODING=encoding)
        assert (result.returncode, result.stderr) == (0, "")
        assert shown in result.stdout


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 6), ("n", 1, 8), ("", 1, 8)])
def test_a_person_is_asked(filled: Filled, answer: str, code: int, left: int) -> None:
    shown, returned = on_a_terminal(filled.root, answer, "cache", "clear", "models")
    assert "Clear this? [y/N]" in shown
    assert "paid" in shown
    assert filled.models[0].key[:12] in shown
    assert returned == code
    assert len(filled.live()) == left


def test_a_terminal_cannot_be_steered_by_names(filled: Filled) -> None:
    from motools.cache import Action, Cache, RunContext

    def run(context: RunContext) -> int:
        context.label(function="\x1b]0;owned\x07[red]evil")
        return 1

    Cache.open(filled.root).get_or_run(Action("function", config={"n": 1}), run)
    shown, _ = on_a_terminal(filled.root, "", "cache", "list", "functions")
    assert "\x1b]0;" not in shown
    assert "[red]evil" in shown


@pytest.mark.parametrize("width", [30, 60, 80])
def test_a_narrow_terminal_is_shown_everything(filled: Filled, width: int) -> None:
    shown, code = on_a_terminal(filled.root, "", "cache", "list", "models", columns=width)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r", "").splitlines()
    heading = next(line for line in lines if line.startswith("key"))
    assert code == 0
    assert "…" not in shown
    for title in ("key", "model", "dataset", "config", "backend", "size", "took", "cost", "age"):
        assert title in heading
    start, end = heading.index("config"), heading.index("backend")
    assert "learning_rate=0.0002" in "".join(line[start:end].strip() for line in lines)


def test_keys_are_completed(filled: Filled) -> None:
    def completed(words: str) -> list[str]:
        result = motools(
            cache=filled.root,
            _MOTOOLS_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) if words.endswith(" ") else len(words.split()) - 1),
        )
        assert result.stderr == ""
        return result.stdout.split()

    key = filled.models[0].key
    assert key[:16] in completed(f"motools cache show {key[:3]}")
    assert set(completed("motools cache clear models ")) == {e.key[:16] for e in filled.models}
    assert completed("motools cache undelete ") == []
    assert "undelete" in completed("motools cache un")
    elsewhere = filled.root.parent / "nowhere"
    assert completed(f"motools cache show --cache-dir {elsewhere} ") == []
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cache", "list"],
        ["cache", "list", "models", "--model-id", "tiny", "--sort", "cost"],
        ["cache", "show", "KEY"],
        ["cache", "stats"],
    ],
)
def test_reading_imports_nothing_heavy(filled: Filled, arguments: list[str]) -> None:
    code = (
        "import atexit, sys\n"
        "names = lambda: {name.partition('.')[0] for name in sys.modules}\n"
        f"atexit.register(lambda: print(*sorted(names() & {HEAVY!r}), file=sys.stderr))\n{RUN}"
    )
    real = [filled.models[0].key if word == "KEY" else word for word in arguments]
    result = motools(*real, cache=filled.root, code=code)
    assert result.returncode == 0
    loaded = set(result.stderr.splitlines()[-1].split())
    assert not loaded, loaded


def test_the_version_needs_no_typer() -> None:
    code = f"import sys\n{RUN}\nassert 'typer' not in sys.modules"
    assert motools("--version", code=code).returncode == 0


def on_a_terminal(cache: Path, answer: str, *arguments: str, columns: int = 200) -> tuple[str, int]:
    """What a person sees who types one answer, and the exit code."""
    process, descriptor = pty.fork()
    if process == 0:
        os.environ.update(MOTOOLS_CACHE_DIR=str(cache), TERM="xterm", COLUMNS=str(columns))
        os.execv(sys.executable, [sys.executable, "-c", RUN, *arguments])
    seen, answered, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([descriptor], [], [], 1)
        if not ready:
            continue
        try:
            seen += os.read(descriptor, 65_536)
        except OSError:  # the other end is closed
            break
        if b"[y/N]" in seen and not answered:
            os.write(descriptor, f"{answer}\n".encode())
            answered = True
    _, status = os.waitpid(process, 0)
    os.close(descriptor)
    return seen.decode(), os.waitstatus_to_exitcode(status)


def test_only_the_command_that_is_named_is_made(filled: Filled) -> None:
    """And without one, or with one that is not there, all of them are known."""
    assert "Did you mean 'list'?" in motools("cache", "lits").stderr
    assert "push" in motools("cache", "--help").stdout
    program = (
        "import sys, motools.cli; sys.argv[1:] = ['cache', 'remote', 'list', '--cache-dir', {!r}]\n"
        "try: motools.cli.main()\n"
        "except SystemExit: pass\n"
        "from motools.cli import app; [cache] = app.registered_groups\n"
        "[remote] = cache.typer_instance.registered_groups\n"
        "[command] = remote.typer_instance.registered_commands\n"
        "assert not cache.typer_instance.registered_commands, 'made for nothing'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program.format(str(filled.root))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
