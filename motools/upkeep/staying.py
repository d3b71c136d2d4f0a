"""Staying: why entries that were named keep their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain

from motools.cache.holdings import Holding, Holdings
from motools.upkeep.policy import Policy


@dataclass(frozen=True)
class Reasons:
    """What decides whether an entry may be released.

    Attributes:
        held: what there is.
        policy: what may be there.
        pinned: keys.
        read: keys of what runs under way need.
        now: seconds since 1970.
    """

    held: Holdings
    policy: Policy
    pinned: Collection[str]
    read: Collection[str]
    now: float

    def staying(self, among: Collection[str], released: Collection[str]) -> Mapping[str, str]:
        """Key to why, for each of some entries that is not released.

        Args:
            among: keys of entries that were named.
            released: keys of those that go.
        """
        holdings = {entry.key: entry for entry in self.held.entries}
        kept = (entry for key, entry in holdings.items() if key not in released)
        users = Counter(chain.from_iterable(set(entry.blobs) for entry in kept))
        return {
            key: self._why(holdings.get(key), users) for key in sorted(among) if key not in released
        }

    def _why(self, entry: Holding | None, users: Mapping[str, int]) -> str:
        if entry is None:
            return "no files are here"
        shared = all(users[digest] > 1 for digest in entry.blobs)
        reasons = (
            (entry.key in self.pinned, "pinned (`motools cache unpin`)"),
            (entry.key in self.read, "a run under way needs it"),
            (entry.paid and not self.policy.paid, "it cost money (--paid, or name its key)"),
            (entry.used_at > self.now - self.policy.spare, "made or used just now (--spare)"),
            (shared, "all its files are shared with entries that stay"),
        )
        return next((why for is_so, why in reasons if is_so), "within the limits")
