"""The losses of a job: the file of results that an API makes of them.

A CSV with the columns ``step``, ``train_loss`` and perhaps ``valid_loss``; OpenAI's own comes
in base64 (its guide "Supervised fine-tuning", "Analyze your fine-tuned model").
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import math
from typing import Any, Final

_COLUMNS: Final = {"train_loss": "loss", "valid_loss": "valid_loss"}
"""In the file, and as metrics here."""


def losses(content: bytes) -> dict[str, Any]:
    """The metrics in a file of results: ``loss`` and ``valid_loss`` at the end, and their curves.

    What is not such a file has none.
    """
    try:
        text = _plain(content).decode()
    except ValueError:
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error:
        return {}
    metrics: dict[str, Any] = {}
    for column, name in _COLUMNS.items():
        points = (_point(row.get("step"), row.get(column)) for row in rows)
        curve = [point for point in points if point is not None]
        if curve:
            metrics |= {name: curve[-1][1], f"{name}_curve": curve}
    return metrics


def _point(step: str | None, loss: str | None) -> list[float] | None:
    """A point of a curve; None: none that means anything."""
    try:
        at, value = int(float(step or "")), float(loss or "")
    except (ValueError, OverflowError):
        return None
    return [at, value] if math.isfinite(value) else None


def _plain(content: bytes) -> bytes:
    if content.startswith(b"step"):
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        return content
