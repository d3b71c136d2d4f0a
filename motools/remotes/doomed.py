"""What a prune has doomed: objects that go once nobody can be about to rely on them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from motools.cache.store import Store
from motools.errors import CacheUnavailableError
from motools.remotes.layout import DOOMED


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
        return f"{name}~{uuid.uuid4().hex[:8]}" if name in self.names else name


def sentence(name: str, data: bytes) -> dict[str, Any]:
    """What a file in ``doomed/`` says.

    Raises:
        CacheUnavailableError: it is damaged, so it cannot be known what is doomed.
    """
    try:
        facts: dict[str, Any] = json.loads(data)
        return {"names": list(map(str, facts["names"])), "made_at": float(facts["made_at"])}
    except (ValueError, KeyError, TypeError) as problem:
        raise CacheUnavailableError(
            f"{name} in the remote is damaged ({problem!r}), so what it dooms is unknown: "
            "delete it and prune again"
        ) from problem
