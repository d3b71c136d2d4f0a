"""Whether models at an API are there: asked for one by one, or looked for in the list of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from motools.errors import BackendError, BackendUnavailableError
from motools.training.openai.account import Service, same_account
from motools.training.openai.asking import asking, checked, every
from motools.training.openai.status import day_of
from motools.training.provider import Life

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Model

    from motools.training.openai.options import Options

_NOT_IMPLEMENTED: Final = (405, 501)
_NAMED: Final = "model_not_found"
"""Of a 404, what says that the model is meant, and not the address."""


def life_of(client: OpenAI, options: Options, service: Service, name: str) -> Life:
    """Whether a model is listed, and until when.

    Args:
        client: of the API.
        options: of the API.
        service: whose models are asked after.
        name: of the model.

    Raises:
        BackendError: the API cannot say.
        BackendUnavailableError: it is not known; as of an account that is not proved to be
            the one that was found out.
    """
    import openai

    host = options.host
    try:
        with asking(host, name):
            found = client.models.retrieve(name)
    except BackendError as problem:
        answer = problem.__context__
        if not isinstance(answer, openai.APIStatusError):
            raise
        headers: Mapping[str, str] = answer.response.headers
        if answer.status_code in _NOT_IMPLEMENTED:
            listed, headers = _listed(client, host, name)
        elif isinstance(answer, openai.NotFoundError):
            listed = None if answer.code == _NAMED else _perhaps_listed(client, host, name)
            # OpenAI names what is missing; anything else may be a gateway's own page.
            if listed is None and options.is_openai and answer.code != _NAMED:
                raise _unproved(host, name, service) from problem
        else:
            raise
        if listed is None:
            if same_account(client, options, service, headers):
                return Life(there=False)
            raise _unproved(host, name, service) from problem
        found = listed
    checked(found, host, name, id=str)
    return Life(there=True, expires_at=day_of(getattr(found, "shutdown_date", None)))


def _perhaps_listed(client: OpenAI, host: str, name: str) -> Model | None:
    """The model in the list of all; None: it is not there, or the API has no list."""
    try:
        return _listed(client, host, name)[0]
    except BackendUnavailableError:
        raise
    except BackendError:
        return None


def _listed(client: OpenAI, host: str, name: str) -> tuple[Model | None, Mapping[str, str]]:
    """The model in the list of all, and the headers of that answer.

    Raises:
        BackendError: the API has no list.
        BackendUnavailableError: it is not known what is in it.
    """
    with asking(host, f"its list of models, for {name}"):
        answer = client.models.with_raw_response.list()
        page = answer.parse()
        for model in every(page, host):
            if model.id == name:
                return model, answer.headers
    if (page.model_extra or {}).get("has_more"):  # the protocol has no more than one page
        raise BackendUnavailableError(f"{host} lists a part of its models only, without {name}")
    return None, answer.headers


def _unproved(host: str, name: str, service: Service) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"{host} says that there is no {name}, but not that this is the account "
        f"{service.account.scope}: nothing is known"
    )
