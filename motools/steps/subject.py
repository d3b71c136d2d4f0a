"""From what people call a piece of work to what its key was made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from motools.cache import catalogue
from motools.cache.action import key_of, material
from motools.cache.claim import ACTION
from motools.cache.layout import JOBS
from motools.cache.running import runner
from motools.digest import SHORT
from motools.errors import AmbiguousKeyError, CorruptDocumentError, KeyNotFoundError

if TYPE_CHECKING:
    from motools.cache import Action, Cache, Entry

_TASK_RUNS: Final = "task-run/1"
_LEAST: Final = 4
"""Characters of a key that are enough to look for it among actions without an entry."""

_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Subject:
    """Work to be explained.

    Attributes:
        canonical: the canonical JSON whose BLAKE3-256 is the key.
        entry: what it came to; None: nothing yet.
        note: what else is known of it.
    """

    canonical: str
    entry: Entry | None = None
    note: str = ""

    @classmethod
    def of_action(cls, cache: Cache, action: Action) -> Self:
        """An action, whether it has an entry or not."""
        entry = cache.index.get(action.key)
        return cls(action.canonical.decode(), entry, "" if entry else _state(cache, action.key))

    @property
    def key(self) -> str:
        """The key."""
        return key_of(self.canonical)

    @property
    def material(self) -> dict[str, Any]:
        """The key material: schema, kind, inputs, config, backend, replicate."""
        return material(self.canonical)


def find(cache: Cache, name: str) -> Subject:
    """The work with this name.

    Args:
        cache: where to look.
        name: the key, or the beginning of it, of an entry, of one that was cleared or of
            an action that failed or is running; the id or the name of a Prefect task run.

    Raises:
        KeyNotFoundError: nothing is known of it.
        AmbiguousKeyError: the beginning of a key fits several.
        CorruptDocumentError: what was kept of the action is damaged.
    """
    try:
        return _of_entry(catalogue.find(cache, name))
    except KeyNotFoundError:
        found = _of_failed(cache, name) or _of_task_run(cache, name) or _of_cleared(cache, name)
    if found is None:
        raise KeyNotFoundError(
            f"no entry, no failed action and no task run is called {name!r}. `motools cache list "
            "all` shows what there is; a step that never ran is named by its sweep: `motools cache "
            "explain --sweep FILE CELL`"
        )
    return found


def link_task_runs(cache: Cache, runs: Iterable[tuple[str, str, str]]) -> None:
    """Remember which key Prefect's task runs asked for.

    Args:
        cache: where they asked.
        runs: id and name of a task run, and the key. Of several runs of one name the
            last is remembered.
    """
    facts = [(each, "", key) for ident, name, key in runs for each in (ident, name)]
    cache.memo.record_many(_TASK_RUNS, {fact[0]: fact for fact in facts}.values())


def _of_entry(entry: Entry) -> Subject:
    return Subject(entry.canonical, entry)


def _of_failed(cache: Cache, name: str) -> Subject | None:
    """An action that has no entry: it failed, was killed, or is running."""
    prefix = name.lower()
    if len(prefix) < _LEAST or not _HEX.issuperset(prefix):
        return None
    texts = {key: cache.texts.read(key) for key in cache.texts.beginning(prefix)}
    actions = {key: text["action"] for key, text in texts.items() if "action" in text}
    for path in (cache.root / JOBS).glob(f"{prefix}*/{ACTION}"):
        actions.setdefault(path.parent.name, path.read_text())
    if len(actions) > 1:
        some = ", ".join(key[:16] for key in list(actions)[:5])
        raise AmbiguousKeyError(
            f"{len(actions)} keys start with {name!r} ({some}): give more of it"
        )
    for key, canonical in actions.items():
        if key_of(canonical) != key:
            raise CorruptDocumentError(
                f"what was kept of the action {key[:SHORT]} is damaged: run it again"
            )
        return Subject(canonical, note=_state(cache, key) or "an attempt at it left no entry")
    return None


def _of_task_run(cache: Cache, name: str) -> Subject | None:
    for entry in cache.entries():
        if name in (entry.provenance.get("task_run_id"), entry.provenance.get("task_run")):
            return Subject(entry.canonical, entry, f"made by the task run {name}")
    key = cache.memo.recall(_TASK_RUNS, name, "")
    if key is None:
        return None
    try:
        entry = cache.index.find(key)
    except KeyNotFoundError:
        return _of_failed(cache, key) or _of_cleared(cache, key)
    return Subject(entry.canonical, entry, f"asked for by the task run {name}")


def _of_cleared(cache: Cache, name: str) -> Subject | None:
    try:
        entry = catalogue.find(cache, name, trash=True)
    except KeyNotFoundError:
        return None
    key = entry.key[:SHORT]
    return Subject(
        entry.canonical, note=f"it was cleared: `motools cache undelete {key}` brings it back"
    )


def _state(cache: Cache, key: str) -> str:
    holder = runner(cache, key)
    return "" if holder is None else f"{holder} is running it"
