"""Progress of a step, in sentences, no more often than a person reads."""

from __future__ import annotations

import time
from typing import Any, Final

from motools.cache import RunContext

_EVERY: Final = 1.0


class Progress:
    """Reports how far a step is.

    Args:
        context: of the run.
        what: what is being done, as in ``fine-tuning tiny``.
        every: least seconds between two reports; the last one is always made.
    """

    def __init__(self, context: RunContext, what: str, every: float = _EVERY) -> None:
        self._context = context
        self._what = what
        self._every = every
        self._next = 0.0

    def __call__(self, message: str, /, **fields: Any) -> None:
        """Report ``message``, or the sentence that its fields make."""
        done = fields.get("step", fields.get("done"))
        total = fields.get("steps", fields.get("total"))
        now = time.monotonic()
        if done is not None and done != total and now < self._next:
            return
        self._next = now + self._every
        said = message if done is None else ", ".join(_parts(done, total, fields))
        if done is not None:
            fields |= {"done": done, "total": total}
        self._context.report(f"{self._what}: {said}", **fields)


def _parts(done: int, total: int | None, fields: dict[str, Any]) -> list[str]:
    parts = [f"{done} of {total}"]
    if (loss := fields.get("loss")) is not None:
        parts.append(f"loss {loss:.3g}")
    if (rate := fields.get("learning_rate")) is not None:
        parts.append(f"learning rate {rate:.2g}")
    if (rate := fields.get("tokens_per_second")) is not None:
        parts.append(f"{rate:,.0f} tokens/s")
    if left := fields.get("seconds_left"):
        parts.append(f"{left:.0f} s left")
    return parts
