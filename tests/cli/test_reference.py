"""The written reference is the application's own."""

from __future__ import annotations

from pathlib import Path

import motools
from motools.cli.reference import reference

WRITTEN = Path(motools.__file__).parents[1] / "docs" / "reference" / "cli.md"


def test_it_is_current() -> None:
    assert WRITTEN.read_text(encoding="utf-8") == reference(), (
        "write it again: python -m motools.cli.reference > docs/reference/cli.md"
    )
