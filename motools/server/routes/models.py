"""``/v1/models``: base models, and the models that a caller's jobs made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from motools.server.models import Base, Tuned
from motools.server.objects import Deleted, Listing, ModelExtension, ModelObject
from motools.server.routes.common import Account, Served, errors
from motools.server.service import Service

router = APIRouter(tags=["models"])

_BASE_OWNER = "motools"
Name = Annotated[str, Path(max_length=512, pattern=r"^[\x20-\x7e]+$")]


@router.get("/models", responses=errors(), summary="The models that a caller can ask.")
def list_models(service: Served, account: Account) -> Listing[ModelObject]:
    """All of them, base models first."""
    data = [_shown(service, model) for model in service.models.listed(account)]
    return Listing(data=data)


@router.get("/models/{model:path}", responses=errors(404), summary="A model.")
def retrieve(model: Name, service: Served, account: Account) -> ModelObject:
    """What is known of it, with what stands for it in keys."""
    found = service.models.find(account, model)
    shown = _shown(service, found)
    key = None if isinstance(found, Base) else found.key
    shown.motools = ModelExtension(digest=service.models.digest(found), key=key)
    return shown


@router.delete("/models/{model:path}", responses=errors(404), summary="Drop a model's name.")
def delete(model: Name, service: Served, account: Account) -> Deleted:
    """The caller has the model no more; the cache keeps it, and others have theirs."""
    service.models.delete(account, model)
    return Deleted(id=model, object="model")


def _shown(service: Service, model: Base | Tuned) -> ModelObject:
    return ModelObject(
        id=model.name if isinstance(model, Base) else model.id,
        created=service.models.created(model),
        owned_by=_BASE_OWNER if isinstance(model, Base) else model.account,
    )
