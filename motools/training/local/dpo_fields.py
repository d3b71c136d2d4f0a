"""TRL's ``DPOConfig``, where it differs from ``SFTConfig``: see :mod:`.sft_fields`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from motools.training.local import sft_fields

_SUPERVISED: Final = (
    "assistant_only_loss",
    "chat_template_path",
    "completion_only_loss",
    "dataset_kwargs",
    "dataset_text_field",
    "eos_token",
    "eval_packing",
    "loss_type",
    "packing",
    "packing_strategy",
    "shuffle_dataset",
)

OPEN: Final[Mapping[str, tuple[Any, Any]]] = {
    **sft_fields.OPEN,
    "beta": (float, 0.1),
    "label_smoothing": (float, 0.0),
    "ld_alpha": (float | None, None),
    "loss_type": (Literal["sigmoid", "hinge", "ipo", "robust"], "sigmoid"),
}
"""Fields of the trainer that ``trainer={…}`` may set: type and the recipe's value."""

FIXED: Final[Mapping[str, Any]] = {
    **{name: value for name, value in sft_fields.FIXED.items() if name not in _SUPERVISED},
    # Dropout would make the model differ from its reference before anything is learnt.
    "disable_dropout": True,
    "discopop_tau": 0.05,
    "f_alpha_divergence_coef": 0.5,
    "f_divergence_type": "reverse_kl",
    "loss_weights": None,
    "precompute_ref_batch_size": None,
    "precompute_ref_log_probs": False,
    "ref_model_mixup_alpha": 0.6,
    "ref_model_sync_steps": 512,
    "sync_ref_model": False,
    "use_weighting": False,
}
"""Fields of the trainer that are always the same."""
