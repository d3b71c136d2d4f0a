"""The worker that loads a task to say what it is: ``python -m motools.evals.identify``."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from motools.evals.dependencies import Recorder
from motools.worker import Emit, serve


def main(request: dict[str, Any], _emit: Emit) -> dict[str, Any]:
    """Load the task and return its material and what that depended on.

    Args:
        request: ``task``, ``task_args``, ``limit``, ``sample_ids``, ``version``
            and ``equivalent``.
    """
    recorder = Recorder()
    sys.dont_write_bytecode = True

    from motools.evals.loading import load_task, prepare

    prepare()
    from motools.evals.material import task_material

    with recorder.recording():
        task = load_task(request["task"], request["task_args"])
        material = task_material(task, request)
    return {"material": material, "dependencies": dataclasses.asdict(recorder.dependencies)}


if __name__ == "__main__":
    serve(main)
