"""TRL's ``SFTConfig``, field by field: where each value comes from.

Every field is set, so that no default of a library decides a result: after an
upgrade that adds a field, training is refused until the recipe knows it. They
are put together in :mod:`.fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OPEN: Final[Mapping[str, tuple[Any, Any]]] = {
    "adam_beta1": (float, 0.9),
    "adam_beta2": (float, 0.999),
    "adam_epsilon": (float, 1e-8),
    "data_seed": (int | None, None),
    "dataloader_drop_last": (bool, False),
    "lr_scheduler_kwargs": (dict[str, Any] | None, None),
    "max_steps": (int, -1),
    "neftune_noise_alpha": (float | None, None),
    "optim_args": (str | None, None),
}
"""Fields of the trainer that ``trainer={…}`` may set: type and the recipe's value."""

OWN: Final[Mapping[str, str]] = {
    "bf16": "dtype",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "max_grad_norm",
    "num_train_epochs": "epochs",
    "optim": "optimizer",
    "per_device_train_batch_size": "batch_size",
    "seed": "seed",
    "train_sampling_strategy": "shuffle",
    "warmup_steps": "warmup_ratio",
    "weight_decay": "weight_decay",
}
"""Fields of the trainer that a field of the config stands for."""

PLACE: Final = ("output_dir", "use_cpu")
"""Fields of the trainer that say where it runs; they decide no result."""

FIXED: Final[Mapping[str, Any]] = {
    # The worker makes tokens and labels itself, so that a row which is too long, or has
    # nothing to learn from, is an error with its line and never cut or dropped.
    "assistant_only_loss": False,
    "chat_template_path": None,
    "completion_only_loss": False,
    "dataset_kwargs": None,
    "dataset_num_proc": None,
    "dataset_text_field": "text",
    "eos_token": None,
    "max_length": None,
    "model_init_kwargs": None,
    "pad_to_multiple_of": None,
    "pad_token": None,
    "shuffle_dataset": False,
    "truncation_mode": "keep_start",
    "trust_remote_code": False,
    "eval_packing": None,
    "packing": False,
    "packing_strategy": "bfd",
    "padding_free": False,
    # What is computed.
    "activation_checkpointing": False,
    "activation_checkpointing_kwargs": None,
    "activation_offloading": False,
    "auto_find_batch_size": False,
    "average_tokens_across_devices": True,
    "bf16_full_eval": False,
    "fp16": False,
    "fp16_full_eval": False,
    "full_determinism": False,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "gradient_checkpointing_kwargs": None,
    "label_names": None,
    "label_smoothing_factor": 0.0,
    "liger_kernel_config": None,
    "loss_type": "nll",
    "optim_target_modules": None,
    "router_aux_loss_coef": None,
    "tf32": False,
    "torch_compile": False,
    "torch_compile_backend": None,
    "torch_compile_mode": None,
    "torch_empty_cache_steps": None,
    "use_cache": False,
    "use_liger_kernel": False,
    # How rows reach the device.
    "dataloader_in_order": True,
    "dataloader_multiprocessing_context": None,
    "dataloader_num_workers": 0,
    "dataloader_persistent_workers": False,
    "dataloader_pin_memory": False,
    "dataloader_prefetch_factor": None,
    "length_column_name": "length",
    "remove_unused_columns": True,
    # One device.
    "accelerator_config": None,
    "ddp_backend": None,
    "ddp_broadcast_buffers": None,
    "ddp_bucket_cap_mb": None,
    "ddp_find_unused_parameters": None,
    "ddp_static_graph": None,
    "ddp_timeout": 1800,
    "deepspeed": None,
    "fsdp": None,
    "fsdp_config": None,
    "local_rank": -1,
    "parallelism_config": None,
    # Progress goes through a callback, which sees every step; a loss that is not a
    # number must be seen too.
    "disable_tqdm": True,
    "include_num_input_tokens_seen": "no",
    "log_level": "passive",
    "log_level_replica": "warning",
    "log_on_each_node": True,
    "logging_first_step": False,
    "logging_nan_inf_filter": False,
    "logging_steps": 1,
    "logging_strategy": "steps",
    "project": "huggingface",
    "report_to": "none",
    "run_name": None,
    "skip_memory_metrics": True,
    "trackio_bucket_id": None,
    "trackio_space_id": None,
    "trackio_static_space_id": None,
    # The worker writes the model; the trainer writes nothing and sends nothing.
    "enable_jit_checkpoint": False,
    "hub_always_push": False,
    "hub_model_id": None,
    "hub_private_repo": None,
    "hub_revision": None,
    "hub_strategy": "every_save",
    "hub_token": None,
    "ignore_data_skip": False,
    "load_best_model_at_end": False,
    "push_to_hub": False,
    "restore_callback_states_from_checkpoint": False,
    "resume_from_checkpoint": None,
    "save_on_each_node": False,
    "save_only_model": False,
    "save_steps": 500,
    "save_strategy": "no",
    "save_total_limit": None,
    # No evaluation: that is a step of its own.
    "batch_eval_metrics": False,
    "debug": "",
    "do_eval": False,
    "do_predict": False,
    "do_train": False,
    "eval_accumulation_steps": None,
    "eval_delay": 0,
    "eval_do_concat_batches": True,
    "eval_on_start": False,
    "eval_steps": None,
    "eval_strategy": "no",
    "eval_use_gather_object": False,
    "greater_is_better": None,
    "include_for_metrics": [],
    "metric_for_best_model": None,
    "per_device_eval_batch_size": 8,
    "prediction_loss_only": False,
}
"""Fields of the trainer that are always the same."""
