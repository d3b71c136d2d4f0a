"""``/v1/motools``: what a motools client asks besides, to plan exact keys."""

from __future__ import annotations

from fastapi import APIRouter

from motools.artifacts import Dataset
from motools.errors import BackendError, ConfigError
from motools.server import orders
from motools.server.bodies import Resolving
from motools.server.errors import as_refusal
from motools.server.objects import BackendObject, ResolvedObject, ServerObject
from motools.server.routes.common import Account, Served, errors
from motools.version import __version__

router = APIRouter(tags=["motools"])


@router.get("/motools", responses=errors(), summary="Which server this is.")
def identify(service: Served, account: Account) -> ServerObject:
    """Its id is the cache's: it stays for as long as the cache does."""
    return ServerObject(id=service.cache.id, account=account, version=__version__)


@router.post("/motools/resolve", responses=errors(404), summary="What a config comes to here.")
def resolve(body: Resolving, service: Served, _: Account) -> ResolvedObject:
    """Every value that decides a training's result, as it stands in keys."""
    base = service.models.base(body.model)
    try:
        config = orders.config_of(body.config, base)
        resolved = orders.resolve(service.cache, config, service.models.identify(base))
        key = None
        if body.dataset is not None:
            dataset = Dataset(digest=body.dataset)
            key = orders.key(service.cache, dataset, config, resolved, body.replicate)
    except (ConfigError, BackendError) as problem:
        raise as_refusal(problem, "config.") from problem
    return ResolvedObject(
        base_model=resolved.base_model,
        config=dict(resolved.config),
        backend=BackendObject.model_validate(dict(resolved.backend)),
        key=key,
    )
