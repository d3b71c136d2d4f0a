"""Models by the names that callers have for them: base models, and what their jobs made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from motools.artifacts import Model
from motools.cache import Cache, Entry
from motools.cache.database import Transaction
from motools.errors import KeyNotFoundError
from motools.server.errors import RequestError, not_found
from motools.server.pages import Page, Turn, new_id, now, page
from motools.steps.train import model_digest
from motools.training import registry
from motools.training.protocol import BaseModel

_COLUMNS: Final = "id, account, base_model, job, key, step, checkpoint, loss, created_at"
_SHORT: Final = 16


@dataclass(frozen=True)
class Tuned:
    """A caller's name for a trained model.

    Attributes:
        id: the name.
        account: whose it is.
        base_model: as the server calls it.
        job: that made it.
        key: of the entry that holds it.
        step: of a checkpoint; None: the end of the training.
        checkpoint: id of a checkpoint.
        loss: of a checkpoint's step.
        created_at: in seconds since 1970.
    """

    id: str
    account: str
    base_model: str
    job: str
    key: str
    step: int | None = None
    checkpoint: str | None = None
    loss: float | None = None
    created_at: int = field(default_factory=now)


@dataclass(frozen=True)
class Base:
    """A base model that callers may name.

    Attributes:
        name: as they do.
        source: as the backend does: the name itself, or a directory of this machine.
    """

    name: str
    source: str


class Models:
    """The base models of a server, and the tuned ones of its callers.

    Args:
        cache: that holds the tuned ones.
        bases: that may be trained and asked. A name that is not among them is never looked
            for: it could be any directory of this machine.
    """

    def __init__(self, cache: Cache, bases: Sequence[Base]) -> None:
        self._cache = cache
        self._bases = {base.name: base for base in bases}
        self._started = now()

    def base(self, name: str, param: str | None = "model") -> Base:
        """A base model.

        Raises:
            RequestError: it is not served.
        """
        if name not in self._bases:
            served = ", ".join(sorted(self._bases))
            raise RequestError(
                f"The model {name!r} does not exist or cannot be trained here; base models are "
                f"{served} (motools serve --model)",
                status=404,
                param=param,
                code="model_not_found",
            )
        return self._bases[name]

    def pin(self) -> None:
        """Have every base model stay what it is now, however its name moves on.

        Raises:
            BackendError: one cannot be found or pinned.
        """
        for base in tuple(self._bases.values()):
            source = self.identify(base).provenance.get("base_model_pinned", base.source)
            self._bases[base.name] = Base(base.name, str(source))

    def identify(self, base: Base) -> BaseModel:
        """A base model as it is now.

        Raises:
            BackendError: it cannot be found or pinned.
        """
        return registry.backend("local").identify(base.source, self._cache.memo)

    def listed(self, account: str) -> list[Base | Tuned]:
        """Every model that a caller can ask."""
        rows = self._cache.database.read(
            f"SELECT {_COLUMNS} FROM server_models WHERE account = ? ORDER BY number DESC",
            (account,),
        )
        return [*self._bases.values(), *(Tuned(*row) for row in rows)]

    def find(self, account: str, name: str) -> Base | Tuned:
        """A model that a caller can ask.

        Raises:
            RequestError: there is none of this name.
        """
        if name in self._bases:
            return self._bases[name]
        rows = self._cache.database.read(
            f"SELECT {_COLUMNS} FROM server_models WHERE id = ? AND account = ?", (name, account)
        )
        if not rows:
            raise not_found("model", name, "model")
        return Tuned(*rows[0])

    def entry(self, tuned: Tuned) -> Entry:
        """What holds a tuned model.

        Raises:
            RequestError: it was cleared from the cache, or its files were.
        """
        try:
            entry = self._cache.entry(tuned.key)
        except KeyNotFoundError:
            entry = None
        if entry is None or entry.released:
            raise RequestError(
                f"{tuned.id}: its files were removed from the cache; the same job makes it again",
                status=404,
                param="model",
                code="model_not_found",
            )
        return entry

    def digest(self, model: Base | Tuned) -> str:
        """What stands for a model in a key.

        Raises:
            RequestError: it is no longer there.
            BackendError: a base model cannot be found or pinned.
        """
        if isinstance(model, Base):
            return self.identify(model).digest
        return str(self.loadable(model).digest)

    def loadable(self, model: Base | Tuned) -> Model:
        """A model as motools knows it.

        Raises:
            RequestError: it is no longer there.
        """
        if isinstance(model, Base):
            return Model(base_model=model.source, cache=str(self._cache.root))
        entry = self.entry(model)
        made = Model(
            base_model=self.base(model.base_model).source,
            key=entry.key,
            digest=model_digest(entry),
            cache=str(self._cache.root),
        )
        return made if model.step is None else made.at_step(model.step)

    def created(self, model: Base | Tuned) -> int:
        """When it came to be; a base model: when the server did."""
        return self._started if isinstance(model, Base) else model.created_at

    def delete(self, account: str, name: str) -> None:
        """Drop a caller's name for a model; the cache keeps the model.

        Raises:
            RequestError: there is none of this name, or it is a base model.
        """
        if isinstance(self.find(account, name), Base):
            raise RequestError(
                f"{name} is a base model, which is everybody's", status=403, param="model"
            )
        with self._cache.database.write() as transaction:
            transaction.run("DELETE FROM server_models WHERE id = :name", name=name)

    def checkpoints(self, job: str, turn: Turn) -> Page[Tuned]:
        """The checkpoints of a job that still have names, the last first."""
        where = "job = ? AND step IS NOT NULL"
        return page(
            self._cache.database,
            "server_models",
            _COLUMNS,
            where,
            [job],
            turn=turn,
            make=_tuned,
            name="checkpoint",
        )


def insert_model(transaction: Transaction, model: Tuned) -> None:
    """Give a model its name."""
    names = [f":{name}" for name in _COLUMNS.split(", ")]
    transaction.run(
        f"INSERT INTO server_models ({_COLUMNS}) VALUES ({', '.join(names)})",
        **vars(model),
    )


def named(account: str, base: str, job: str, suffix: str | None, entry: Entry) -> list[Tuned]:
    """The names of what a job made: the model, then its checkpoints in order."""
    name = f"ft:{base}:{account}:{suffix or ''}:{job[-_SHORT:]}"
    losses: dict[int, float] = dict(entry.value.get("loss_curve", []))
    checkpoints = [
        Tuned(
            f"{name}:ckpt-step-{step}",
            account,
            base,
            job,
            entry.key,
            step,
            new_id("ftckpt"),
            losses.get(step),
        )
        for step in entry.value.get("checkpoints", [])
    ]
    return [Tuned(name, account, base, job, entry.key), *checkpoints]


def _tuned(row: Sequence[Any]) -> Tuned:
    return Tuned(*row)
