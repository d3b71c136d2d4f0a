"""A backend of one's own: jobs are files in a directory that a cluster's workers look into.

``submit`` writes ``jobs/ID.json``. Whoever runs the cluster trains what is there, and
writes ``done/ID.json``. A stamp is part of the job's name, so a job can be found by it,
and writing one is a rename, so it is there or not.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motools.artifacts import RemoteRef
from motools.errors import BackendError, BackendUnavailableError
from motools.jobs import SentJob, Stamp
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
)

_HONOURED = {"base_model", "epochs", "seed"}


class SpoolBackend:
    """Jobs in a directory.

    Args:
        directory: with ``jobs/``, ``done/``, ``data/`` and ``models/``.
        cluster: a name that no other cluster has.
    """

    def __init__(self, directory: str, cluster: str) -> None:
        self._root = Path(directory)
        self._cluster = cluster
        if not self._root.is_dir():  # not mounted, perhaps: nothing is known
            raise BackendUnavailableError(f"{directory} is not there: is it mounted?")

    # Planning

    def identity(self) -> dict[str, Any]:
        return {"name": "spool", "recipe": 1, "scope": self._cluster}

    def identify(self, name: str, memo: object) -> BaseModel:
        known = json.loads((self._root / "models.json").read_text())
        if name not in known:
            raise BackendError(f"{self._cluster} has no model {name!r}, but {', '.join(known)}")
        return BaseModel(name, digest=known[name], spec={"name": name})

    def resolve(self, config: FineTuneConfig, base: BaseModel) -> dict[str, Any]:
        for field in config.changed():
            if field not in _HONOURED:
                raise BackendError(f"FineTuneConfig.{field} cannot be honoured by {self._cluster}")
        return {"epochs": config.epochs or 3.0, "seed": config.seed}

    # Jobs

    def capabilities(self) -> Capabilities:
        return Capabilities(finds=True, visibility_seconds=1.0, seeds=True)

    def account(self) -> Account:
        return Account(provider=f"spool:{self._cluster}", scope=self._cluster)

    def prepare(self, order: Order) -> Mapping[str, Any]:
        data = self._root / "data" / f"{order.digest}.jsonl"
        if not data.exists():
            _publish(data, order.dataset.read_bytes())
        return {"data": data.name, "base": order.base["name"], "config": dict(order.config)}

    def submit(self, prepared: Mapping[str, Any], stamp: Stamp) -> str:
        job = f"{stamp.key}.{stamp.attempt}.{uuid.uuid4().hex}"
        _publish(self._root / "jobs" / f"{job}.json", json.dumps(prepared).encode())
        return job

    def find(self, key: str) -> Sequence[SentJob]:
        paths = list((self._root / "jobs").glob(f"{key}.*.json"))
        return [
            SentJob(
                id=path.stem,
                attempt=int(path.stem.split(".")[1]),
                created_at=path.stat().st_mtime,
                usable=self._done(path.stem).get("state") not in ("failed", "cancelled"),
            )
            for path in paths
        ]

    def poll(self, job_id: str, after: str | None = None) -> JobStatus:
        if not (self._root / "jobs" / f"{job_id}.json").exists():
            raise BackendError(f"{self._cluster} has no job {job_id}")
        done = self._done(job_id)
        state = done.get("state", "waiting")
        return JobStatus(phase=state, said=state, error=done.get("error", ""))

    def cancel(self, job_id: str) -> None:
        self._end(job_id, {"state": "cancelled"})

    def result(self, job_id: str) -> JobResult:
        done = self._done(job_id)
        if done.get("state") != "succeeded":
            raise BackendError(f"{job_id} has not succeeded")
        account = self.account()
        return JobResult(
            model=RemoteRef(account.provider, account.scope, done["model"]),
            metrics={"trained_tokens": done["tokens"]},
        )

    # Models

    def alive(self, model: RemoteRef) -> Life:
        account = self.account()
        if (model.provider, model.scope) != (account.provider, account.scope):
            raise BackendUnavailableError(f"{model.id} is of {model.scope}, not of {self._cluster}")
        return Life(there=(self._root / "models" / model.id).exists())

    def endpoint(self) -> Endpoint:
        raise BackendError(f"models of {self._cluster} answer nowhere")

    def _done(self, job_id: str) -> dict[str, Any]:
        path = self._root / "done" / f"{job_id}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _end(self, job_id: str, outcome: Mapping[str, Any]) -> None:
        """The first outcome stays: a link is not made over another."""
        end_once(self._root / "done" / f"{job_id}.json", json.dumps(outcome).encode())


def end_once(path: Path, content: bytes) -> None:
    """Publish a file unless it is there."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _publish(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f".{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    temporary.replace(path)


def work(directory: Path) -> int:
    """What a worker of the cluster does once: train what nobody has; returns how many."""
    count = 0
    for path in sorted((directory / "jobs").glob("*.json")):
        done = directory / "done" / path.name
        if done.exists():
            continue
        job = json.loads(path.read_text())
        rows = (directory / "data" / job["data"]).read_text().splitlines()
        time.sleep(0.05)  # here it would train
        model = f"model-{path.stem[:12]}-{path.stem[-6:]}"
        (directory / "models" / model).write_text(json.dumps(job))
        outcome = {"state": "succeeded", "model": model, "tokens": sum(map(len, rows)) // 4}
        end_once(done, json.dumps(outcome).encode())
        count += 1
    return count
