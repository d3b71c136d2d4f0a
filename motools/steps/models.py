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
from motools.training.local import hub, quantization
from motools.training.local.kept import DIRECTORY
from motools.training.local.whole import CONFIG
from motools.training.protocol import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from motools.artifacts import Model
    from motools.cache import Cache, Entry
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
    spec: dict[str, Any] = {"adapter": None, "name": str(model)}
    if model.key is None:
        yield {**spec, "base": hub.on_disk(base.spec)}
        return
    trained = cache.entry(model.key)
    if trained.action["inputs"]["base_model"] != base.digest:
        raise BackendError(
            f"{model} was trained on other files than {model.base_model!r} has now: put the "
            "base model back as it was, or fine-tune again on this one"
        )
    prefix = _prefix(model, trained)
    with tempfile.TemporaryDirectory(prefix="model-", dir=place) as links:
        files = trained.link(links) / prefix
        if f"{prefix}{CONFIG}" in trained.files:  # all weights were trained: it has no base
            yield {**spec, "base": _whole(trained, files, prefix)}
        else:
            spec["quantization"] = quantization.of(trained.action["config"])
            yield {**spec, "base": hub.on_disk(base.spec), "adapter": str(files)}


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
    _require_here(model)
    cache = cache_at(model.cache)
    if model.key is None:
        base = _base(model, cache)
        if base.spec["kind"] != "tiny":
            return Path(hub.on_disk(base.spec)["path"])
    name = str(cache.root), model.id
    if name not in _copies or not _copies[name].is_dir():
        _copies[name] = Path(tempfile.mkdtemp(prefix=f"motools-{str(model)[:SHORT]}-"))
        _fill(_copies[name], model, cache)
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


def _require_here(model: Model) -> None:
    if model.remote is not None:
        raise BackendError(
            f"{model} lives at {model.remote.provider}: its weights are not here and cannot be "
            "loaded on this machine"
        )


def _base(model: Model, cache: Cache) -> BaseModel:
    _require_here(model)
    name = model.base_model
    if model.key is not None and hub.parse(name) is not None:
        # The commit that it was trained from: a branch may have moved since.
        name = cache.entry(model.key).provenance.get("base_model_pinned", name)
    return registry.backend("local").identify(name, cache.memo)


def _fill(directory: Path, model: Model, cache: Cache) -> None:
    if model.key is None:
        from motools.training.local import models

        models.save_merged({"base": _base(model, cache).spec}, directory)
        return
    trained = cache.entry(model.key)
    if trained.action["backend"]["name"] != "local":
        trained.checkout(directory)  # in a form that only its own backend knows
        return
    base = _base(model, cache)
    prefix = _prefix(model, trained)
    if prefix:
        with tempfile.TemporaryDirectory(dir=directory.parent) as place:
            shutil.copytree(trained.checkout(place) / prefix, directory, dirs_exist_ok=True)
    else:
        trained.checkout(directory)
    if base.spec["kind"] != "tiny" and not (directory / CONFIG).exists():
        from motools.training.local.adapter import name_base

        name_base(directory, base.spec)


def _prefix(model: Model, trained: Entry) -> str:
    """Where a model's files are in its entry: at the top, or below those of a checkpoint."""
    prefix = "" if model.step is None else f"{DIRECTORY}/{model.step}/"
    if not any(name.startswith(prefix) for name in trained.files):
        kept = trained.value.get("checkpoints", [])
        raise BackendError(f"{model}: no checkpoint was kept at that step; kept are {kept}")
    return prefix


def _whole(trained: Entry, files: Path, prefix: str) -> dict[str, Any]:
    """The spec of a model that is a base model itself."""
    rows = [row for row in trained.file_rows if row[0].startswith(prefix)]
    manifest = {row[0].removeprefix(prefix): row[1:3] for row in rows}
    # Without a prefix, those of checkpoints are among them.
    manifest = {name: row for name, row in manifest.items() if "/" not in name}
    return {"kind": "directory", "path": str(files), "files": manifest}
