"""The process that trains one model.

What it answers is ``{"metrics": …, "provenance": …}``, or ``{"refused": …}``
when a row cannot be trained on.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from motools.errors import DatasetError
from motools.training.local import checkpoints, models, trainers
from motools.training.local.adapter import write_adapter
from motools.training.local.checkpoints import Checkpoint
from motools.training.local.recorder import Recorder
from motools.training.local.tokens import tokenise
from motools.worker import Emit, serve

_FOREIGN: Final = ("ACCELERATE_", "FSDP_", "DEEPSPEED_", "PARALLELISM_CONFIG_", "TRL_", "PEFT_")
_RANKS: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_LIBRARIES: Final = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "datasets")


def main(request: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Train as the request says, and write the model into its directory."""
    _take_one_device()
    models.make_deterministic()
    emit({"event": "loading"})
    config, scratch = request["config"], Path(request["scratch"])
    model, tokenizer = models.load({"base": request["base"]}, dtype=config["dtype"])
    try:
        rows = tokenise(Path(request["dataset"]), tokenizer, config)
    except DatasetError as problem:
        return {"refused": str(problem)}
    provenance = _provenance(model.device)
    start = _start(scratch, emit)
    recorder = Recorder(emit, start.facts["recorder"] if start else None)
    resumed = _resumed(start)
    saving = trainers.Saving(
        request["save_seconds"], {"provenance": provenance, "resumed": resumed}
    )
    trainer = trainers.make(
        model,
        tokenizer,
        rows,
        config=config,
        scratch=scratch,
        recorder=recorder,
        saving=saving,
    )
    trainer.train(resume_from_checkpoint=str(start.directory) if start else None)
    write_adapter(trainer.model, Path(request["directory"]))
    metrics = {**recorder.metrics(), "rows": len(rows), "epochs": trainer.state.epoch}
    return {"metrics": metrics, "provenance": {**provenance, "resumed": resumed}}


def _start(scratch: Path, emit: Emit) -> Checkpoint | None:
    """The checkpoint to go on from."""

    def skipped(step: int, why: str) -> None:
        emit({"event": f"checkpoint {step} is not used: {why}"})

    start = checkpoints.last(scratch, skipped)
    if start is not None:
        emit({"event": f"going on after step {start.step}"})
    return start


def _resumed(start: Checkpoint | None) -> list[dict[str, Any]]:
    """Where this training went on, and what had made it as far as there."""
    if start is None:
        return []
    made = {"after_step": start.step, **start.facts["provenance"]}
    return [*start.facts["resumed"], made]


def _take_one_device() -> None:
    """See one accelerator, and nothing of what launched this process.

    accelerate reads its settings from the environment, and would let them
    change what is computed.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in _RANKS:
            del os.environ[name]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]


def _provenance(device: Any) -> dict[str, Any]:
    import torch

    cuda = device.type == "cuda"
    return {
        "libraries": {name: version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
    }


if __name__ == "__main__":
    serve(main)
