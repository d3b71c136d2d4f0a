"""Base models on this machine: which files are loaded, and what they say of themselves.

A directory is identified by the manifest of the files that are loaded, and
loaded through a view that holds nothing else: what was not hashed cannot
change a result. All of this reads config files only; torch is not needed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from motools.digest import Digest, canonical_json, hash_bytes, hash_file
from motools.errors import BackendError
from motools.training.local import tiny
from motools.training.protocol import BaseModel

WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
CONFIG: Final = "config.json"
ADAPTER: Final = "adapter_config.json"
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_TEMPLATE: Final = "chat_template.jinja"
_TEMPLATE_JSON: Final = "chat_template.json"

COMPANIONS: Final = (
    "generation_config.json",
    _TOKENIZER_CONFIG,
    _TEMPLATE,
    _TEMPLATE_JSON,
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
"""Files beside weights and config that loading reads where they exist."""

_POSITIONS: Final = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def identify(name: str, digest_file: Callable[[Path], Digest]) -> BaseModel:
    """The base model that a name means: ``tiny`` or a directory.

    Args:
        name: ``tiny``, or the path of a directory in Hugging Face's layout.
        digest_file: the digest of a file, which may be remembered.

    Raises:
        BackendError: no such directory, weights that are not safetensors, an
            adapter in place of a base model, or a model that runs code of its own.
    """
    if name == "tiny":
        identity = {"base": "tiny", "recipe": tiny.RECIPE}
        return BaseModel(
            name=name,
            digest=hash_bytes(canonical_json(identity)).hex,
            spec={"kind": "tiny", "recipe": tiny.RECIPE},
            max_length=tiny.MAX_LENGTH,
            chat_template=tiny.CHAT_TEMPLATE,
            defaults=tiny.DEFAULTS,
        )
    directory = Path(name).expanduser()
    if not directory.is_dir():
        raise BackendError(
            f"base model {name!r}: no such directory, nor can a model of the Hugging Face Hub be "
            "called that; give 'tiny', a directory, or a name as in 'org/name' or "
            "'org/name@revision'"
        )
    config = read_config(directory)
    files = {file: digest_file(directory / file) for file in loaded(directory)}
    manifest = {file: [digest.hex, digest.size] for file, digest in files.items()}
    return BaseModel(
        name=name,
        digest=manifest_digest(manifest),
        spec={"kind": "directory", "path": str(directory.resolve()), "files": manifest},
        max_length=next((config[key] for key in _POSITIONS if key in config), None),
        chat_template=_chat_template(directory),
    )


@contextmanager
def view(spec: Mapping[str, Any]) -> Iterator[Path]:
    """A directory with the identified files of a base model, checked, and with no others.

    Args:
        spec: of a :class:`BaseModel` made from a directory, or what
            :func:`.hub.on_disk` made of another.

    Raises:
        BackendError: a file is gone or differs from what was identified.
    """
    directory = Path(spec["path"])
    with tempfile.TemporaryDirectory(prefix="motools-base-") as place:
        for file, (digest, _) in spec["files"].items():
            source = directory / file
            if not source.is_file():
                raise BackendError(f"base model file {source} is gone; restore it")
            if hash_file(source).hex != digest:
                again = spec.get("again", "run again to train from what it is now")
                raise BackendError(
                    f"base model file {source} changed after it was identified: {again}"
                )
            (Path(place) / file).symlink_to(source)
        yield Path(place)


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """What stands for a base model in a key: its loaded files, wherever they are."""
    return hash_bytes(canonical_json({"base": "directory", "files": manifest})).hex


def read_config(directory: Path) -> dict[str, Any]:
    """The model's config, after refusing what cannot be pinned.

    Raises:
        BackendError: it is not there, it is of an adapter, or it runs code of its own.
    """
    if (directory / ADAPTER).exists():
        raise BackendError(
            f"base model {directory}: adapter_config.json makes this an adapter, whose base may "
            "be anything; merge it into its base model and give that directory"
        )
    if not (directory / CONFIG).exists():
        raise BackendError(f"base model {directory}: there is no {CONFIG}")
    config = _read(directory / CONFIG)
    for file in (CONFIG, _TOKENIZER_CONFIG):
        if (directory / file).exists() and "auto_map" in _read(directory / file):
            raise BackendError(
                f"base model {directory}: {file} has auto_map, so loading would run code that "
                "comes with the model; only models that transformers itself knows are taken"
            )
    return config


def loaded(directory: Path) -> list[str]:
    """Names of the files that loading reads.

    Raises:
        BackendError: there are no weights, or they are not safetensors.
    """
    found = [file for file in COMPANIONS if (directory / file).is_file()]
    return sorted([CONFIG, *_weights(directory), *found])


def _weights(directory: Path) -> list[str]:
    if (directory / WEIGHTS).is_file():
        return [WEIGHTS]
    index = directory / WEIGHTS_INDEX
    if not index.is_file():
        pickled = sorted(path.name for path in directory.glob("*.bin"))
        hint = f"; {pickled[0]} is a pickle, convert it to safetensors" if pickled else ""
        raise BackendError(f"base model {directory}: there is no {WEIGHTS}{hint}")
    shards = read_shards(index)
    for shard in shards:
        if Path(shard).name != shard or not (directory / shard).is_file():
            raise BackendError(f"base model {directory}: {WEIGHTS_INDEX} names {shard}: not here")
    return [WEIGHTS_INDEX, *shards]


def read_shards(index: Path) -> list[str]:
    """Names of the files that an index of weights names."""
    return sorted(set(_read(index).get("weight_map", {}).values()))


def _chat_template(directory: Path) -> str | None:
    if (directory / _TEMPLATE).is_file():
        return (directory / _TEMPLATE).read_text(encoding="utf-8")
    for file in (_TEMPLATE_JSON, _TOKENIZER_CONFIG):
        if (directory / file).is_file():
            template = _read(directory / file).get("chat_template")
            if isinstance(template, list):  # several templates with names
                template = {item["name"]: item["template"] for item in template}.get("default")
            if template is not None:
                return str(template)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise BackendError(f"base model file {path} is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise BackendError(f"base model file {path} is not a JSON object")
    return value
