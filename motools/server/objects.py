"""What clients get: OpenAI's objects."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Listing(BaseModel, Generic[T]):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class FileObject(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: int | None = None
    status_details: str | None = None


class Deleted(BaseModel):
    """What was deleted."""

    id: str
    object: Literal["file", "model"]
    deleted: Literal[True] = True


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class JobExtension(BaseModel):
    """What motools says of a job besides: its key, and whether the cache had its model."""

    key: str | None
    hit: bool | None
    replicate: int


class JobObject(BaseModel):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    error: JobError | None
    estimated_finish: int | None = None
    fine_tuned_model: str | None
    finished_at: int | None
    hyperparameters: dict[str, Any]
    integrations: list[Any] = []
    metadata: dict[str, str] | None
    method: dict[str, Any]
    model: str
    organization_id: str
    result_files: list[str]
    seed: int
    status: Literal[
        "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
    ]
    trained_tokens: int | None
    training_file: str
    user_provided_suffix: str | None
    validation_file: str | None = None
    motools: JobExtension


class EventObject(BaseModel):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class CheckpointMetrics(BaseModel):
    """What is known of a checkpoint."""

    step: int
    train_loss: float | None


class CheckpointObject(BaseModel):
    """A model on the way to another."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: CheckpointMetrics
    step_number: int


class ModelExtension(BaseModel):
    """What stands for a model in keys."""

    digest: str
    key: str | None = None


class ModelObject(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None
    motools: ModelExtension | None = None


class ServerObject(BaseModel):
    """What server this is, and as whom it knows the caller."""

    object: Literal["motools.server"] = "motools.server"
    id: str
    account: str
    version: str


class BackendObject(BaseModel):
    """Who trains."""

    model_config = ConfigDict(extra="allow")

    name: str
    recipe: int


class ResolvedObject(BaseModel):
    """What a config comes to on a base model: with a dataset's digest, a key."""

    object: Literal["motools.resolved"] = "motools.resolved"
    base_model: str
    config: dict[str, Any]
    backend: BackendObject
    key: str | None = None


class Usage(BaseModel):
    """Tokens of a question and its answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorObject(BaseModel):
    """An error."""

    error: ErrorDetail
