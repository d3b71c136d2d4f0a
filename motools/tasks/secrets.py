"""API keys in Prefect's secret blocks: ``api_key_block`` of a backend in the settings."""

from __future__ import annotations

from typing import Any

import httpx
from prefect.blocks.system import Secret

from motools.errors import BackendError


def read(name: str) -> str:
    """The text of a secret block.

    Raises:
        BackendError: there is none of this name, or Prefect's server cannot be reached.
    """
    try:
        # In an event loop it would return a coroutine.
        block: Any = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except (ValueError, RuntimeError, httpx.HTTPError) as problem:
        raise BackendError(
            f"the secret block {name!r} cannot be read: {problem}. Make it with "
            f'`Secret(value="…").save("{name}")`'
        ) from problem
    return str(block.get())
