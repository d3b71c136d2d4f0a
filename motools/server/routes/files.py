"""``/v1/files``: uploads."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from motools.server.errors import RequestError
from motools.server.files import FINE_TUNE, File
from motools.server.objects import Deleted, FileObject, Listing
from motools.server.pages import Turn
from motools.server.routes.common import Account, Id, Served, errors, listing
from motools.server.uploads import received

router = APIRouter(tags=["files"])

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": [FINE_TUNE]},
                },
            }
        }
    },
}


@router.post(
    "/files",
    responses=errors(),
    openapi_extra={"requestBody": _FORM},
    summary="Upload a file of rows, one JSON object a line.",
)
async def create(request: Request, service: Served, account: Account) -> FileObject:
    """Keep a file; what it holds is read when a job needs it."""
    content_type = request.headers.get("content-type", "")
    limit = service.options.max_upload
    async with received(request.stream(), content_type, service.files.uploads, limit) as upload:
        purpose = upload.fields.get("purpose")
        if purpose != FINE_TUNE:
            raise RequestError(
                f"purpose is {purpose!r}; this server takes files to {FINE_TUNE} with",
                param="purpose",
                code="invalid_value",
            )
        if others := upload.fields.keys() - {"purpose"}:
            name = min(others)
            raise RequestError(
                f"unknown field {name!r}: files stay until they are deleted",
                param=name,
                code="unknown_parameter",
            )
        if not upload.size:
            raise RequestError("the file is empty", param="file", code="invalid_value")
        file = await run_in_threadpool(service.files.add, account, upload, purpose)
    return _shown(file)


@router.get("/files", responses=errors(), summary="The files of a caller.")
def list_files(
    service: Served,
    account: Account,
    *,
    purpose: Annotated[str | None, Query(max_length=64, pattern=r"^[\x20-\x7e]*$")] = None,
    after: Annotated[str | None, Query(max_length=200, pattern=r"^[\x20-\x7e]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> Listing[FileObject]:
    """A page of them, the newest first."""
    return listing(service.files.listed(account, purpose, Turn(after, limit, order)), _shown)


@router.get("/files/{file_id}", responses=errors(404), summary="A file.")
def retrieve(file_id: Id, service: Served, account: Account) -> FileObject:
    """What is known of it."""
    return _shown(service.files.get(account, file_id))


@router.get(
    "/files/{file_id}/content",
    responses={200: {"content": {"application/octet-stream": {}}}, **errors(404)},
    response_class=FileResponse,
    summary="The bytes of a file.",
)
def content(file_id: Id, service: Served, account: Account) -> FileResponse:
    """The bytes as they were uploaded."""
    path = service.files.path(service.files.get(account, file_id))
    return FileResponse(path, media_type="application/octet-stream")


@router.delete("/files/{file_id}", responses=errors(404, 409), summary="Delete a file.")
def delete(file_id: Id, service: Served, account: Account) -> Deleted:
    """Free its bytes. A file that a job still needs stays."""
    service.files.delete(account, file_id)
    return Deleted(id=file_id, object="file")


def _shown(file: File) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_at,
        filename=file.filename,
        purpose=file.purpose,
    )
