"""What the settings say of an API: ``[backends.NAME]``."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from motools.errors import SettingsError
from motools.training import credentials

OPENAI: Final = "https://api.openai.com/v1"
OWN_HOST: Final = "api.openai.com"
NO_KEY: Final = "none"
"""What the SDK is given where a server wants no key: it refuses an empty one."""


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "finds": (bool,),
    "visibility_seconds": (float, int),
    "timeout": (float, int),
}
"""Of options that are no text."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an API is reached, and as whom.

    Attributes:
        base_url: of the API; by default ``OPENAI_BASE_URL``, or OpenAI's own.
        api_key_env: the environment variable with the key; for OpenAI's own address
            ``OPENAI_API_KEY``, for others none.
        api_key_block: a Prefect secret block with the key instead.
        organization: whose account is charged; sent with every request. What
            ``OPENAI_ORG_ID`` says goes to OpenAI, or to ``OPENAI_BASE_URL``, only.
        project: of the organization; likewise, with ``OPENAI_PROJECT_ID``.
        scope: a name for the account, where the API does not tell which it is. Two
            accounts must never have the same one.
        finds: whether jobs can be listed by their metadata; known for OpenAI's own API
            and motools's servers.
        visibility_seconds: how long after a submission a list of jobs may lack it.
        timeout: seconds for one request that transfers no file.
    """

    base_url: str = ""
    api_key_env: str = ""
    api_key_block: str = ""
    organization: str = ""
    project: str = ""
    scope: str = ""
    finds: bool | None = None
    visibility_seconds: float | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        """Fill in where it is, and refuse what cannot be right.

        Raises:
            SettingsError: the address is none, or has a password in it; or both an
                environment variable and a block are given.
        """
        for each in dataclasses.fields(self):
            value, kinds = getattr(self, each.name), _KINDS.get(each.name, (str,))
            if type(value) not in kinds and value != each.default:
                raise SettingsError(f"{each.name}: {value!r} is no {kinds[0].__name__}")
        for name in ("organization", "project"):
            sent = getattr(self, name)
            if " " in sent or not (sent.isascii() and sent.isprintable()):
                raise SettingsError(f"{name}: {sent!r} has characters that no header takes")
        late = self.visibility_seconds
        if not 0 < self.timeout < math.inf or (late is not None and not 0 <= late < math.inf):
            raise SettingsError("timeout and visibility_seconds: give seconds, from 0 on")
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        object.__setattr__(self, "base_url", url.rstrip("/"))
        try:
            parts = urlsplit(self.base_url)
            is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is none, or half an IPv6 address
            parts, is_one = urlsplit(""), False
        if not is_one:
            shown = "what it says" if "@" in self.base_url else repr(self.base_url)
            raise SettingsError(f"base_url: {shown} is not an address of an API")
        if parts.username or parts.password or parts.query:
            raise SettingsError(
                f"base_url: the address of {parts.hostname} has credentials in it, or a query, "
                "and is shown; name the variable that has the key with api_key_env"
            )
        if self.api_key_env and self.api_key_block:
            raise SettingsError("api_key_env and api_key_block: give one of them")

    @property
    def host(self) -> str:
        """Host of the API, with its port if it is not the usual one."""
        parts = urlsplit(self.base_url)
        usual = {"http": 80, "https": 443}[parts.scheme]
        name = parts.hostname or ""
        name = f"[{name}]" if ":" in name else name
        return name if parts.port in (None, usual) else f"{name}:{parts.port}"

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own API."""
        return self.host == OWN_HOST

    @property
    def is_own(self) -> bool:
        """Whether what the environment says for OpenAI's SDK is meant for this API."""
        named = os.environ.get("OPENAI_BASE_URL", "").rstrip("/")
        return self.is_openai or self.base_url == named

    def api_key(self) -> str:
        """The key of the account.

        Raises:
            BackendError: it is not where the settings say.
        """
        if self.api_key_block:
            return credentials.find(f"block:{self.api_key_block}", self.host)
        # The key of OpenAI goes nowhere else, unless it is said so.
        place = self.api_key_env or ("OPENAI_API_KEY" if self.is_own else "")
        return credentials.find(place, self.host) if place else NO_KEY
