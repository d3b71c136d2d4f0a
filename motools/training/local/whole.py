"""Models whose weights were all trained, on disk: directories that are base models themselves.

Weights are what was trained; everything else is the base model's, byte for
byte, but for the number format that its config names. Nothing of a path or a
version is written, so equal models have equal bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.digest import canonical_json
from motools.training.local import base, tiny

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG: Final = "config.json"
"""Its presence tells such a model from an adapter."""

SHARD: Final = "20GB"
"""Most bytes in one file of weights. Part of the recipe."""

_WEIGHTS: Final = "model*.safetensors*"
# What names a path or an installation, or the format in which the base was kept.
_LEFT_OUT: Final = ("_name_or_path", "transformers_version", "torch_dtype")


def write_whole(model: PreTrainedModel, spec: Mapping[str, Any], directory: Path) -> None:
    """Write a model and what goes with it, so that it can be loaded as a base model.

    Args:
        model: trained.
        spec: of the base model that it was made from.
        directory: empty.
    """
    with tempfile.TemporaryDirectory(prefix="weights-", dir=directory.parent) as place:
        model.save_pretrained(place, max_shard_size=SHARD)
        for path in Path(place).glob(_WEIGHTS):
            shutil.move(path, directory / path.name)
    _write_companions(spec, directory)
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    kept = {name: value for name, value in config.items() if name not in _LEFT_OUT}
    kept["dtype"] = str(model.dtype).removeprefix("torch.")
    (directory / CONFIG).write_bytes(canonical_json(kept))


def _write_companions(spec: Mapping[str, Any], directory: Path) -> None:
    """Config, tokenizer and chat template."""
    if spec["kind"] == "tiny":
        model, tokenizer = tiny.load()
        model.config.to_json_file(directory / CONFIG, use_diff=False)
        model.generation_config.to_json_file(directory / "generation_config.json")
        tokenizer.save_pretrained(directory)
        return
    with base.view(spec) as files:
        for path in files.iterdir():
            if not path.match(_WEIGHTS):
                shutil.copyfile(path, directory / path.name)
