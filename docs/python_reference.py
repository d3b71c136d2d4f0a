"""The reference of the Python names, from their signatures and docstrings.

``python docs/python_reference.py > docs/reference/python.md`` writes it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import MISSING
from inspect import Parameter, Signature
from typing import Any, Final, is_typeddict

from griffe import Docstring

from motools import errors, settings
from motools.configs import Config
from motools.tasks import CachedTask

AREAS: Final = {
    "Tasks": (
        *("upload_dataset", "fine_tune", "evaluate", "cached_task"),
        *("tasks.CachedTask", "tasks.TaskOptions", "tasks.step_task", "tasks.run_context"),
        *("tasks.use_cache", "tasks.current_cache", "tasks.blocks.MotoolsCache"),
    ),
    "Sweeps": ("run_sweep", "sweeps.run.RunLimits"),
    "Configs": ("FineTuneConfig", "LoraConfig", "EvalConfig", "RunOptions", "configs.Config"),
    "Values": ("Dataset", "Model", "Evaluation", "RemoteRef", "release_memory"),
    "Looking into the cache": (
        *("cache_info", "print_cache_info", "clear_cache", "cache.CacheUtils"),
        *("prune_cache", "upkeep.prune.Pruned"),
        *("cache.utils.CacheStatistics", "cache.sizes.SizeBreakdown"),
        *("cache.records.DatasetRecord", "cache.records.ModelRecord"),
        *("cache.records.EvalRecord", "cache.records.FunctionRecord"),
    ),
    "The cache itself": (
        *("cache.Cache", "cache.Action", "cache.Entry", "cache.Claim", "cache.RunContext"),
        *("cache.Explanation", "cache.explain.Difference"),
    ),
    "Backends of your own": (
        *("training.protocol.Backend", "training.protocol.BaseModel"),
        *("training.protocol.Trainer", "training.protocol.TrainingJob"),
        *("training.protocol.TrainingResult", "training.provider.Provider"),
        *("training.provider.Capabilities", "training.provider.Account"),
        *("training.provider.Order", "training.provider.JobStatus", "training.provider.JobEvent"),
        *("training.provider.JobResult", "training.provider.Life", "training.provider.Endpoint"),
        *("training.provider.Describes", "training.provider.JobDescription"),
        *("jobs.Stamp", "jobs.SentJob"),
    ),
}
"""Headings, and the names below each, as they are imported from motools."""

_WIDTH: Final = 88
_MADE_FROM_ENTRY: Final = "of"
"""How records are made, which is not for users."""

_CLASS_LEVEL: Final = (classmethod, staticmethod)
_PROPERTIES: Final = (property, functools.cached_property)
_SECTIONS: Final = {"returns": "Returns", "yields": "Yields", "raises": "Raises"}


def reference() -> str:
    """Every public name, as Markdown."""
    lines = ["# Python", "", "A name without a module is imported from `motools`."]
    for title, names in AREAS.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += _described(name)
    lines += ["", "## Settings", "", _markdown(inspect.getdoc(settings) or "", "text")]
    lines += _described("settings.Settings")
    lines += ["", "## Errors", "", _markdown(inspect.getdoc(errors) or "", "text"), ""]
    return "\n".join(lines)


def _described(name: str) -> Iterator[str]:
    module, _, last = name.rpartition(".")
    found = getattr(importlib.import_module(f"motools.{module}".rstrip(".")), last)
    yield from ("", f"### `motools.{name}`" if module else f"### `{name}`", "")
    if not inspect.isclass(found):
        function = found.fn if isinstance(found, CachedTask) else found
        yield from _callable(last, inspect.signature(function), function)
        return
    sections = _sections(found)
    if "parameters" in sections:
        yield from _code(_signature(last, _without_first(found.__init__)))
    yield from _prose(sections)
    yield from _table(found, sections.get("attributes", []))
    for method, raw in vars(found).items():
        own = getattr(raw, "__qualname__", "") == f"{last}.{method}"  # not put in by a library
        of_class = isinstance(raw, _CLASS_LEVEL)
        if (own or of_class) and not method.startswith("_") and method != _MADE_FROM_ENTRY:
            bound = getattr(found, method)
            signature = inspect.signature(bound) if of_class else _without_first(bound)
            yield from ("", f"#### `{last}.{method}`", "")
            yield from _callable(f"{last}.{method}" if of_class else f".{method}", signature, bound)


def _callable(name: str, signature: Signature, function: Any) -> Iterator[str]:
    yield from _code(_signature(name, signature))
    yield from _prose(_sections(function))


def _sections(found: Any) -> dict[str, Any]:
    """The parts of a docstring by kind: text, parameters, attributes, returns, raises."""
    docstring = Docstring(inspect.getdoc(found) or "", lineno=1)
    parts = docstring.parse("google", returns_named_value=False, warn_missing_types=False)
    return {part.kind.value: part.value for part in parts}


def _prose(sections: dict[str, Any]) -> Iterator[str]:
    yield _markdown(sections.get("text", ""), "python")
    for part in sections.get("parameters", []):
        yield from _item(
            f"`{part.name}`", part.description, first=part is sections["parameters"][0]
        )
    for kind, title in _SECTIONS.items():
        for part in sections.get(kind, []):
            what = f"{title} `{part.annotation}`" if kind == "raises" else title
            yield from _item(what, part.description, first=part is sections[kind][0])


def _item(what: str, description: str, *, first: bool) -> Iterator[str]:
    if first:
        yield ""
    yield f"- {what}: {_line(description)}"


def _table(found: Any, attributes: Iterable[Any]) -> Iterator[str]:
    """Fields and properties of a class, with their types, defaults and meanings."""
    meanings = {part.name: part.description for part in attributes}
    defaults = issubclass(found, (Config, settings.Settings))
    rows = []
    for name, kind, default in _fields(found, meanings):
        typed = f"`{kind}`" if kind else ""
        cells = [f"`{name}`", typed, *([default] if defaults else []), meanings.get(name, "")]
        rows.append(f"| {' | '.join(_line(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    if rows:
        titles = ["field", "type", *(["default"] if defaults else []), "meaning"]
        yield from ("", f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}", *rows)


def _fields(found: Any, meanings: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    if dataclasses.is_dataclass(found):
        for spec in dataclasses.fields(found):
            yield spec.name, _type(spec.type), _default(spec)
    elif is_typeddict(found):
        for name, kind in found.__annotations__.items():
            yield name, _type(kind), ""
    else:
        for name in meanings:
            yield name, _type(found.__annotations__.get(name, "")), ""
    for name, raw in vars(found).items():
        if isinstance(raw, _PROPERTIES) and not name.startswith("_"):
            function = raw.fget if isinstance(raw, property) else raw.func
            meanings[name] = inspect.getdoc(function) or ""
            yield name, _type(inspect.signature(function).return_annotation), ""


def _default(spec: dataclasses.Field[Any]) -> str:
    if spec.default is not MISSING:
        return f"`{spec.default!r}`"
    return "required" if spec.default_factory is MISSING else f"`{spec.default_factory()!r}`"


def _type(annotation: Any) -> str:
    text = getattr(annotation, "__forward_arg__", annotation)  # of a TypedDict
    return re.sub(r"^Step\[(.*)\]$", r"\1", text if isinstance(text, str) else text.__name__)


def _without_first(function: Any) -> Signature:
    signature = inspect.signature(function)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _signature(name: str, signature: Signature) -> str:
    """``name(…) -> type``, on several lines where one is too long."""
    parts: list[str] = []
    star = False
    parameters = list(signature.parameters.values())
    for index, parameter in enumerate(parameters):
        if parameter.kind is Parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star |= parameter.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_POSITIONAL)
        parts.append(_parameter(parameter))
        following = parameters[index + 1].kind if index + 1 < len(parameters) else None
        if parameter.kind is Parameter.POSITIONAL_ONLY is not following:
            parts.append("/")
    result = signature.return_annotation
    ending = "" if result in (Signature.empty, "None") else f" -> {_type(result)}"
    line = f"{name}({', '.join(parts)}){ending}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){ending}"])


def _parameter(parameter: Parameter) -> str:
    stars = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    typed = parameter.annotation is not Parameter.empty
    kind = f": {_type(parameter.annotation)}" if typed else ""
    if parameter.default is Parameter.empty:
        return f"{stars}{parameter.name}{kind}"
    return f"{parameter.name}{kind}{' = ' if typed else '='}{parameter.default!r}"


def _code(text: str) -> Iterator[str]:
    yield from ("```python", text, "```", "")


def _markdown(text: str, language: str) -> str:
    """A docstring's text: its literal blocks fenced, its roles and literals as code."""
    pieces = re.split(r"(?m)^(.*?)::\n\n((?:    .*\n?|\n(?=    ))+)", text)
    made = [_inline(pieces[0])]
    for intro, block, rest in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        code = textwrap.dedent(block).strip()
        said = f"{_inline(intro)}:" if intro else ""
        made += [said, f"```{language}\n{code}\n```", _inline(rest)]
    return "\n\n".join(part.strip("\n") for part in made if part.strip())


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~[\w.]*?(\w+)`", r"`\1`", text)
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _line(text: str) -> str:
    return _inline(" ".join(text.split()))


if __name__ == "__main__":
    sys.stdout.write(reference())
