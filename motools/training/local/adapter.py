"""Adapters on disk: weights as safetensors, and a config that is the same bits each time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.digest import canonical_json
from motools.errors import BackendError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"

# A path would tie the adapter to a machine, and a version to an installation.
_LEFT_OUT: Final = ("base_model_name_or_path", "revision", "auto_mapping", "peft_version")


def write_adapter(model: Any, directory: Path) -> None:
    """Write the adapter of a PEFT model, in canonical form, and nothing else."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    kept = {name: _plain(config[name]) for name in config if name not in _LEFT_OUT}
    kept["inference_mode"] = True
    (directory / CONFIG).write_bytes(canonical_json(kept))


def name_base(directory: Path, base: Mapping[str, Any]) -> None:
    """Write into an adapter's config where its base model is, for PEFT to find it.

    Args:
        directory: of the adapter.
        base: the spec of a base model, in a directory or of the Hugging Face Hub.
    """
    values = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    if base["kind"] == "hub":
        place = {"base_model_name_or_path": base["repo"], "revision": base["commit"]}
    else:
        place = {"base_model_name_or_path": base["path"]}
    (directory / CONFIG).write_bytes(canonical_json({**values, **place}))


def put_on(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """A base model with the adapter of a directory on it.

    The adapter's config names no base; the model in hand is its base.

    Raises:
        BackendError: the adapter does not fit the model.
    """
    import peft
    from safetensors.torch import load_file

    values = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    config = peft.LoraConfig.from_peft_type(**values)
    tuned = peft.get_peft_model(model, config)
    loaded = peft.set_peft_model_state_dict(tuned, load_file(directory / WEIGHTS))
    missing = [name for name in loaded.missing_keys if ".lora_" in name]
    if wrong := [*missing, *loaded.unexpected_keys]:
        raise BackendError(f"the adapter in {directory} does not fit its base model: {wrong[0]}")
    return tuned


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)  # enums
