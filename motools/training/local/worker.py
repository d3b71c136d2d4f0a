"""The process that trains one adapter.

What it answers is ``{"metrics": …, "provenance": …}``, or ``{"refused": …}``
when a row cannot be trained on.
"""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import DatasetError, TrainingError
from motools.training.local import models
from motools.training.local.adapter import write_adapter
from motools.training.local.sft_fields import trainer_fields
from motools.training.rows import Row, read_conversations
from motools.worker import Emit, serve

if TYPE_CHECKING:
    import datasets
    import trl
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FOREIGN: Final = ("ACCELERATE_", "FSDP_", "DEEPSPEED_", "PARALLELISM_CONFIG_", "TRL_", "PEFT_")
_RANKS: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_LIBRARIES: Final = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "datasets")
_PAUSE: Final = 0.5
_CURVE: Final = 500
_IGNORED: Final = -100


def main(request: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Train as the request says, and write the adapter into its directory."""
    _take_one_device()
    models.make_deterministic()
    emit({"event": "loading"})
    config = request["config"]
    model, tokenizer = models.load({"base": request["base"]}, dtype=config["dtype"])
    try:
        rows = tokenise(Path(request["dataset"]), tokenizer, config)
    except DatasetError as problem:
        return {"refused": str(problem)}
    recorder = Recorder(emit)
    trainer = _trainer(model, tokenizer, rows, config, Path(request["scratch"]), recorder)
    trainer.train()
    write_adapter(trainer.model, Path(request["directory"]))
    metrics = {**recorder.metrics(), "rows": len(rows), "epochs": trainer.state.epoch}
    return {"metrics": metrics, "provenance": _provenance(model.device)}


def tokenise(
    path: Path, tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]
) -> datasets.Dataset:
    """The rows as tokens, with a label for each token to learn from.

    Raises:
        DatasetError: a row is longer than ``max_length``, or has nothing to
            learn from; the message has its line.
    """
    from datasets import Dataset

    rows = []
    for number, row in enumerate(read_conversations(path), 1):
        tokens, labels = _tokens(row, tokenizer, config["loss_mask"])
        if len(tokens) > config["max_length"]:
            raise DatasetError(
                f"line {number}: {len(tokens)} tokens, and max_length is {config['max_length']}; "
                "shorten the row or raise max_length"
            )
        if all(label == _IGNORED for label in labels[1:]):
            raise DatasetError(
                f"line {number}, messages: the chat template marks nothing of it as said by the "
                "assistant; correct its generation block, or set loss_mask='all'"
            )
        rows.append({"input_ids": tokens, "labels": labels})
    return Dataset.from_list(rows)


class Recorder:
    """Keeps the loss curve, and reports progress at most twice a second."""

    def __init__(self, emit: Emit) -> None:
        """Start the clock."""
        self._emit = emit
        self._started = time.monotonic()
        self._reported = -math.inf
        self._tokens = 0
        self._curve: list[tuple[int, float]] = []

    def step(self, step: int, steps: int, logs: dict[str, Any]) -> None:
        """Note one optimizer step.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(f"step {step}: the loss is {loss}; lower the learning rate")
        self._curve.append((step, loss))
        self._tokens = int(logs.get("num_tokens", 0))
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
                "tokens_per_second": self._tokens / seconds,
                "seconds_left": seconds / step * (steps - step),
            }
        )

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
            "seconds": round(time.monotonic() - self._started, 3),
        }


def _trainer(  # noqa: PLR0917
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    config: dict[str, Any],
    scratch: Path,
    recorder: Recorder,
) -> trl.SFTTrainer:
    import peft
    import transformers
    import trl

    class Progress(transformers.TrainerCallback):  # type: ignore[misc]
        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                recorder.step(state.global_step, state.max_steps, logs)

    known = [field.name for field in dataclasses.fields(trl.SFTConfig)]
    place = {"output_dir": str(scratch), "use_cpu": model.device.type == "cpu"}
    lora = config["lora"]
    _check_targets(model, lora["targets"])
    return trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**trainer_fields(config, known, **place)),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=peft.LoraConfig(
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=lora["targets"],
            task_type="CAUSAL_LM",
        ),
        callbacks=[Progress()],
    )


def _check_targets(model: PreTrainedModel, targets: str | list[str]) -> None:
    """Refuse a name that PEFT would pass over because others match."""
    layers = [f".{name}" for name, _ in model.named_modules()]
    for target in [] if isinstance(targets, str) else targets:
        if not any(layer.endswith(f".{target}") for layer in layers):
            known = sorted({layer.rpartition(".")[2] for layer in layers if "proj" in layer})
            raise TrainingError(
                f"lora.targets: the base model has no layer {target!r}; it has {', '.join(known)}"
            )


def _tokens(
    row: Row, tokenizer: PreTrainedTokenizerBase, loss_mask: str
) -> tuple[list[int], list[int]]:
    masked = loss_mask == "assistant"
    encoded: Any = tokenizer.apply_chat_template(
        row["messages"],
        tools=row.get("tools"),
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=masked,
    )
    tokens = encoded["input_ids"]
    if not masked:
        return tokens, list(tokens)
    mask = encoded["assistant_masks"]
    return tokens, [t if said else _IGNORED for t, said in zip(tokens, mask, strict=True)]


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
