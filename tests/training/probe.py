"""A worker that says what a training would find in its process."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

from motools.worker import Emit, serve


class Code:
    """Leaves a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def main(request: dict[str, Any], _emit: Emit) -> dict[str, Any]:
    """Look around."""
    import motools.training.local.without_bitsandbytes  # noqa: F401

    before = "trl" in sys.modules
    import peft.import_utils
    import torch
    from huggingface_hub import constants

    Path("code").write_bytes(pickle.dumps(Code()))
    try:
        torch.load("code", weights_only=False)
    except pickle.UnpicklingError:
        refused = True
    return {
        "imported before": before,
        "threads": len(os.listdir("/proc/self/task")),
        "computing threads": torch.get_num_threads(),
        "hub": [constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HOME],
        "devices": [os.environ["CUDA_VISIBLE_DEVICES"], torch.cuda.is_initialized()],
        "seed": torch.initial_seed(),
        "hashes": hash("a text"),
        "quantisation": peft.import_utils.is_bnb_available(),
        "pickles refused": refused and not Path("ran").exists(),
        "device found": str(torch.zeros(1, device=request["device"]).device),
    }


if __name__ == "__main__":
    serve(main)
