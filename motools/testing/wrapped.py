"""A provider in front of another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motools.artifacts import RemoteRef
from motools.digest import Value
from motools.jobs import SentJob, Stamp
from motools.memo import Memo
from motools.training.config import FineTuneConfig
from motools.training.protocol import BaseModel
from motools.training.provider import (
    Account,
    Capabilities,
    Endpoint,
    JobResult,
    JobStatus,
    Life,
    Order,
    Provider,
)


class Wrapped:
    """Does what another provider does; subclasses get in the way.

    Args:
        inner: the other one.
    """

    def __init__(self, inner: Provider) -> None:
        self.inner = inner

    def identity(self) -> dict[str, Value]:
        """As the other one."""
        return self.inner.identity()

    def identify(self, name: str, memo: Memo) -> BaseModel:
        """As the other one."""
        return self.inner.identify(name, memo)

    def resolve(self, config: FineTuneConfig, base: BaseModel) -> dict[str, Value]:
        """As the other one."""
        return self.inner.resolve(config, base)

    def capabilities(self) -> Capabilities:
        """As the other one."""
        return self.inner.capabilities()

    def account(self) -> Account:
        """As the other one."""
        return self.inner.account()

    def prepare(self, order: Order) -> Any:
        """As the other one."""
        return self.inner.prepare(order)

    def submit(self, prepared: Any, stamp: Stamp) -> str:
        """As the other one."""
        return self.inner.submit(prepared, stamp)

    def find(self, key: str) -> Sequence[SentJob]:
        """As the other one."""
        return self.inner.find(key)

    def poll(self, job_id: str, after: str | None = None) -> JobStatus:
        """As the other one."""
        return self.inner.poll(job_id, after)

    def cancel(self, job_id: str) -> None:
        """As the other one."""
        self.inner.cancel(job_id)

    def result(self, job_id: str) -> JobResult:
        """As the other one."""
        return self.inner.result(job_id)

    def alive(self, model: RemoteRef) -> Life:
        """As the other one."""
        return self.inner.alive(model)

    def endpoint(self) -> Endpoint:
        """As the other one."""
        return self.inner.endpoint()
