"""``/v1/fine_tuning/jobs``: ordering models, and following how they are made."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError

from motools.artifacts import Dataset
from motools.errors import BackendError, ConfigError, DatasetError
from motools.server import orders
from motools.server.bodies import JobOrder, Metadata
from motools.server.errors import RequestError, as_refusal
from motools.server.files import FINE_TUNE, File
from motools.server.job import CANCELLED, OPEN, PAUSED, QUEUED, VALIDATING, WAITING, Event, Job
from motools.server.models import Base, Tuned
from motools.server.objects import (
    CheckpointMetrics,
    CheckpointObject,
    EventObject,
    JobError,
    JobExtension,
    JobObject,
    Listing,
)
from motools.server.pages import new_id
from motools.server.routes.common import Account, Id, Served, Wanted, errors, listing
from motools.server.service import Service
from motools.server.work import check_expected

router = APIRouter(tags=["fine-tuning"])

_FILTER: Final = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_METADATA: Final[TypeAdapter[dict[str, str] | None]] = TypeAdapter(Metadata | None)


@router.post(
    "/fine_tuning/jobs", responses=errors(404, 409, 429), summary="Order a fine-tuned model."
)
def create(body: JobOrder, service: Served, account: Account) -> JobObject:
    """Put a job into the queue."""
    base = service.models.base(body.model)
    file = service.files.get(account, body.training_file, "training_file")
    if file.purpose != FINE_TUNE:
        raise RequestError(
            f"{file.id} has purpose {file.purpose!r}, not {FINE_TUNE!r}", param="training_file"
        )
    try:
        order = orders.order(service.cache, body, base, service.models.identify(base))
    except (ConfigError, BackendError) as problem:
        known = body.motools is not None and body.motools.config is not None
        raise as_refusal(problem, "motools.config." if known else "") from problem
    extension = body.motools
    job = Job(
        id=new_id("ftjob"),
        account=account,
        base_model=base.name,
        training_file=file.id,
        suffix=body.suffix,
        metadata=body.metadata or {},
        config=orders.fields_of(order.config),
        hyperparameters=order.hyperparameters,
        replicate=extension.replicate if extension else 0,
        expected_key=extension.expect.key if extension and extension.expect else None,
    )
    _check_planned(service, job, file, base)
    service.jobs.add(job)
    service.queue.wake()
    return _shown(job)


@router.get("/fine_tuning/jobs", responses=errors(), summary="The jobs of a caller.")
def list_jobs(
    request: Request, service: Served, account: Account, turn: Wanted
) -> Listing[JobObject]:
    """A page of them, the newest first. ``metadata[name]=value`` leaves those that have it."""
    wanted: dict[str, str] | None = {}
    for name, value in request.query_params.multi_items():
        if pair := _FILTER.fullmatch(name):
            wanted = {**(wanted or {}), pair[1]: value}
        elif name == "metadata" and value == "null":
            wanted = None
        elif name not in ("after", "limit"):
            raise RequestError(f"unknown field {name!r}", param=name, code="unknown_parameter")
    try:
        _METADATA.validate_python(wanted)
    except ValidationError as problem:
        said = problem.errors()[0]["msg"]
        raise RequestError(f"metadata: {said}", param="metadata", code="invalid_value") from problem
    return listing(service.jobs.listed(account, wanted, turn), _shown)


@router.get("/fine_tuning/jobs/{job_id}", responses=errors(404), summary="A job.")
def retrieve(job_id: Id, service: Served, account: Account) -> JobObject:
    """How far it is."""
    return _shown(service.jobs.get(account, job_id))


@router.post("/fine_tuning/jobs/{job_id}/cancel", responses=errors(404, 409), summary="Cancel.")
def cancel(job_id: Id, service: Served, account: Account) -> JobObject:
    """End a job for good."""
    event = Event("The job was cancelled")
    return _moved(service, account, job_id, sources=OPEN, status=CANCELLED, event=event)


@router.post("/fine_tuning/jobs/{job_id}/pause", responses=errors(404, 409), summary="Pause.")
def pause(job_id: Id, service: Served, account: Account) -> JobObject:
    """Have a job make room for others; what it has trained so far is kept."""
    event = Event("The job was paused")
    return _moved(service, account, job_id, sources=WAITING, status=PAUSED, event=event)


@router.post("/fine_tuning/jobs/{job_id}/resume", responses=errors(404, 409), summary="Resume.")
def resume(job_id: Id, service: Served, account: Account) -> JobObject:
    """Have a paused job go on, when it is its turn."""
    job = service.jobs.get(account, job_id)
    status = VALIDATING if job.key is None else QUEUED
    event = Event("The job was resumed")
    return _moved(service, account, job_id, sources=(PAUSED,), status=status, event=event)


@router.get(
    "/fine_tuning/jobs/{job_id}/events", responses=errors(404), summary="What happened to a job."
)
def list_events(
    job_id: Id, service: Served, account: Account, turn: Wanted
) -> Listing[EventObject]:
    """A page of it, the last first."""
    job = service.jobs.get(account, job_id)
    return listing(service.jobs.events(job.id, turn), lambda event: EventObject(**vars(event)))


@router.get(
    "/fine_tuning/jobs/{job_id}/checkpoints",
    responses=errors(404),
    summary="The models on the way that a job kept.",
)
def list_checkpoints(
    job_id: Id, service: Served, account: Account, turn: Wanted
) -> Listing[CheckpointObject]:
    """A page of them, the last first."""
    job = service.jobs.get(account, job_id)
    return listing(service.models.checkpoints(job.id, turn), _checkpoint)


def _check_planned(service: Service, job: Job, file: File, base: Base) -> None:
    """Refuse an order that comes to another key than the client planned.

    What is wrong with the file is said later, by the job: then there is no key.
    """
    if job.expected_key is None:
        return
    dataset = Dataset(path=str(service.files.path(file)))
    step = orders.step(dataset, job.config, base, job.replicate, 0)
    try:
        key = step.action(service.cache).key
    except DatasetError:
        return
    check_expected(job.expected_key, key)


def _moved(
    service: Service,
    account: str,
    job_id: str,
    *,
    sources: tuple[str, ...],
    status: str,
    event: Event,
) -> JobObject:
    job = service.jobs.get(account, job_id)
    if not service.jobs.move(job.id, sources, status, event):
        now = service.jobs.get(account, job_id).status
        raise RequestError(
            f"{job_id} is {now}: only a job that is {' or '.join(sources)} can become {status}",
            status=409,
            code="invalid_status",
        )
    service.queue.interrupt(job.id)
    service.queue.wake()
    return _shown(service.jobs.get(account, job_id))


def _shown(job: Job) -> JobObject:
    method = job.config["method"]
    return JobObject(
        id=job.id,
        created_at=job.created_at,
        error=JobError(**job.error) if job.error is not None else None,
        fine_tuned_model=job.fine_tuned_model,
        finished_at=job.finished_at,
        hyperparameters=dict(job.hyperparameters),
        metadata=dict(job.metadata) or None,
        method={"type": method, method: {"hyperparameters": dict(job.hyperparameters)}},
        model=job.base_model,
        organization_id=job.account,
        result_files=[job.result_file] if job.result_file is not None else [],
        seed=job.config["seed"],
        status=job.status,  # type: ignore[arg-type]
        trained_tokens=job.trained_tokens,
        training_file=job.training_file,
        user_provided_suffix=job.suffix,
        motools=JobExtension(key=job.key, hit=job.hit, replicate=job.replicate),
    )


def _checkpoint(made: Tuned) -> CheckpointObject:
    values: dict[str, Any] = {"step": made.step, "train_loss": made.loss}
    return CheckpointObject(
        id=str(made.checkpoint),
        created_at=made.created_at,
        fine_tuned_model_checkpoint=made.id,
        fine_tuning_job_id=made.job,
        metrics=CheckpointMetrics(**values),
        step_number=values["step"],
    )
