"""Whom to ask about what lives at a provider: the backend of the settings with its account."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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

    def is_it(provider: Provider) -> str:
        found = provider.account()
        return "" if found == wanted else f"is {found.scope} at {found.provider}"

    what = f"{model.id} lives at {model.provider} in the account {model.scope}"
    return _first(what, settings, first, is_it)[1]


def provider_for(
    what: str, identity: object, settings: Settings, first: str | None = None
) -> tuple[str, Provider]:
    """The provider that a key was made for, with its name.

    Args:
        what: is looked for, as in ``job-1``.
        identity: the backend as it stands in the key.
        settings: name the backends.
        first: the backend to try before the others.

    Raises:
        BackendUnavailableError: no backend is known to be that one; each is named, with
            what it said.
    """

    def is_it(provider: Provider) -> str:
        return "" if provider.identity() == identity else "is another account or recipe"

    return _first(f"{what} is at {identity}", settings, first, is_it)


def _first(
    what: str, settings: Settings, first: str | None, is_it: Callable[[Provider], str]
) -> tuple[str, Provider]:
    """The first provider of which nothing is said against its being the one that is wanted."""
    tried: list[str] = []
    for name in _names(settings, first):
        try:
            backend = registry.backend(name, settings.backends)
            if not registry.is_provider(backend):
                continue
            against = is_it(backend)
        except MotoolsError as problem:
            against = str(problem)
        else:
            if not against:
                return name, backend
        tried.append(f"{name}: {against}")
    raise BackendUnavailableError(
        f"{what}, and no backend in the settings is known to be that "
        f"({'; '.join(tried) or 'there is none'})"
    )


def _names(settings: Settings, first: str | None) -> Iterator[str]:
    """Names of backends, those that are likely first; looked for only as far as is needed."""
    likely = dict.fromkeys([*([] if first is None else [first]), *settings.backends])
    yield from likely
    yield from (name for name in registry.names(settings.backends) if name not in likely)
