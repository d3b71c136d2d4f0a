"""Whom to ask about what lives at a provider: the backend of the settings with its account."""

from __future__ import annotations

from motools.artifacts import RemoteRef
from motools.errors import BackendUnavailableError, MotoolsError
from motools.settings import Settings
from motools.training import registry
from motools.training.provider import Account, Provider


def provider_of(model: RemoteRef, settings: Settings, first: str | None = None) -> Provider:
    """The provider that holds a model, asked as the account that the model belongs to.

    Args:
        model: what is held.
        settings: name the backends.
        first: the backend to try before the others.

    Raises:
        BackendUnavailableError: no backend is known to be that account; each is named, with
            what it said.
    """
    wanted = Account(model.provider, model.scope)
    tried: list[str] = []
    known = registry.providers(settings.backends)
    for name, provider in sorted(known, key=lambda each: each[0] != first):
        try:
            found = provider.account()
        except MotoolsError as problem:
            tried.append(f"{name}: {problem}")
            continue
        if found == wanted:
            return provider
        tried.append(f"{name}: is {found.scope} at {found.provider}")
    raise BackendUnavailableError(
        f"{model.id} lives at {model.provider} in the account {model.scope}, and no backend in "
        f"the settings is known to be that ({'; '.join(tried)})"
    )
