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
    rows = list(csv.DictReader(io.StringIO(text)))
    metrics: dict[str, Any] = {}
    for column, name in _COLUMNS.items():
        points = [(row.get("step"), row.get(column)) for row in rows]
        curve = [[int(float(step)), float(loss)] for step, loss in points if step and loss]
        curve = [point for point in curve if math.isfinite(point[1])]
        if curve:
            metrics |= {name: curve[-1][1], f"{name}_curve": curve}
    return metrics


def _plain(content: bytes) -> bytes:
    if content.startswith(b"step"):
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        return content
