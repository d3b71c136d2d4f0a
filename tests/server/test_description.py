"""The server is what its OpenAPI description says, whatever is sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.running import Running, running, upload

EXAMPLES = 25
TOKEN = "token-of-the-description"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("description") / "cache"
    with running(root, MOTOOLS_SERVE_TOKENS=f'{{alice = "{TOKEN}"}}') as site:
        upload(site.client(TOKEN))
        yield site


CHECKS = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
]


def test_every_answer_is_as_described(site: Running) -> None:
    described = schemathesis.openapi.from_url(f"{site.url.removesuffix('/v1')}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 20
    for operation in operations:
        _send(operation)


def _send(operation: Any) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    )
    def send(case: Case) -> None:
        case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {TOKEN}"})

    send()
