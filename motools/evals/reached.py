"""Models that are reached through an API: what pins them in a key.

A model is its name at its provider, where that is a dated snapshot or the user
vouches for it, and the address of the service if it is not the provider's own.
Keys of accounts come from the environment, where Inspect reads them; they are
in no key, log or entry.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from motools.digest import Value, canonical_json, hash_bytes
from motools.errors import EvaluationError
from motools.evals.config import is_local, is_pinned

_ANY: Final = "openai-api"
"""Inspect's provider for services that speak OpenAI's protocol: ``openai-api/service/model``."""

_ADDRESSES: Final = {
    "anthropic": ("ANTHROPIC_BASE_URL",),
    "deepseek": ("DEEPSEEK_BASE_URL",),
    "fireworks": ("FIREWORKS_BASE_URL",),
    "google": ("GOOGLE_BASE_URL",),
    "grok": ("XAI_BASE_URL", "GROK_BASE_URL"),
    "groq": ("GROQ_BASE_URL",),
    "mistral": ("MISTRAL_BASE_URL",),
    "moonshot": ("MOONSHOT_BASE_URL",),
    "openai": ("OPENAI_BASE_URL",),
    "openrouter": ("OPENROUTER_BASE_URL",),
    "perplexity": ("PERPLEXITY_BASE_URL",),
    "sambanova": ("SAMBANOVA_BASE_URL",),
    "together": ("TOGETHER_BASE_URL",),
}
"""Inspect's name of a provider, and where it reads the address of the service from."""

_EVERY: Final = "INSPECT_EVAL_MODEL_BASE_URL"
_CLOUDS: Final = frozenset({"azure", "bedrock", "sagemaker", "vertex"})
"""What the model is there depends on more than its name and an address."""


def is_reached(name: str) -> bool:
    """Whether a model's name means one at an API, rather than a base model of this machine.

    Some providers have a name that is also an organisation's on the Hub, where a model is
    told by its revision.
    """
    provider, slash, _ = name.partition("/")
    known = provider == _ANY or provider in _ADDRESSES
    return bool(slash) and known and not is_local(name)


def identity(name: str, version: str | None) -> str:
    """The digest that stands for a model at an API.

    Args:
        name: Inspect's name of it, as in ``openai/gpt-4o-2024-08-06``.
        version: the user's statement, which is in the key, or None.

    Raises:
        EvaluationError: its name can come to mean another model, or its service has no
            address that can be in a key.
    """
    if version is None and not is_pinned(name):
        raise EvaluationError(
            f"{name!r} is a name that can come to mean another model; name a dated snapshot (as "
            "in 'openai/gpt-4o-2024-08-06'), or state which it is with EvalConfig(version=...); "
            f"a model of the Hugging Face Hub is told by its revision, as in {name + '@main'!r}"
        )
    service = name.split("/")[1]
    if service in _CLOUDS:
        raise EvaluationError(
            f"{name!r}: what is deployed at {service} cannot be pinned; use an API that names "
            "its models, or one that speaks OpenAI's protocol as openai-api/service/model"
        )
    parts: dict[str, Value] = {"model": name}
    if (at := address(name)) is not None:
        parts["service"] = at
    return hash_bytes(canonical_json(parts)).hex


def address(name: str) -> str | None:
    """Where a model at an API is asked; None for its provider's own address.

    Raises:
        EvaluationError: there is no address, or it has credentials in it.
    """
    provider, _, rest = name.partition("/")
    if provider == _ANY:
        service = rest.partition("/")[0]
        variables: tuple[str, ...] = (f"{service.upper().replace('-', '_')}_BASE_URL",)
    else:
        variables = _ADDRESSES.get(provider, ())
    if not variables:
        return None
    found = next((value for one in (*variables, _EVERY) if (value := os.environ.get(one))), None)
    if found is None and provider == _ANY:
        raise EvaluationError(f"{name!r}: set {variables[0]} to the address of the service")
    if found is not None:
        parts = urlsplit(found)
        if parts.username or parts.password or parts.query:
            raise EvaluationError(
                f"{name!r}: the address in the environment ({parts.hostname}) has credentials in "
                "it, which would be in the log; give the key in the variable for keys"
            )
    return found and found.rstrip("/")


def addresses(names: Iterable[str]) -> dict[str, Any]:
    """Where models are asked that are not at their providers' own addresses."""
    found = {name: address(name) for name in names}
    return {name: at for name, at in found.items() if at is not None}
