"""Whose jobs and models these are: the account at an API, found out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from motools.errors import BackendError, BackendUnavailableError
from motools.training.names import MOTOOLS_SERVER
from motools.training.openai.asking import asking
from motools.training.provider import Account

if TYPE_CHECKING:
    from openai import OpenAI

    from motools.training.openai.options import Options

_HEADERS: Final = ("openai-organization", "openai-project")


@dataclass(frozen=True)
class Service:
    """An API, as far as it says what it is.

    Attributes:
        account: who is asked there.
        proof: how the account is known: ``sent`` with each request, which is refused if
            it is wrong; in the ``headers`` of each answer; told by the ``server``; or only
            ``stated`` by the user.
    """

    account: Account
    proof: Literal["sent", "headers", "server", "stated"]

    @property
    def is_motools(self) -> bool:
        """Whether it is a server of motools."""
        return self.proof == "server"


def find_out(client: OpenAI, options: Options) -> Service:
    """Ask an API which account this is.

    Raises:
        BackendError: it does not say, and the settings do not either.
        BackendUnavailableError: it cannot be asked.
    """
    provider = "openai" if options.is_openai else options.host
    if options.organization and options.project:
        scope = f"{options.organization}/{options.project}"
        # Others than OpenAI may pass over the headers that say so.
        return Service(Account(provider, scope), "sent" if options.is_openai else "stated")
    if options.scope:
        return Service(Account(provider, options.scope), "stated")
    if not options.is_openai and (server := _server(client, options)) is not None:
        return server
    with asking(options.host, "which account this is"):
        answer = client.fine_tuning.jobs.with_raw_response.list(limit=1)
    told = [answer.headers.get(name) for name in _HEADERS]
    if not all(told):
        raise BackendError(
            f"{options.host} does not say which account this is, and a model there means nothing "
            "without: set `organization` and `project` of the backend in the settings, or a "
            "`scope` that no other account has"
        )
    return Service(Account(provider, "/".join(map(str, told))), "headers")


def same_account(
    client: OpenAI, options: Options, service: Service, headers: Mapping[str, str]
) -> bool:
    """Whether an answer that something is not there came from the account that was found out.

    Raises:
        BackendUnavailableError: it cannot be asked.
    """
    if service.proof == "sent":
        return True
    if service.proof == "headers":
        return "/".join(str(headers.get(name)) for name in _HEADERS) == service.account.scope
    return service.is_motools and _server(client, options) == service


def _server(client: OpenAI, options: Options) -> Service | None:
    """What a server of motools says of itself; None: it is another kind."""
    try:
        with asking(options.host, "what it is"):
            said: Any = client.get("/motools", cast_to=object)
    except BackendUnavailableError:
        raise
    except BackendError:
        return None  # it has no such page
    if not isinstance(said, Mapping) or said.get("object") != "motools.server":
        return None
    return Service(
        Account(f"{MOTOOLS_SERVER}{said['id']}", f"{said['id']}/{said['account']}"), "server"
    )
