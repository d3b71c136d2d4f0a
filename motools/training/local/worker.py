"""The process that trains one model.

What it answers is ``{"metrics": …, "provenance": …}``, or ``{"refused": …, "row": …}``
when a row cannot be trained on.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import DatasetError, TrainingError
from motools.training.local import checkpoints, kept, memory, models, quantization, ranks, trainers
from motools.training.local.adapter import write_adapter
from motools.training.local.checkpoints import Checkpoint
from motools.training.local.fields import decided
from motools.training.local.kept import Kept
from motools.training.local.recorder import Recorder
from motools.training.local.tokens import tokenise
from motools.training.local.whole import write_whole
from motools.worker import Emit, serve

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FOREIGN: Final = ("ACCELERATE_", "FSDP_", "DEEPSPEED_", "PARALLELISM_CONFIG_", "TRL_", "PEFT_")
_RANKS: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_LIBRARIES: Final = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "datasets")


def main(request: dict[str, Any], emit: Emit) -> dict[str, Any] | None:
    """Train as the request says, and write the model into its directory.

    Other ranks than the first are started by it and answer nothing, unless they
    have to stop.
    """
    if not request["config"].get("quantization"):
        import motools.training.local.without_bitsandbytes  # noqa: F401  (that is all it does)
    import torch

    _forget_launcher()
    models.make_deterministic()
    emit({"event": "loading"})
    try:
        if request["rank"]:
            ranks.join(request)
            _train(request, emit)
            return None
        start = _start(Path(request["scratch"]), request["devices"], emit)
        request["start"] = start and {"step": start.step, "facts": start.facts}
        with ranks.others(request, emit):
            return _train(request, emit)
    except DatasetError as problem:
        return {"refused": str(problem), "row": problem.row}
    except torch.OutOfMemoryError as problem:
        return {memory.FULL: str(problem)}


def _train(request: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Train, from the last checkpoint if there is one."""
    config, scratch, first = request["config"], Path(request["scratch"]), request["rank"] == 0
    model, tokenizer = _load(request["base"], config)
    tokenised = tokenise(Path(request["dataset"]), tokenizer, config)
    if tokenised.truncated:
        emit({"event": f"{tokenised.truncated} rows were cut to {config['max_length']} tokens"})
    start = _resumed_from(request)
    provenance = {**_provenance(model.device), "rows_at_once": request["at_once"]}
    if request["devices"] > 1:
        provenance["devices"] = request["devices"]
    if config.get("quantization"):
        provenance["libraries"][quantization.LIBRARY] = version(quantization.LIBRARY)
    recorder = Recorder(emit, start.facts["recorder"] if start else None)
    resumed = _resumed(start)

    def facts() -> dict[str, Any]:
        return {
            "provenance": provenance,
            "resumed": resumed,
            "kept": kept.facts(scratch),
            "devices": request["devices"],
        }

    def write(place: Path) -> None:
        _write(trainer.model, request["base"], config, place)

    keeping = None
    if first:
        after = start.step if start else 0
        keeping = Kept(config.get("keep_checkpoints"), write, scratch, after)
    trainer = trainers.make(
        model,
        tokenizer,
        tokenised.rows,
        config=config,
        at_once=request["at_once"],
        reference=_reference(request["base"], config),
        scratch=scratch,
        recorder=recorder,
        saving=trainers.Saving(request["save_seconds"], facts),
        on_step=keeping.step if keeping else lambda _step, _epoch: None,
        rank=request["rank"],
        ranks=request["devices"],
    )
    trainer.train(resume_from_checkpoint=str(start.directory) if start else None)
    if keeping is None:
        return {}
    directory = Path(request["directory"])
    write(directory)
    metrics = {
        **recorder.metrics(),
        "rows": len(tokenised.rows),
        "epochs": trainer.state.epoch,
        "trainer": decided(config),
    }
    if config.get("truncate"):
        metrics["truncated"] = tokenised.truncated
    if config.get("keep_checkpoints"):
        metrics["checkpoints"] = keeping.hand_over(directory, trainer.state.global_step)
    return {"metrics": metrics, "provenance": {**provenance, "resumed": resumed}}


def _load(
    base: dict[str, Any], config: dict[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model. Weights that are trained are float32: bfloat16 would lose small steps."""
    dtype = "float32" if config["lora"] is None else config["dtype"]
    spec = {"base": base, "quantization": quantization.of(config)}
    model, tokenizer = models.load(spec, dtype=dtype)
    if config["dtype"] == "bfloat16" and not _can_bfloat16(model.device):
        raise TrainingError(
            f"dtype='bfloat16', which {_device_name(model.device)} cannot compute with; train on "
            "another device or set dtype='float32'"
        )
    return model, tokenizer


def _reference(base: dict[str, Any], config: dict[str, Any]) -> PreTrainedModel | None:
    """What ``dpo`` compares with, where taking the adapter off does not bring it back."""
    if config["method"] != "dpo" or config["lora"] is not None:
        return None
    return _load(base, config)[0]


def _write(
    model: PreTrainedModel, base: dict[str, Any], config: dict[str, Any], directory: Path
) -> None:
    """Write a model, without a trace in the random numbers of a training that goes on."""
    import torch

    with torch.random.fork_rng(devices=[]):
        if config["lora"] is None:
            write_whole(model, base, directory)
        else:
            write_adapter(model, directory)


def _start(scratch: Path, devices: int, emit: Emit) -> Checkpoint | None:
    """The checkpoint to go on from.

    Raises:
        TrainingError: as many devices made it as this training does not have.
    """

    def skipped(step: int, why: str) -> None:
        emit({"event": f"checkpoint {step} is not used: {why}"})

    def lost(facts: dict[str, Any]) -> str | None:
        return kept.lost(scratch, facts["kept"])

    start = checkpoints.last(scratch, skipped, lost)
    if start is not None:
        made_on = start.facts.get("devices", 1)
        if made_on != devices:
            raise TrainingError(
                f"a checkpoint at step {start.step} was made with devices={made_on}: give that to "
                f"go on from it, or remove {scratch} to begin again"
            )
        emit({"event": f"going on after step {start.step}"})
    return start


def _resumed_from(request: dict[str, Any]) -> Checkpoint | None:
    """What :func:`_start` found, on any rank."""
    if request["start"] is None:
        return None
    step, facts = request["start"]["step"], request["start"]["facts"]
    return Checkpoint(Path(request["scratch"], f"checkpoint-{step}"), step, facts)


def _resumed(start: Checkpoint | None) -> list[dict[str, Any]]:
    """Where this training went on, and what had made it as far as there."""
    if start is None:
        return []
    made = {"after_step": start.step, **start.facts["provenance"]}
    return [*start.facts["resumed"], made]


def _forget_launcher() -> None:
    """See nothing of what launched this process.

    accelerate reads its settings from the environment, and would let them
    change what is computed.
    """
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in _RANKS:
            del os.environ[name]


def _can_bfloat16(device: torch.device) -> bool:
    import torch

    return device.type != "cuda" or bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.machine()


def _provenance(device: torch.device) -> dict[str, Any]:
    return {
        "libraries": {name: version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "device": _device_name(device),
    }


if __name__ == "__main__":
    serve(main)
