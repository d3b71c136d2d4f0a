"""Names of models at APIs, and of who has them."""

from __future__ import annotations

import re
from typing import Final

MOTOOLS_SERVER: Final = "motools:"
"""How the name of a provider begins that is a motools server; its id follows."""

_DATE: Final = re.compile(r"\d{4}-?\d{2}-?\d{2}\b")


def is_dated(name: str) -> bool:
    """Whether a name has a date in it, as the snapshots have that never change."""
    return _DATE.search(name) is not None
