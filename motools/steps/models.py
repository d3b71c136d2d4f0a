"""Models in hand: found in their cache, loaded, asked, and written out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.cache.current import cache_at
from motools.digest import SHORT
from motools.errors import BackendError
from motools.training import registry
from motools.training.protocol import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from motools.artifacts import Model
    from motools.cache import Cache
    from motools.training.local.pool import Kept

_copies: Final[dict[tuple[str, str], Path]] = {}
"""Where :func:`path_of` has put files, by cache and name."""


@contextmanager
def loadable(model: Model, cache: Cache, place: Path | None = None) -> Iterator[dict[str, Any]]:
    """What a model is loaded from, while the block lasts; every byte of an adapter is hashed.

    Args:
        model: a base model or a fine-tuned one.
        cache: where it is.
        place: for links to the adapter's files; a directory of the system by default.

    Raises:
        BackendError: it lives at a provider, or its base model has other files now.
    """
    base = _base(model, cache)
    spec: dict[str, Any] = {"base": base.spec, "adapter": None, "name": str(model)}
    if model.key is None:
        yield spec
        return
    trained = cache.entry(model.key)
    if trained.action["inputs"]["base_model"] != base.digest:
        raise BackendError(
            f"{model} was trained on other files than {model.base_model!r} has now: put the "
            "base model back as it was, or fine-tune again on this one"
        )
    with tempfile.TemporaryDirectory(prefix="model-", dir=place) as links:
        yield {**spec, "adapter": str(trained.link(links))}


def load(model: Model, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer, for the caller alone; see :meth:`motools.Model.load`."""
    from motools.training.local import models

    with loadable(model, cache_at(model.cache)) as spec:
        return models.load(spec, dtype=dtype)


@contextmanager
def loaded(model: Model) -> Iterator[Kept]:
    """A model in this process's pool, kept there at least until the end of the block."""
    from motools.training.local import models
    from motools.training.local.pool import POOL

    cache = cache_at(model.cache)
    base = _base(model, cache)

    def read() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        with loadable(model, cache) as spec:
            return models.load(spec)

    expected = sum(size for _, size in base.spec.get("files", {}).values())
    with POOL.use(model.digest or base.digest, read, expected) as kept:
        yield kept


def generate(model: Model, prompt: str | Sequence[Mapping[str, Any]], **settings: Any) -> str:
    """One answer, from a model in the pool; see :meth:`motools.Model.generate`."""
    from motools.training.local import pool

    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    with loaded(model) as kept:
        return pool.generate(kept, messages, **settings).text


def path_of(model: Model) -> Path:
    """A directory with a model's files; see :attr:`motools.Model.path`."""
    cache = cache_at(model.cache)
    base = _base(model, cache)
    if model.key is None and base.spec["kind"] == "directory":
        return Path(base.spec["path"])
    name = str(cache.root), model.id
    if name not in _copies or not _copies[name].is_dir():
        _copies[name] = Path(tempfile.mkdtemp(prefix=f"motools-{str(model)[:SHORT]}-"))
        _fill(_copies[name], model, base, cache)
    return _copies[name]


def merge(model: Model, directory: Path, dtype: str) -> Path:
    """Write a model without an adapter; see :meth:`motools.Model.merge`.

    Raises:
        BackendError: there is something in the directory.
    """
    from motools.training.local import models

    target = directory.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackendError(f"{target} is not an empty directory; give another, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with loadable(model, cache_at(model.cache)) as spec:
            models.save_merged(spec, place, dtype=dtype)
        place.chmod(0o755)
        place.replace(target)
    except BaseException:
        shutil.rmtree(place)
        raise
    return target


def _base(model: Model, cache: Cache) -> BaseModel:
    if model.remote is not None:
        raise BackendError(
            f"{model} lives at {model.remote.provider}: its weights are not here and cannot be "
            "loaded or evaluated on this machine"
        )
    return registry.backend("local").identify(model.base_model, cache.memo.digest_file)


def _fill(directory: Path, model: Model, base: BaseModel, cache: Cache) -> None:
    if model.key is None:
        from motools.training.local import models

        models.save_merged({"base": base.spec}, directory)
        return
    cache.entry(model.key).checkout(directory)
    if base.spec["kind"] == "directory":
        from motools.training.local.adapter import name_base

        name_base(directory, base.spec["path"])
