"""Fine-tuning jobs as recorded.

A job moves by one conditional update, together with the event that says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from motools.cache.database import Database, Transaction
from motools.server.errors import busy, not_found
from motools.server.files import File, insert_file
from motools.server.job import (
    COLUMNS,
    JSON,
    OPEN,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    WAITING,
    Event,
    Job,
)
from motools.server.models import Tuned, insert_model
from motools.server.pages import Page, Turn, now, page

_RETRY_SECONDS: Final = 30


class Jobs:
    """The jobs of all callers.

    Args:
        database: the coordinator.
        most: how many may wait or run.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most

    def add(self, job: Job) -> None:
        """Record a new job.

        Raises:
            RequestError: the queue is full, or the training file was deleted meanwhile.
        """
        values = {**vars(job), **{name: json.dumps(getattr(job, name)) for name in JSON}}
        values["error"] = None
        names = COLUMNS.split(", ")
        with self._database.write() as transaction:
            waiting = transaction.run(
                f"SELECT count(*) FROM server_jobs WHERE status IN {WAITING}"
            ).scalar_one()
            if waiting >= self._most:
                said = f"the queue is full: {self._most} jobs wait or run"
                raise busy(said, "queue_full", _RETRY_SECONDS)
            if not _has_file(transaction, job):
                raise not_found("file", job.training_file, "training_file")
            transaction.run(
                f"INSERT INTO server_jobs ({COLUMNS}) VALUES (:{', :'.join(names)})", **values
            )
            transaction.run_many(
                "INSERT INTO server_metadata (job, name, value) VALUES (:job, :name, :value)",
                [{"job": job.id, "name": n, "value": v} for n, v in job.metadata.items()],
            )
            _tell(transaction, job.id, Event(f"Created fine-tuning job: {job.id}"))

    def get(self, account: str, job_id: str) -> Job:
        """A job of a caller's own.

        Raises:
            RequestError: there is none of this id.
        """
        job = self.find(job_id)
        if job is None or job.account != account:
            raise not_found("fine-tuning job", job_id)
        return job

    def find(self, job_id: str) -> Job | None:
        """A job of anybody's."""
        rows = self._database.read(f"SELECT {COLUMNS} FROM server_jobs WHERE id = ?", (job_id,))
        return Job.of(rows[0]) if rows else None

    def listed(self, account: str, metadata: Mapping[str, str] | None, turn: Turn) -> Page[Job]:
        """The jobs of a caller, newest first.

        Args:
            account: whose.
            metadata: pairs that they have, all of them; None: jobs without metadata.
            turn: which page.
        """
        where, parameters = "account = ?", [account]
        if metadata is None:
            where += (
                " AND NOT EXISTS (SELECT 1 FROM server_metadata m WHERE m.job = server_jobs.id)"
            )
        for name, value in (metadata or {}).items():
            where += (
                " AND EXISTS (SELECT 1 FROM server_metadata m WHERE m.job = server_jobs.id "
                "AND m.name = ? AND m.value = ?)"
            )
            parameters += [name, value]
        return page(
            self._database, "server_jobs", COLUMNS, where, parameters, turn=turn, make=Job.of
        )

    def first(
        self,
        status: str,
        but: Sequence[str],
        served: Mapping[str, float],
        keys: Sequence[str] = (),
    ) -> Job | None:
        """The job that has waited longest in a status, of the caller who has.

        Args:
            status: which.
            but: ids of jobs that are passed over.
            served: caller to when one of theirs was taken last; others come first.
            keys: of trainings whose jobs are passed over.
        """
        where = "status = ?"
        parameters: list[Any] = [status]
        if but:
            where += f" AND id NOT IN ({_marks(but)})"
            parameters += but
        if keys:
            where += f" AND (key IS NULL OR key NOT IN ({_marks(keys)}))"
            parameters += keys
        callers = self._database.read(
            f"SELECT account, min(number) FROM server_jobs WHERE {where} GROUP BY account",
            parameters,
        )
        if not callers:
            return None
        _, number = min(callers, key=lambda row: (served.get(row[0], -math.inf), row[1]))
        rows = self._database.read(f"SELECT {COLUMNS} FROM server_jobs WHERE number = ?", (number,))
        return Job.of(rows[0])

    def queued_with(self, key: str) -> list[Job]:
        """The jobs in the queue that want the same training."""
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM server_jobs WHERE status = ? AND key = ? ORDER BY number",
            (QUEUED, key),
        )
        return [Job.of(row) for row in rows]

    def move(
        self, job_id: str, sources: Sequence[str], status: str, event: Event, **columns: Any
    ) -> bool:
        """Have a job in another status, if it is in one of those it is to come from.

        Args:
            job_id: which.
            sources: where it may come from.
            status: where it goes.
            event: that says so.
            columns: of the table, with what they become.
        """
        with self._database.write() as transaction:
            return _move(
                transaction, job_id, sources=sources, status=status, event=event, columns=columns
            )

    def succeed(
        self, job: Job, models: Sequence[Tuned], results: File, event: Event, **columns: Any
    ) -> bool:
        """Have a job succeed, and its owner the names of what it made.

        Args:
            job: which.
            models: the model first, then checkpoints on the way to it.
            results: the file with the losses.
            event: that says so.
            columns: of the table, with what they become.
        """
        columns = {"fine_tuned_model": models[0].id, "result_file": results.id, **columns}
        with self._database.write() as transaction:
            moved = _move(
                transaction,
                job.id,
                sources=WAITING,
                status=SUCCEEDED,
                event=event,
                columns=columns,
            )
            if moved:
                insert_file(transaction, results)
                for model in models:
                    insert_model(transaction, model)
            return moved

    def tell(self, job_id: str, event: Event) -> None:
        """Record that something happened to a job."""
        with self._database.write() as transaction:
            _tell(transaction, job_id, event)

    def events(self, job_id: str, turn: Turn) -> Page[Event]:
        """What happened to a job, the last first."""
        columns = "message, level, type, data, id, created_at"
        return page(
            self._database, "server_events", columns, "job = ?", [job_id], turn=turn, make=_event
        )

    def take_up(self, but: Collection[str]) -> None:
        """Put into the queue again what is said to run, and is not.

        Its server has ended, or the database was out of reach when it should have been told.

        Args:
            but: ids of those that run.
        """
        event = Event("The job was interrupted, and goes on")
        rows = self._database.read("SELECT id FROM server_jobs WHERE status = ?", (RUNNING,))
        for (job_id,) in rows:
            if job_id not in but:
                self.move(job_id, (RUNNING,), QUEUED, event)


def _move(
    transaction: Transaction,
    job_id: str,
    *,
    sources: Sequence[str],
    status: str,
    event: Event,
    columns: Mapping[str, Any],
) -> bool:
    values = {**columns, "status": status}
    if status not in OPEN:
        values["finished_at"] = now()
    moved = transaction.run(
        f"UPDATE server_jobs SET {', '.join(f'{name} = :{name}' for name in values)} "
        f"WHERE id = :job_id AND status IN ({', '.join(repr(each) for each in sources)})",
        job_id=job_id,
        **values,
    ).rowcount
    if moved:
        _tell(transaction, job_id, event)
    return bool(moved)


def _tell(transaction: Transaction, job_id: str, event: Event) -> None:
    data = None if event.data is None else json.dumps(event.data)
    transaction.run(
        "INSERT INTO server_events (id, job, level, type, message, data, created_at) "
        "VALUES (:id, :job, :level, :type, :message, :data, :created_at)",
        **{**vars(event), "job": job_id, "data": data},
    )


def _event(row: Sequence[Any]) -> Event:
    message, level, kind, data, name, created_at = row
    return Event(message, level, kind, None if data is None else json.loads(data), name, created_at)


def _has_file(transaction: Transaction, job: Job) -> bool:
    return bool(
        transaction.run(
            "SELECT count(*) FROM server_files WHERE id = :file AND account = :account",
            file=job.training_file,
            account=job.account,
        ).scalar_one()
    )


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
