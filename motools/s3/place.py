"""Where a bucket is and who asks for it, found where AWS's own tools look.

What is plain is read here: variables, and profiles with nothing but keys, a region
and an endpoint. Whatever else a profile says (roles, single sign-on, a program that
gives credentials), and machines that have a role, are left to AWS's own library,
which takes as long to load as a whole command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from motools.errors import SettingsError
from motools.s3.connections import S3Error
from motools.s3.signing import Credentials

NO_CREDENTIALS: Final = "NoCredentials"

_REGION: Final = "us-east-1"
"""Where none is named; a bucket that is elsewhere says so when it is asked."""

_PLAIN: Final = frozenset(
    {
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "cli_pager",
        "endpoint_url",
        "output",
        "region",
    }
)


@dataclass(frozen=True)
class Place:
    """How buckets are reached.

    Attributes:
        endpoint: URL of the server; empty: AWS.
        region: where the bucket is.
        asker: says who asks, at each request: what is lent for a time is renewed.

    Raises:
        SettingsError: the endpoint holds credentials, which would be in messages and sent
            to the server as they are.
    """

    endpoint: str
    region: str
    asker: Callable[[], Credentials]

    def __post_init__(self) -> None:
        if "@" in urlsplit(self.endpoint).netloc:
            raise SettingsError(
                "s3: the endpoint (s3.endpoint, AWS_ENDPOINT_URL, endpoint_url of a profile) holds "
                "a name or a password: leave them out, and say who asks with AWS_PROFILE, "
                "s3.profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )


def find(endpoint: str = "", region: str = "", profile: str = "") -> Place:
    """Where to go, and as whom.

    Args:
        endpoint: as in the settings; empty: from the environment, or a profile.
        region: likewise.
        profile: of AWS's files; empty: that of the environment, or the default one.

    Raises:
        SettingsError: there is no such profile, one of AWS's files cannot be read, or the
            endpoint holds credentials.
    """
    named = profile or _variable("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
    given = None if profile else _from_environment()
    endpoint = endpoint or _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    region = region or _variable("AWS_REGION", "AWS_DEFAULT_REGION")
    facts = _profile(named or "default")
    if facts is None or facts.keys() - _PLAIN or (named and not facts and not given):
        return _asked_of_aws(endpoint, region, profile)
    endpoint = endpoint or facts.get("endpoint_url", "")
    region = region or facts.get("region", "") or _REGION
    given = given or _of_profile(facts)
    if given is None:
        return _asked_of_aws(endpoint, region, profile)
    return Place(endpoint, region, lambda: given)


def _from_environment() -> Credentials | None:
    key, secret = _variable("AWS_ACCESS_KEY_ID"), _variable("AWS_SECRET_ACCESS_KEY")
    return Credentials(key, secret, _variable("AWS_SESSION_TOKEN")) if key and secret else None


def _of_profile(facts: Mapping[str, str]) -> Credentials | None:
    key, secret = facts.get("aws_access_key_id"), facts.get("aws_secret_access_key")
    if not key or not secret:
        return None
    return Credentials(key, secret, facts.get("aws_session_token", ""))


def _profile(name: str) -> dict[str, str] | None:
    """What AWS's two files say of a profile; None: more than can be told here."""
    section = name if name == "default" else f"profile {name}"
    config = _file("AWS_CONFIG_FILE", "config")
    secrets = _file("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    if config is None or secrets is None:
        return None
    return {**config.get(section, {}), **secrets.get(name, {})}


def _file(variable: str, name: str) -> dict[str, dict[str, str]] | None:
    """Its sections; None: it cannot be read, and AWS's library says why."""
    path = Path(os.environ.get(variable) or Path("~/.aws", name)).expanduser()
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError):
        return None
    return _sections(text) if text else {}


def _sections(text: str) -> dict[str, dict[str, str]] | None:
    from configparser import Error, RawConfigParser

    parsed = RawConfigParser(default_section="\0")
    try:
        parsed.read_string(text)
    except Error:
        return None
    return {section: dict(parsed.items(section)) for section in parsed.sections()}


def _variable(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _asked_of_aws(endpoint: str, region: str, profile: str) -> Place:
    """The same, by AWS's own library."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        session = Session(profile=profile or None)
        region = region or session.get_config_variable("region") or _REGION
        if not endpoint:
            found = session.create_client("s3", region_name=region).meta.endpoint_url
            endpoint = "" if _is_aws(found) else found
        return Place(endpoint, region, _lent(session.get_credentials()))
    except BotoCoreError as problem:
        raise SettingsError(f"s3: {problem} (s3.profile, AWS_PROFILE)") from problem


def _lent(credentials: Any) -> Callable[[], Credentials]:
    if credentials is None:
        raise SettingsError(
            "s3: there are no credentials: name some with AWS_PROFILE, s3.profile, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )

    def asker() -> Credentials:
        from botocore.exceptions import BotoCoreError

        try:
            frozen = credentials.get_frozen_credentials()
        except BotoCoreError as problem:
            raise S3Error(f"credentials: {problem}", code=NO_CREDENTIALS) from problem
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    return asker


def _is_aws(endpoint: str) -> bool:
    return endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn"))
