"""Releasing: which entries have to let go of their files, so that a budget is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import chain

from motools.cache.holdings import Holding, Holdings
from motools.upkeep.policy import GOES_FIRST, Budget, Policy


def to_release(
    held: Holdings, policy: Policy, *, protected: Collection[str] = (), now: float
) -> list[str]:
    """The keys of the entries to release: what has not been used for longest goes first.

    An entry whose release would free nothing is not among them.

    Args:
        held: what there is.
        policy: what may be there.
        protected: keys that are never chosen.
        now: seconds since 1970.
    """
    spared = now - policy.spare
    order = sorted(
        (
            entry
            for entry in held.entries
            if entry.key not in protected
            and entry.used_at <= spared
            and (policy.paid or not entry.paid)
        ),
        key=lambda entry: (GOES_FIRST.get(entry.kind, 0), entry.used_at, entry.key),
    )
    everything = _Scope(held.entries, held.sizes, policy.overall)
    of_kind = {
        kind: _Scope([e for e in held.entries if e.kind == kind], held.sizes, budget)
        for kind, budget in policy.kinds.items()
    }
    gone: dict[str, Holding] = {}
    for scope in (*of_kind.values(), everything):
        for entry in order:
            if scope.content:
                break
            if entry.key not in gone and scope.must_lose(entry, now):
                gone[entry.key] = entry
                for each in _scopes(entry, everything, of_kind):
                    each.lose(entry)
    for entry in reversed(list(gone.values())):
        scopes = _scopes(entry, everything, of_kind)
        needless = not everything.cost(entry)
        if needless or all(scope.has_room(entry, now) for scope in scopes):
            del gone[entry.key]
            for each in scopes:
                each.regain(entry)
    return list(gone)


def _scopes(entry: Holding, everything: _Scope, of_kind: Mapping[str, _Scope]) -> list[_Scope]:
    return [everything, *([of_kind[entry.kind]] if entry.kind in of_kind else ())]


class _Scope:
    """Entries with one budget, and the blobs that those of them hold that are kept."""

    def __init__(
        self, entries: Collection[Holding], sizes: Mapping[str, int], budget: Budget
    ) -> None:
        self._keys = {entry.key for entry in entries}
        self._sizes = sizes
        self._budget = budget
        self._users = Counter(chain.from_iterable(entry.blobs for entry in entries))
        self._total = sum(map(sizes.__getitem__, self._users))

    @property
    def content(self) -> bool:
        """Whether nothing need go, however old."""
        return self._budget.max_age is None and not self._over

    def must_lose(self, entry: Holding, now: float) -> bool:
        """Whether an entry is too old, or there is too much."""
        return entry.key in self._keys and (self._over or self._too_old(entry, now))

    def has_room(self, entry: Holding, now: float) -> bool:
        """Whether an entry could be kept after all."""
        limit = self._budget.max_size
        return not self._too_old(entry, now) and (
            limit is None or self._total + self.cost(entry) <= limit
        )

    def cost(self, entry: Holding) -> int:
        """Bytes that an entry which was lost would take again."""
        return sum(self._sizes[digest] for digest in entry.blobs if not self._users[digest])

    def lose(self, entry: Holding) -> None:
        """Do without an entry."""
        for digest in entry.blobs:
            self._users[digest] -= 1
            if not self._users[digest]:
                self._total -= self._sizes[digest]

    def regain(self, entry: Holding) -> None:
        """Have an entry again."""
        self._total += self.cost(entry)
        self._users.update(entry.blobs)

    @property
    def _over(self) -> bool:
        limit = self._budget.max_size
        return limit is not None and self._total > limit

    def _too_old(self, entry: Holding, now: float) -> bool:
        age = self._budget.max_age
        return age is not None and entry.used_at < now - age
