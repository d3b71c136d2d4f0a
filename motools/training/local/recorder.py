"""What a training says about itself: progress while it runs, the loss curve at its end."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from motools.errors import TrainingError
from motools.worker import Emit

_PAUSE: Final = 0.5
_CURVE: Final = 500


class Recorder:
    """Keeps the loss curve, and reports progress at most twice a second.

    Args:
        emit: takes the reports.
        state: of an earlier recorder, from :meth:`state`, whose training goes on here.
    """

    def __init__(self, emit: Emit, state: dict[str, Any] | None = None) -> None:
        earlier = state or {"curve": [], "tokens": 0, "seconds": 0.0}
        self._emit = emit
        self._curve: list[tuple[int, float]] = [(step, loss) for step, loss in earlier["curve"]]
        self._earlier_tokens = self._tokens = int(earlier["tokens"])
        self._earlier_seconds = float(earlier["seconds"])
        self._earlier_steps = len(self._curve)
        self._started = time.monotonic()
        self._reported = -math.inf

    def step(self, step: int, steps: int, logs: dict[str, Any]) -> None:
        """Note one optimizer step.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(f"step {step}: the loss is {loss}; lower the learning rate")
        self._curve.append((step, loss))
        seen = int(logs.get("num_tokens", 0))  # since this process began
        self._tokens = self._earlier_tokens + seen
        now = time.monotonic()
        if now - self._reported < _PAUSE and step < steps:
            return
        self._reported = now
        seconds = now - self._started
        self._emit(
            {
                "event": "progress",
                "step": step,
                "steps": steps,
                "loss": loss,
                "learning_rate": logs["learning_rate"],
                "tokens_per_second": seen / seconds,
                "seconds_left": seconds / (step - self._earlier_steps) * (steps - step),
            }
        )

    def state(self) -> dict[str, Any]:
        """What another recorder needs to go on from here, as JSON."""
        return {"curve": self._curve, "tokens": self._tokens, "seconds": self._seconds()}

    def metrics(self) -> dict[str, Any]:
        """What the training says about itself; the curve thinned to some hundred points."""
        if not self._curve:
            raise TrainingError("not one step was made: there are too few rows for the config")
        stride = math.ceil(len(self._curve) / _CURVE)
        kept = self._curve[::stride]
        last = self._curve[-1]
        return {
            "steps": last[0],
            "loss": last[1],
            "loss_curve": kept if kept[-1] == last else [*kept, last],
            "tokens": self._tokens,
            "seconds": round(self._seconds(), 3),
        }

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started
