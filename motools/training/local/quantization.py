"""Base weights in 4 or 8 bits, through bitsandbytes: what an adapter is trained on in QLoRA.

Planning needs nothing of this. A process that loads such a model needs the
library, and a device that the library can compute on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.errors import BackendError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel

LIBRARY: Final = "bitsandbytes"

FIXED: Final[Mapping[str, Any]] = {
    "bnb_4bit_quant_storage": "uint8",
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "llm_int8_enable_fp32_cpu_offload": False,
    "llm_int8_has_fp16_weight": False,
    "llm_int8_skip_modules": None,  # the output layer alone
    "llm_int8_threshold": 6.0,
}
"""Fields of the library's configuration that are always the same. Part of the recipe."""


def of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the base model of a training is quantised, as JSON; None: it is not.

    Args:
        config: from :func:`.recipe.resolve`.
    """
    kind = config.get("quantization")
    return {"kind": kind, "dtype": config["dtype"]} if kind else None


def fields(quantization: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the library's configuration.

    Args:
        quantization: from :func:`of`.
    """
    return {
        **FIXED,
        "bnb_4bit_compute_dtype": quantization["dtype"],
        "load_in_4bit": quantization["kind"] == "4bit",
        "load_in_8bit": quantization["kind"] == "8bit",
    }


def load(
    kind: Any, directory: Path | None, quantization: Mapping[str, Any], device: Any, **options: Any
) -> PreTrainedModel:
    """Load a model with its weights quantised.

    Args:
        kind: class of the model.
        directory: its files; None when ``options`` have its weights.
        quantization: from :func:`of`; the dtype is that of weights that stay as they are.
        device: where it is to be.
        options: of ``from_pretrained``.

    Raises:
        BackendError: the library is not here, or cannot compute on this machine.
    """
    settings = _settings(quantization)
    import torch

    return kind.from_pretrained(
        directory,
        quantization_config=settings,
        dtype=getattr(torch, quantization["dtype"]),
        # By its number: accelerate takes "cuda" for another device than "cuda:0".
        device_map={"": torch.cuda.current_device() if device.type == "cuda" else device},
        use_safetensors=True,
        **options,
    )


def _settings(quantization: Mapping[str, Any]) -> BitsAndBytesConfig:
    wanted = f"quantization={quantization['kind']!r}"
    if importlib.util.find_spec(LIBRARY) is None:
        raise BackendError(
            f"{wanted} needs the package {LIBRARY} on the machine that loads the model: "
            "pip install 'motools[qlora]'"
        )
    from transformers import BitsAndBytesConfig
    from transformers.integrations import validate_bnb_backend_availability

    try:
        validate_bnb_backend_availability(raise_exception=True)
    except RuntimeError as problem:
        raise BackendError(
            f"{wanted}: the {LIBRARY} that is installed cannot compute on any device of this "
            f"machine; take one with a GPU, or a newer version of it ({problem})"
        ) from None
    return BitsAndBytesConfig(**fields(quantization))
