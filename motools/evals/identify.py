"""The worker that loads a task to say what it is: ``python -m motools.evals.identify``."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from motools.evals.dependencies import Recorder
from motools.worker import Emit, serve


def main(request: dict[str, Any], _emit: Emit) -> dict[str, Any]:
    """Load the task and return its material, the texts behind it and what it depended on.

    Args:
        request: ``task``, ``task_args``, ``limit``, ``sample_ids``, ``version``
            and ``equivalent``.
    """
    recorder = Recorder()
    sys.dont_write_bytecode = True

    from motools.evals.loading import load_task, prepare

    prepare()
    from motools.evals.material import describe

    with recorder.recording():
        task = load_task(request["task"], request["task_args"])
        described = describe(task, request)
    found = dataclasses.asdict(recorder.dependencies)
    return {"material": described.material, "texts": described.texts, "dependencies": found}


if __name__ == "__main__":
    serve(main)
