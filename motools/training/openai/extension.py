"""What servers of motools say and take that OpenAI's protocol has no words for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from motools.digest import Value
from motools.training.config import FineTuneConfig
from motools.training.openai.asking import asking

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Model
    from openai.types.fine_tuning import FineTuningJob

FIELD: Final = "motools"
"""Where it is, in requests and answers."""

_TRAINER: Final = "trainer"
"""In the config of such a server: what trains behind it."""


def told(answer: Model | FineTuningJob) -> Mapping[str, Any]:
    """What an answer says besides; empty: it is another kind of server."""
    said = (answer.model_extra or {}).get(FIELD)
    return said if isinstance(said, Mapping) else {}


def asked(config: FineTuneConfig) -> dict[str, Value]:
    """A config as it was given: every field, since defaults may differ over there."""
    fields = config.resolved()
    del fields["base_model"]
    return fields


def resolved(client: OpenAI, host: str, config: FineTuneConfig, **wanted: Any) -> Mapping[str, Any]:
    """What a server says that a config comes to there.

    Args:
        client: of the server.
        host: of the server, for errors.
        config: as it was given.
        wanted: ``dataset`` (a digest) and ``replicate``, for the key of the training, too.

    Raises:
        BackendError: it cannot honour a field.
        BackendUnavailableError: it cannot be reached.
    """
    body = {"model": config.base_model, "config": asked(config), **wanted}
    with asking(host, "how it would train"):
        said: Any = client.post("/motools/resolve", body=body, cast_to=object)
    return said  # type: ignore[no-any-return]


def as_hashed(said: Mapping[str, Any]) -> dict[str, Value]:
    """The config of a key, of what :func:`resolved` returned."""
    return {**said["config"], _TRAINER: said["backend"]}
