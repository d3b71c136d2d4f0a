"""From JSON and files back to the value."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from motools.artifacts import Dataset
from motools.codecs import classes, tables
from motools.codecs.encoding import JSON, TAG
from motools.errors import ResultError


def decode(
    form: JSON,
    files: Mapping[str, Path],
    *,
    prefix: str = "motools-",
    copy: Callable[[Path, Path], object] = shutil.copy,
) -> Any:
    """The value whose form this is: new objects at every call.

    Args:
        form: what :func:`~motools.codecs.encode` returned.
        files: relative name to path of what it wrote.
        prefix: begins the name of the temporary directory that returned files
            and directories are copied to, since people own what they get;
            nothing removes it but them or the system.
        copy: copies a file.

    Raises:
        ResultError: a class is gone or has changed, or the form is unknown.
    """
    return _Decoder(files, prefix, copy).value(form, "result")


class _Decoder:
    """One walk over one form."""

    def __init__(
        self, files: Mapping[str, Path], prefix: str, copy: Callable[[Path, Path], object]
    ) -> None:
        self.files = files
        self._prefix = prefix
        self._copy_file = copy

    @cached_property
    def copies(self) -> Path:
        """Where copies go: made when the first is."""
        return Path(tempfile.mkdtemp(prefix=self._prefix))

    def value(self, form: JSON, path: str) -> Any:
        """The value of the part of the form at ``path``."""
        if isinstance(form, list):
            return [self.value(item, f"{path}[{i}]") for i, item in enumerate(form)]
        if not isinstance(form, dict):
            return form
        tag = next(iter(form), "")
        if len(form) == 1 and tag.startswith(TAG) and not tag.startswith(TAG + TAG):
            if tag not in _TAGS:
                raise ResultError(
                    f"{path}: {tag} is not known here; a newer motools may have written it"
                )
            return _TAGS[tag](self, form[tag], path)
        return {_plain(key): self.value(item, f"{path}[{key!r}]") for key, item in form.items()}

    def read(self, name: str, path: str) -> Path:
        """The file called ``name``."""
        try:
            return self.files[name]
        except KeyError:
            raise ResultError(f"{path}: the entry has no file {name!r}; {classes.AGAIN}") from None

    def json(self, name: str, path: str) -> Any:
        """A form that was too large to stand inline."""
        return self.value(json.loads(self.read(name, path).read_text(encoding="utf-8")), path)

    def pairs(self, form: list[list[JSON]], path: str) -> dict[Any, Any]:
        """A dict with keys that are not text."""
        return {self.value(k, path): self.value(item, f"{path}[{k!r}]") for k, item in form}

    def dated_frame(self, form: JSON, path: str) -> Any:
        """A data frame whose rows or columns follow each other at a frequency."""
        name, frequencies = form
        return tables.read_frame(self.read(name, path), frequencies)

    def dataclass(self, form: JSON, path: str) -> Any:
        """A dataclass instance."""
        name, fields = form
        values = {key: self.value(item, f"{path}.{key}") for key, item in fields.items()}
        return classes.new_dataclass(name, values, path)

    def pydantic(self, form: JSON, path: str) -> Any:
        """A pydantic model."""
        name, fields, given = form
        values = {
            key: classes.load_field(name, key, item["@field"], f"{path}.{key}")
            if isinstance(item, dict) and item.keys() == {"@field"}
            else self.value(item, f"{path}.{key}")
            for key, item in fields.items()
        }
        return classes.new_pydantic(name, values, given, path)

    def artifact(self, form: JSON, path: str) -> Any:
        """One of motools' own artifacts."""
        name, content = form
        cls = classes.find(name, path)
        if not classes.is_artifact(cls):
            raise ResultError(f"{path}: {name} is not an artifact of motools; {classes.AGAIN}")
        return cls.from_json(content)  # type: ignore[attr-defined]

    def dataset(self, form: JSON, path: str) -> Dataset:
        """A dataset whose rows stay in the store: it is a handle, which nobody writes to."""
        name, content = form
        return Dataset.from_json({**content, "path": str(self.read(name, path))})

    def file(self, name: str, path: str) -> Path:
        """A copy of a returned file."""
        return self._copy(name, self.read(name, path))

    def directory(self, form: list[str], _path: str) -> Path:
        """A copy of a returned directory."""
        name, *empty = form
        target = self.copies / name
        for directory in (target, *(target / inner for inner in empty)):
            directory.mkdir(parents=True, exist_ok=True)
        for inner, source in self.files.items():
            if name == "." or inner.startswith(f"{name}/"):
                self._copy(inner, source)
        return target

    def _copy(self, name: str, source: Path) -> Path:
        target = self.copies / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._copy_file(source, target)
        return target


def _plain(key: str) -> str:
    return key.removeprefix(TAG)


_TAGS: Final[dict[str, Callable[[_Decoder, Any, str], Any]]] = {
    "@json": _Decoder.json,
    "@float": lambda _, form, _path: float(form),
    "@tuple": lambda decoder, form, path: tuple(decoder.value(form, path)),
    "@dict": _Decoder.pairs,
    "@array": lambda decoder, name, path: tables.read_array(decoder.read(name, path)),
    "@scalar": lambda _, form, _path: tables.new_scalar(form),
    "@frame": lambda decoder, name, path: tables.read_frame(decoder.read(name, path)),
    "@dated_frame": _Decoder.dated_frame,
    "@dataclass": _Decoder.dataclass,
    "@pydantic": _Decoder.pydantic,
    "@dataset": _Decoder.dataset,
    "@artifact": _Decoder.artifact,
    "@file": _Decoder.file,
    "@directory": _Decoder.directory,
}
