"""Whether the journal's documents have the paid jobs that the tables have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from motools.cache.attempt import Attempt
from motools.cache.cache import Cache
from motools.cache.document import NO_DOCUMENT, parse_journal
from motools.cache.layout import JOURNAL, journal_name, key_in
from motools.errors import CorruptDocumentError
from motools.upkeep.findings import Damage, Finding


def damaged_journal(cache: Cache, keys: Iterable[str] | None) -> Iterator[Finding]:
    """What is wrong with the journal, by key.

    A document that the tables lag behind is as it should be: it is written first.

    Args:
        cache: whose.
        keys: only these; None: all that have paid jobs.
    """
    for key in _all_keys(cache) if keys is None else keys:
        recorded = [each.attempt for each in cache.attempts.of_key(key)]
        name = journal_name(key)
        data = cache.store.read(name)
        try:
            rows = [] if data is None else parse_journal(data, key)
        except (CorruptDocumentError, *NO_DOCUMENT) as problem:
            attempts = f"the tables have {len(recorded)} attempts at it"
            said = f"{name} is damaged: {str(problem) or repr(problem)}; {attempts}"
            yield Finding(key, 0, "", Damage.JOURNAL, said)
            continue
        written = {Attempt(*row).attempt for row in rows}
        if not written.issuperset(recorded) and (lacking := cache.attempts.undocumented(key)):
            some = "is missing" if data is None else f"lacks attempt {', '.join(map(str, lacking))}"
            yield Finding(key, 0, "", Damage.ATTEMPTS, f"{name} {some}")


def _all_keys(cache: Cache) -> list[str]:
    recorded = {key for (key,) in cache.database.read("SELECT DISTINCT key FROM jobs", ())}
    return sorted(recorded.union(map(key_in, cache.documents.names(JOURNAL))))
