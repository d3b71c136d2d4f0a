"""Canonical forms of what an Inspect task is made of, inside a worker process.

Solvers, scorers, metrics and tools are pinned as name, parameters and source;
other objects as their class and state; models as an identity that cannot come
to mean another model. What cannot be pinned is an error: an evaluation whose
parts are uncertain has no key.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from motools import source
from motools.digest import Value, canonical_json, hash_bytes, hash_file
from motools.errors import SourceError
from motools.evals.closures import cells_of, is_data
from motools.evals.config import is_pinned
from motools.evals.loading import Arguments
from motools.source.objects import slots_of

_MODEL_PARAMETERS: Final = frozenset({"grader", "graders", "judge", "judges", "model", "models"})
_CODE: Final = (types.FunctionType, types.BuiltinFunctionType, type)
_CONTAINERS: Final = (
    bytes,
    enum.Enum,
    frozenset,
    list,
    Mapping,
    PurePath,
    re.Pattern,
    set,
    tuple,
)
_SCALARS: Final = (bool, int, float, str)


class Pins:
    """Makes canonical forms, and collects the models and the source that were met.

    Args:
        version: the user's statement of what source cannot show, or None.
        inspect_version: what stands for Inspect's version.
        directory: where the task's relative paths start.
        equivalent: library -> classes of its versions that count as one.
    """

    def __init__(
        self,
        version: str | None,
        inspect_version: str,
        directory: Path,
        equivalent: Mapping[str, Sequence[Sequence[str]]],
    ) -> None:
        self.models: set[str] = set()
        self.texts: dict[str, Value] = {}
        self._version = version
        self._inspect_version = inspect_version
        self._directory = directory
        self._equivalent = equivalent
        self._open: list[int] = []

    def value(self, value: Any, path: str) -> Value:
        """The canonical form of any value.

        Raises:
            SourceError: there is none; the message has ``path``.
        """
        if type(value) is float and value.is_integer():
            return {"$float": repr(value)}  # 1 and 1.0 are not one in a prompt
        if value is None or type(value) in _SCALARS:
            return value  # type: ignore[no-any-return]
        if id(value) in self._open:
            if isinstance(value, _CODE):
                return {"again": value.__qualname__}
            raise SourceError(f"{path}: refers to itself, so it cannot be part of a key")
        self._open.append(id(value))
        try:
            return self._composite(value, path)
        finally:
            self._open.pop()

    def content(self, reference: str, path: str) -> Value:
        """The canonical form of what a reference points to: a file or a data URL.

        Raises:
            SourceError: it is on the network, or not there.
        """
        if reference.startswith("data:"):
            return {"blake3": hash_bytes(reference.encode()).hex}
        if re.match(r"[a-z][a-z0-9+.-]*://", reference, re.IGNORECASE):
            raise SourceError(
                f"{path}: {reference} can change without notice; "
                "download it and name the local file"
            )
        file = self._directory / reference
        if file.is_dir():
            members = sorted(one for one in file.rglob("*") if one.is_file())
            return {str(one.relative_to(file)): hash_file(one).hex for one in members}
        if not file.is_file():
            raise SourceError(f"{path}: {file} is not there")
        return {"blake3": hash_file(file).hex}

    def is_file(self, reference: str) -> bool:
        """Whether text that may be a path names a file or directory that is there."""
        try:
            return (self._directory / reference).exists()
        except (OSError, ValueError):  # too long for a path, or with a null character
            return False

    def sandbox(self, spec: Any, path: str) -> Value:
        """The canonical form of a sandbox environment."""
        if spec is None:
            return None
        if spec.type != "local" and self._version is None:
            raise SourceError(
                f"{path}: what is in a {spec.type} sandbox cannot be pinned; "
                "state it with EvalConfig(version=...) and change that when it changes"
            )
        if isinstance(spec.config, str):
            return {"type": spec.type, "config": self.content(spec.config, path)}
        return {"type": spec.type, "config": self.value(spec.config, path)}

    def _composite(self, value: Any, path: str) -> Value:
        from inspect_ai._util.registry import has_registry_params
        from inspect_ai.model import Model
        from inspect_ai.solver._chain import Chain

        form: Value
        if isinstance(value, Chain):
            form = [self.value(one, f"{path}[{i}]") for i, one in enumerate(value)]
        elif has_registry_params(value):
            form = self._component(value, path)
        elif isinstance(value, Model):
            form = self._model(value, path)
        elif isinstance(value, _CODE) and not isinstance(value, types.GenericAlias):
            form = self._code(value, path)
        elif isinstance(value, _CONTAINERS):
            form = self._container(value, path)
        else:
            form = self._instance(value, path)
        return form

    def _container(self, value: Any, path: str) -> Value:
        form: Value
        match value:
            case enum.Enum():
                form = {"$enum": type(value).__qualname__, "value": self.value(value.value, path)}
            case Mapping():
                form = self._mapping(value, path)
            case set() | frozenset():
                items = [self.value(item, path) for item in value]
                form = {"$set": sorted(items, key=canonical_json)}
            case list():
                form = [self.value(item, f"{path}[{i}]") for i, item in enumerate(value)]
            case tuple():
                form = {"$tuple": self.value(list(value), path)}
            case bytes():
                form = {"$bytes": hash_bytes(value).hex}
            case PurePath():
                form = self.content(str(value), path)
            case _:
                form = {"$pattern": value.pattern, "flags": value.flags}
        return form

    def _mapping(self, value: Mapping[Any, Any], path: str) -> Value:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {key: self.value(item, f"{path}.{key}") for key, item in value.items()}
        pairs = [[self.value(k, path), self.value(v, f"{path}[{k!r}]")] for k, v in value.items()]
        return {"$mapping": sorted(pairs, key=canonical_json)}

    def _component(self, value: Any, path: str) -> Value:
        """A solver, scorer, metric, tool, agent or reducer."""
        from inspect_ai._util.registry import registry_info, registry_params

        info, arguments = registry_info(value), registry_params(value)
        path = f"{path}.{info.name}"
        form: dict[str, Value] = {"name": info.name}
        if isinstance(arguments, Arguments):
            form["params"] = self._parameters(arguments.raw, path)
            form["source"] = self._code(arguments.factory, path)
            form |= self._captured(value, arguments.raw, path)
        elif info.name.startswith("inspect_ai/"):
            # Made while Inspect was imported, so its own doing: its version says all.
            form["params"] = self._parameters(arguments, path)
            form["source"] = {"inspect_ai": self._inspect_version}
        else:
            raise SourceError(
                f"{path}: was made before motools could see its arguments; "
                "make it in the task's function"
            )
        if info.type == "scorer":
            form["metrics"] = self.value(info.metadata.get("metrics"), f"{path}.metrics")
        return form

    def _parameters(self, parameters: Mapping[str, Any], path: str) -> dict[str, Value]:
        form: dict[str, Value] = {}
        for name, value in parameters.items():
            where = f"{path}({name})"
            if name in _MODEL_PARAMETERS:
                names = value if isinstance(value, (list, tuple)) else [value]
                for one in names:
                    if isinstance(one, str):
                        self._named_model(one, where)
            form[name] = self.value(value, where)
        return form

    def _captured(self, value: Any, known: Mapping[str, Any], path: str) -> dict[str, Value]:
        """Data in a component's closure that is not among its parameters.

        The factory's source and parameters say everything else about a closure,
        but a template that the factory read from a file shows up only here.
        """
        cells = cells_of(value) if inspect.isfunction(value) else getattr(value, "__dict__", {})
        data = {
            name: self.value(cell, f"{path}.{name}")
            for name, cell in sorted(cells.items())
            if name not in known and not name.startswith("__") and is_data(cell)
        }
        if cells.get("limits") and getattr(value, "__qualname__", "").startswith("as_solver."):
            data["limits"] = self.value(cells["limits"], f"{path}.limits")
        return {"captured": data} if data else {}

    def _model(self, model: Any, path: str) -> Value:
        name = str(model)
        self._named_model(name, path)
        settings = model.config.model_dump(exclude_none=True)
        return {
            "model": name,
            "config": self.value(settings, path),
            "service": model.api.base_url,
            "args": self.value(dict(model.model_args), path),
        }

    def _named_model(self, name: str, path: str) -> None:
        """Take note of a model other than the one under evaluation."""
        if self._version is None and not is_pinned(name):
            raise SourceError(
                f"{path}: the model {name!r} is a name that can come to mean another model; "
                "name a dated snapshot (as in 'openai/gpt-4o-2024-08-06'), or state which it is "
                "with EvalConfig(version=...)"
            )
        self.models.add(name)

    def _code(self, value: Any, path: str) -> Value:
        """A function or class: its source, as far as it reaches, and what its closure holds."""
        form = self._source(value, path)
        cells = cells_of(value) if inspect.isfunction(value) else {}
        if cells:
            form["closure"] = self._mapping(cells, path)
        return form

    def _source(self, value: Any, path: str) -> dict[str, Value]:
        try:
            described = source.describe(value, equivalent=self._equivalent)
            self.texts[described.digest] = {"source": described.to_json()}
            return {"digest": described.digest}
        except SourceError as problem:
            if self._version is None:
                raise SourceError(
                    f"{path}: {problem} (here: EvalConfig(version=...), changed when that changes)"
                ) from problem
        # The statement vouches for what is reached; what is in plain sight still counts.
        lines = inspect.getsource(value)
        text = hash_bytes(lines.encode()).hex
        self.texts[text] = {"source": source.in_plain_sight(value, text, lines).to_json()}
        return {"digest": source.describe(value, version=self._version).digest, "text": text}

    def _instance(self, value: Any, path: str) -> Value:
        if isinstance(value, functools.partial):
            parts = [value.func, list(value.args), dict(value.keywords)]
            return {"partial": self.value(parts, path)}
        if isinstance(value, types.MethodType):
            return {"method": value.__name__, "of": self.value(value.__self__, path)}
        if dataclasses.is_dataclass(value):
            state = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
            state |= getattr(value, "__dict__", {})
        elif hasattr(value, "model_fields_set"):
            state = {name: item for name, item in value if item is not None}
        elif hasattr(value, "__dict__"):
            slots = [name for cls in type(value).__mro__ for name in slots_of(cls)]
            state = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            state |= vars(value)
        elif self._version is not None:
            return {"stated": f"{type(value).__module__}.{type(value).__qualname__}"}
        else:
            raise SourceError(
                f"{path}: {type(value).__module__}.{type(value).__qualname__} cannot be part of a "
                "key; give plain values, or state what it is with EvalConfig(version=...)"
            )
        return {"class": self._code(type(value), path), "state": self._mapping(state, path)}
