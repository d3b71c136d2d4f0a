"""What a prune has doomed: objects that go once nobody can be about to rely on them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any, Final

from motools.cache.store import Store
from motools.errors import CacheUnavailableError
from motools.remotes.layout import DOOMED, another_name, is_object

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Doomed:
    """The doomed objects of a remote.

    Attributes:
        names: theirs. Whoever pushes MUST NOT rely on one, nor send bytes under its
            name: the prune may be about to delete it.
    """

    names: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, store: Store) -> Doomed:
        """What is doomed now.

        Raises:
            CacheUnavailableError: it cannot be known.
        """
        names: set[str] = set()
        for name, _ in store.names(DOOMED):
            data = store.read(name)
            if data is not None:  # carried out since it was listed
                names.update(sentence(name, data)["names"])
        return cls(frozenset(names))

    def fresh(self, name: str) -> str:
        """A name that is not doomed: this one, or another for the same bytes."""
        return another_name(name) if name in self.names else name


def sentence(name: str, data: bytes) -> dict[str, Any]:
    """What a file in ``doomed/`` says: ``names`` and ``made_at``.

    Names that a remote makes no objects of are left out, whoever wrote them: what is
    doomed is deleted, by whoever prunes and with that person's rights.

    Raises:
        CacheUnavailableError: it is damaged, so it cannot be known what is doomed.
    """
    try:
        facts: dict[str, Any] = json.loads(data)
        names, made_at = list(map(str, facts["names"])), float(facts["made_at"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as problem:
        raise CacheUnavailableError(
            f"{name} in the remote is damaged ({problem!r}), so what it dooms is unknown: "
            "delete it and prune again"
        ) from problem
    if strange := [each for each in names if not is_object(each)]:
        _log.warning(
            "%s in the remote dooms what is no pack, blob or segment (%s): that is left alone. "
            "If no prune of yours wrote it, delete it and see who may write there",
            name,
            ", ".join(ascii(each[:80]) for each in strange[:3]),
        )
    return {"names": list(filter(is_object, names)), "made_at": made_at}
