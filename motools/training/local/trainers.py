"""The trainers of TRL, made to do what a resolved config says and nothing besides."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import TrainingError
from motools.training.local import checkpoints
from motools.training.local.fields import trainer_fields
from motools.training.local.ranks import Shares, agreed, wait_for_all
from motools.training.local.recorder import Recorder

if TYPE_CHECKING:
    import datasets
    import trl
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Saving takes no more than one part in so many of the time, however large the model.
_SHARE: Final = 50
_NOTHING: Final = {"labels": [-100, -100]}


class Saving:
    """When to write checkpoints: a matter of time, never of the result.

    Args:
        seconds: between two checkpoints; 0 for one after every step.
        facts: sealed with each one, as they are then.
    """

    def __init__(self, seconds: float, facts: Callable[[], dict[str, Any]]) -> None:
        self._seconds = seconds
        self._facts = facts
        self._due = time.monotonic() + seconds
        self._began = 0.0

    def is_due(self) -> bool:
        """Whether to write one after this step; says yes once."""
        self._began = time.monotonic()
        return self._began >= self._due

    def seal(self, directory: Path, recorder: Recorder) -> None:
        """Seal the checkpoint that :meth:`is_due` asked for."""
        checkpoints.seal(directory, {**self._facts(), "recorder": recorder.state()})
        now = time.monotonic()
        pause = max(self._seconds, _SHARE * (now - self._began)) if self._seconds else 0.0
        self._due = now + pause


def make(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: datasets.Dataset,
    *,
    config: dict[str, Any],
    at_once: int,
    reference: PreTrainedModel | None,
    scratch: Path,
    recorder: Recorder,
    saving: Saving,
    on_step: Callable[[int, float], None],
    rank: int = 0,
    ranks: int = 1,
) -> trl.SFTTrainer | trl.DPOTrainer:
    """The trainer of a config, which reports to the recorder and seals its checkpoints.

    Args:
        model: the base model.
        tokenizer: its own.
        rows: from :func:`.tokens.tokenise`.
        config: from :func:`.recipe.resolve`.
        at_once: rows that a device computes at once; ``batch_size`` is a multiple of what
            all of them do.
        reference: what ``dpo`` compares with; None where that is the model
            without its adapter.
        scratch: takes the checkpoints.
        recorder: is told of every step.
        saving: decides when a checkpoint is written.
        on_step: called after each step with its number and the epoch.
        rank: which of the devices that train together this process has.
        ranks: how many those are.

    Raises:
        BackendError: the installed trainer has other fields than the recipe knows.
        TrainingError: the base model has not the layers that the config names.
    """
    import trl

    supervised = config["method"] == "supervised"
    place = {
        "output_dir": str(scratch),
        "use_cpu": model.device.type == "cpu",
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": config["batch_size"] // (at_once * ranks),
    }
    common = {
        "model": model,
        "train_dataset": _with_nothing(rows, tokenizer) if ranks > 1 and supervised else rows,
        "processing_class": tokenizer,
        "peft_config": _peft(model, config["lora"]),
        "callbacks": [_watch(scratch, recorder, saving, on_step)],
    }

    class Ours:
        def create_model_card(self, *_: Any, **__: Any) -> None:
            """None: a checkpoint is for going on, not for publishing."""

        def get_train_dataloader(self) -> Any:
            if at_once == config["batch_size"]:
                return super().get_train_dataloader()  # type: ignore[misc]
            return _loader(
                self, batch_size=config["batch_size"], rows=len(rows), rank=rank, ranks=ranks
            )

    class Supervised(Ours, trl.SFTTrainer):  # type: ignore[misc]
        pass

    class Preferences(Ours, trl.DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # rows are tokens already, with errors that have their line

    made: trl.SFTTrainer | trl.DPOTrainer
    if supervised:
        args = trl.SFTConfig(**trainer_fields(config, _names(trl.SFTConfig), **place))
        made = Supervised(args=args, **common)
    else:
        args = trl.DPOConfig(**trainer_fields(config, _names(trl.DPOConfig), **place))
        made = Preferences(ref_model=reference, args=args, **common)
    for weight in made.model.parameters():
        if weight.requires_grad:  # TRL makes those on a quantised base bfloat16
            weight.data = weight.data.float()
    return made


def _names(trainer_config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(trainer_config)]


def _with_nothing(rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    """The rows, and a last one with nothing to learn from, for a device that has none left."""
    return rows.add_item({"input_ids": [tokenizer.eos_token_id] * 2, **_NOTHING})


def _loader(trainer: Any, *, batch_size: int, rows: int, rank: int, ranks: int) -> Any:
    """This rank's share of every batch, in passes: the batches are those of one whole pass.

    accelerate knows passes only. It would fill the last ones of an epoch up with
    rows of the first, and drop a pass where a batch is to be dropped.
    """
    from accelerate.data_loader import SeedableRandomSampler
    from torch.utils.data import DataLoader

    args, order = trainer.args, range(rows)
    if args.train_sampling_strategy == "random":
        order = SeedableRandomSampler(order, data_seed=args.data_seed)

    class Loader(DataLoader):  # type: ignore[misc]
        def set_epoch(self, epoch: int) -> None:
            self.batch_sampler.set_epoch(epoch)

    return Loader(
        trainer._remove_unused_columns(trainer.train_dataset, description="Training"),  # noqa: SLF001
        batch_sampler=Shares(
            order,
            batch_size=batch_size,
            at_once=args.per_device_train_batch_size,
            rank=rank,
            ranks=ranks,
            drop_last=args.dataloader_drop_last,
            nothing=rows,
        ),
        collate_fn=trainer.data_collator,
    )


def _watch(
    scratch: Path, recorder: Recorder, saving: Saving, on_step: Callable[[int, float], None]
) -> Any:
    """The callback that tells the recorder of each step, and seals each checkpoint."""
    import transformers

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        uncounted = 0  # tokens of rows with nothing to learn from

        def on_log(
            self, _args: Any, state: Any, _control: Any, logs: Any = None, **of: Any
        ) -> None:
            if "loss" not in logs:
                return
            if state.epoch.is_integer():
                batches = of["train_dataloader"].batch_sampler
                self.uncounted += len(_NOTHING["labels"]) * getattr(batches, "idle", 0)
            tokens = logs.get("num_tokens", 0) - self.uncounted
            recorder.step(state.global_step, state.max_steps, {**logs, "num_tokens": tokens})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            on_step(state.global_step, state.epoch)
            if state.global_step < state.max_steps and agreed(saving.is_due(), args.device):
                control.should_save = True

        def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            wait_for_all()  # each writes the state of its own random numbers
            if args.process_index == 0:
                saving.seal(scratch / f"checkpoint-{state.global_step}", recorder)

    return Watch()


def _peft(model: PreTrainedModel, lora: dict[str, Any] | None) -> Any:
    """What PEFT is to add to the model; None where all weights are trained."""
    import peft

    if lora is None:
        return None
    _check_targets(model, lora["targets"])
    return peft.LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["targets"],
        task_type="CAUSAL_LM",
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
