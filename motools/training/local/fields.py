"""Every field of the trainer's configuration, for either method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from motools.errors import BackendError
from motools.training.local import dpo_fields, sft_fields

OPEN: Final[Mapping[str, Mapping[str, tuple[Any, Any]]]] = {
    "supervised": sft_fields.OPEN,
    "dpo": dpo_fields.OPEN,
}
"""By method: fields that ``trainer={…}`` may set."""

FIXED: Final[Mapping[str, Mapping[str, Any]]] = {
    "supervised": sft_fields.FIXED,
    "dpo": dpo_fields.FIXED,
}
"""By method: fields that are always the same."""

_TRAINERS: Final = {"supervised": "SFTConfig", "dpo": "DPOConfig"}


def trainer_fields(config: Mapping[str, Any], known: Iterable[str], **place: Any) -> dict[str, Any]:
    """Every field of the trainer's configuration.

    Args:
        config: from :func:`.recipe.resolve`.
        known: names of the fields that the installed trainer has.
        place: the fields named in :data:`.sft_fields.PLACE`, and such as divide a
            batch into passes.

    Raises:
        BackendError: the trainer has a field that the recipe does not know, or
            the other way round.
    """
    method = config["method"]
    fields = {**decided(config), **place}
    names = set(known)
    if strange := sorted(names ^ fields.keys()):
        side = "is new to" if strange[0] in names else "is missing from"
        raise BackendError(
            f"the recipe of the local backend does not fit the installed trl and transformers: "
            f"{_TRAINERS[method]}.{strange[0]} {side} them; install the versions that this motools "
            "names, or a newer motools"
        )
    return fields


def decided(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that decide the result: all but those that say where it is made."""
    method = config["method"]
    fields = {
        **FIXED[method],
        **{name: value for name, (_, value) in OPEN[method].items()},
        **config["trainer"],
        "bf16": config["dtype"] == "bfloat16",
        "learning_rate": config["learning_rate"],
        "lr_scheduler_type": config["schedule"],
        "max_grad_norm": config["max_grad_norm"],
        "num_train_epochs": config["epochs"],
        "optim": config["optimizer"],
        "per_device_train_batch_size": config["batch_size"],
        "seed": config["seed"],
        "train_sampling_strategy": "random" if config["shuffle"] else "sequential",
        "warmup_steps": config["warmup_ratio"],  # below 1 it is a share of the steps
        "weight_decay": config["weight_decay"],
    }
    if method == "dpo":
        fields["loss_type"] = [fields["loss_type"]]
    return fields
