"""Options that several commands share."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeAlias, TypeVar

import typer

from motools.cli.completion import complete_key
from motools.cli.output import Format

Chosen = TypeVar("Chosen", bound=StrEnum)

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
WHEN: Final = "an ISO date or time (local if it names no zone), or an age: 90s, 15m, 3h, 2d, 1w"


class Group(StrEnum):
    """What of the cache is meant."""

    DATASETS = "datasets"
    MODELS = "models"
    EVALS = "evals"
    FUNCTIONS = "functions"
    ALL = "all"


def parse_when(text: str) -> float:
    """Seconds since 1970 from a date, a time or an age.

    Raises:
        BadParameter: it is none of these.
    """
    if age := _AGE.fullmatch(text.strip()):
        return time.time() - float(age[1]) * _SECONDS[age[2]]
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not {WHEN}") from None


def one_of(kind: type[Chosen], text: str, option: str) -> Chosen:
    """A choice of an enumeration that is not worth importing before it is needed.

    Raises:
        BadParameter: it is none of them.
    """
    try:
        return kind(text)
    except ValueError:
        raise typer.BadParameter(f"{option} is one of {', '.join(kind)}, not {text!r}") from None


CacheDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="DIRECTORY",
        help="The cache. By default $MOTOOLS_CACHE_DIR, the settings' cache_dir, or .motools.",
    ),
]
Style: TypeAlias = Annotated[
    Format,
    typer.Option("--format", metavar="FORMAT", help=f"How data is printed: {', '.join(Format)}."),
]
GroupArgument: TypeAlias = Annotated[
    Group,
    typer.Argument(metavar="GROUP", help=f"What is meant: {', '.join(Group)}."),
]
Key: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="A key, or the beginning of it; of datasets also the hash or file id.",
        autocompletion=complete_key,
    ),
]
OtherKey: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="KEY2",
        help="The entry to compare with; by default the nearest.",
        autocompletion=complete_key,
    ),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and stop.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Everything: TypeAlias = Annotated[bool, typer.Option("--all", help="Every entry.")]
RemoteName: TypeAlias = Annotated[
    str | None,
    typer.Option("--remote", "-r", metavar="NAME", help="Which remote; by default the default."),
]
Revalidate: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--revalidate",
        help="Ask providers whether models are there still, however recently they said so.",
    ),
]
Pinned: TypeAlias = Annotated[bool, typer.Option("--pinned", help="Only what is pinned.")]
