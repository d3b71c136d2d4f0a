"""Which entries a command is about: the same arguments and options wherever that is asked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, get_type_hints

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.records import GROUPS
from motools.cache.selection import Selection
from motools.cli.completion import complete_key
from motools.cli.options import WHEN, parse_when
from motools.errors import KeyNotFoundError

if TYPE_CHECKING:
    from motools.remotes import Remote

_Several: TypeAlias = list[str] | None
_NOTHING: Final[tuple[object, ...]] = (None, [], ())


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What entries must be like."""

    model_id: Annotated[
        _Several,
        typer.Option("--model-id", metavar="ID", help="Only of this model. May be repeated."),
    ] = None
    task_id: Annotated[
        _Several,
        typer.Option("--task-id", metavar="NAME", help="Only of this task. May be repeated."),
    ] = None
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="Only made by this backend.")
    ] = None
    since: Annotated[
        float | None,
        typer.Option(
            "--since", metavar="WHEN", parser=parse_when, help=f"Made then or later: {WHEN}."
        ),
    ] = None
    until: Annotated[
        float | None,
        typer.Option("--until", metavar="WHEN", parser=parse_when, help="Made before then."),
    ] = None
    tag: Annotated[
        _Several,
        typer.Option(
            "--tag", metavar="NAME", help="Only with this tag. May be repeated: with any."
        ),
    ] = None
    sweep: Annotated[
        Path | None, typer.Option("--sweep", metavar="FILE", help="Only of this sweep.")
    ] = None

    @property
    def narrowed(self) -> bool:
        """Whether anything is asked for."""
        return any(getattr(self, each.name) not in _NOTHING for each in fields(Filters))

    def selection(
        self, cache: Cache, group: str | None = None, *, trash: bool = False, pinned: bool = False
    ) -> Selection:
        """What is asked for, but for names.

        Raises:
            ConfigError: the file is no sweep.
        """
        return Selection(
            GROUPS.get(group or ""),
            self.model_id or None,
            self.task_id or None,
            self.backend,
            self.since,
            self.until,
            trash,
            self.tag or None,
            pinned,
            None if self.sweep is None else keys_of(cache, self.sweep),
        )


@dataclass(frozen=True, kw_only=True)
class Named(Filters):
    """Names of entries, and what they must be like."""

    keys: Annotated[
        _Several,
        typer.Argument(
            metavar="KEY",
            help="Only these: keys, or beginnings of keys; of datasets also hashes and file ids.",
            autocompletion=complete_key,
        ),
    ] = None

    @property
    def narrowed(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.keys) or super().narrowed

    def entries(
        self, cache: Cache, group: str | None = None, *, trash: bool = False
    ) -> list[Entry]:
        """The entries that are meant, newest first; without any restriction all.

        Raises:
            KeyNotFoundError: a name is nobody's, or nothing fits what was asked for.
            AmbiguousKeyError: a name is several entries'.
        """
        selection = self.selection(cache, group, trash=trash)
        if self.keys:
            found = catalogue.pick(cache, self.keys, selection)
        else:
            found = catalogue.select(cache, selection)
        if not found and self.narrowed:
            raise KeyNotFoundError("no entry fits these filters. Nothing was changed")
        return found

    def some(self, cache: Cache, *, everything: bool, trash: bool = False) -> list[Entry]:
        """The entries that are meant, where all of them are only meant if that is said.

        Raises:
            BadParameter: nothing is said, or both.
            KeyNotFoundError: a name is nobody's, or nothing fits what was asked for.
        """
        if self.narrowed == everything:
            raise typer.BadParameter("give keys, or filters such as --tag and --sweep, or --all")
        return self.entries(cache, trash=trash)


@dataclass(frozen=True, kw_only=True)
class Which(Named):
    """Names of entries, what they must be like, and their kind."""

    kind: Annotated[
        str | None, typer.Option("--kind", metavar="GROUP", help=f"Only of: {', '.join(GROUPS)}.")
    ] = None

    @property
    def narrowed(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.kind) or super().narrowed

    def meant(self, cache: Cache, remote: Remote) -> Selection:
        """What is asked for, names included, which are those of entries here or in a remote.

        Raises:
            KeyNotFoundError: a name is nobody's.
            AmbiguousKeyError: a name is several entries'.
        """
        from motools.remotes import find_keys

        found = self.selection(cache)
        if not self.keys:
            return found
        keys = find_keys(cache, remote.index, self.keys)
        return replace(found, keys=keys if found.keys is None else keys & found.keys)

    def there(self, cache: Cache, remote: Remote) -> list[Entry]:
        """The entries in a remote that are meant, newest first.

        Raises:
            KeyNotFoundError: a name is nobody's, or nothing there fits what was asked for.
            AmbiguousKeyError: a name is several entries'.
        """
        from motools.remotes import entries_there

        selection = self.meant(cache, remote)
        found = entries_there(cache, remote.index, selection, remote.index.keys())
        if not found:
            raise KeyNotFoundError(f"no entry in {remote.name} fits. Nothing was changed")
        return found

    def selection(
        self, cache: Cache, group: str | None = None, *, trash: bool = False, pinned: bool = False
    ) -> Selection:
        """What is asked for, but for names."""
        asked = self.kind or group
        if asked is not None and asked not in GROUPS:
            raise typer.BadParameter(f"--kind is one of {', '.join(GROUPS)}, not {asked!r}")
        return super().selection(cache, asked, trash=trash, pinned=pinned)


def keys_of(cache: Cache, sweep: Path) -> frozenset[str]:
    """The keys of a sweep's steps; an evaluation of a model that is not here has none yet."""
    from motools.sweeps import document
    from motools.sweeps.planner import make_plan

    steps = make_plan(document.read(sweep), cache).steps
    return frozenset(step.key for step in steps if step.key is not None)


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    return get_type_hints(of, include_extras=True)


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the fields of its parameter that is a dataclass one by one.

    So a set of options is declared once, and handed on as one value.
    """
    hints = _hints(command)
    signature = inspect.signature(command)
    taken: dict[str, list[str]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(annotation=kind))
            continue
        inner = _hints(kind)  # type: ignore[arg-type] # a class can be hashed
        taken[parameter.name] = [field.name for field in fields(kind)]
        parameters += (
            parameter.replace(name=each.name, default=each.default, annotation=inner[each.name])
            for each in fields(kind)
        )

    @functools.wraps(command)
    def taking(**given: Any) -> None:
        packed = {
            name: hints[name](**{field: given.pop(field) for field in names})
            for name, names in taken.items()
        }
        command(**packed, **given)

    ordered = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    taking.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    taking.__annotations__ = {each.name: each.annotation for each in ordered}
    return taking
