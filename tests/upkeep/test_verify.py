"""Verify: every kind of damage is found, and nothing else is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from motools.cache import Cache, Entry, removal, trash
from motools.cache.layout import OBJECTS, blob_name, entry_name, quarantined
from motools.cache.reindex import reindex
from motools.upkeep.findings import Damage, Finding
from motools.upkeep.health import health
from motools.upkeep.verify import verify
from tests.filled import Filled
from tests.postgresql import BOTH

from .conftest import alter, flip


def weights(filled: Filled) -> tuple[str, Path]:
    """The digest and file of a blob that one model has."""
    rows = {path: digest for path, digest, *_ in filled.models[0].file_rows}
    digest = rows["weights.safetensors"]
    return digest, filled.root / blob_name(digest)


def for_good(cache: Cache, entry: Entry) -> None:
    """Release an entry, and have its files gone."""
    removal.execute(cache, removal.plan(cache, [entry], release=True))
    trash.purge(cache, before=4e9)


def found(cache: Cache, **options: Any) -> list[Finding]:
    return list(verify(cache, **options).findings)


@BOTH
def test_a_whole_cache_is_well(cache: Cache, filled: Filled) -> None:
    assert health(cache) is None
    result = verify(cache, read_data=True)
    blobs = [path for path in (filled.root / OBJECTS).rglob("*") if path.is_file()]
    assert (result.entries, result.blobs, result.findings) == (8, len(blobs), ())
    assert result.bytes == sum(path.stat().st_size for path in blobs)
    said = health(cache)
    assert said is not None
    assert (said.entries, said.bytes, said.bad) == (8, result.bytes, 0)


def test_a_part_is_verified_alone_and_not_remembered(cache: Cache, filled: Filled) -> None:
    weights(filled)[1].unlink()
    assert found(cache, keys=[filled.models[1].key]) == []
    assert len(found(cache, keys=[filled.models[0].key])) == 1
    assert health(cache) is None


def test_a_missing_blob_names_every_entry_that_needs_it(cache: Cache, filled: Filled) -> None:
    shared = {path: digest for path, digest, *_ in filled.models[0].file_rows}["tokenizer.json"]
    (filled.root / blob_name(shared)).unlink()
    findings = found(cache)
    assert {each.key for each in findings} == {model.key for model in filled.models}
    for each in findings:
        assert (each.damage, each.file, each.digest) == (Damage.MISSING, "tokenizer.json", shared)
        assert each.remedy == "motools cache repair"
    assert health(cache).bad == 2  # type: ignore[union-attr]


def test_a_missing_tree_is_found(cache: Cache, filled: Filled) -> None:
    tree = filled.models[0].tree
    assert tree is not None
    (filled.root / blob_name(tree)).unlink()
    [finding] = found(cache)
    assert (finding.damage, finding.file, finding.digest) == (Damage.MISSING, None, tree)


def test_cut_short_bytes_are_put_aside_without_reading(cache: Cache, filled: Filled) -> None:
    digest, path = weights(filled)
    alter(path, lambda data: data[:-1])
    [finding] = found(cache)
    assert (finding.damage, finding.digest) == (Damage.ALTERED, digest)
    assert not path.exists()
    assert (filled.root / quarantined(digest)).exists()
    assert [each.damage for each in found(cache)] == [Damage.MISSING]


@pytest.mark.parametrize("seed", range(8))
def test_every_flipped_bit_is_found(cache: Cache, filled: Filled, seed: int) -> None:
    chance = random.Random(seed)
    blobs = sorted(path for path in (filled.root / OBJECTS).rglob("*") if path.is_file())
    hit = chance.sample(blobs, chance.randint(1, 5))
    for path in hit:
        alter(path, flip(chance.randrange(path.stat().st_size * 8)))
    assert found(cache) == []  # of the right size
    findings = found(cache, read_data=True)
    assert {each.damage for each in findings} == {Damage.ALTERED}
    assert {each.digest for each in findings} == {path.parent.name + path.name for path in hit}
    assert all((filled.root / quarantined(str(each.digest))).exists() for each in findings)


def test_bytes_that_were_replaced_in_time_stay(cache: Cache, filled: Filled) -> None:
    digest, path = weights(filled)
    assert not cache.blobs.quarantine(digest)
    assert path.exists()
    assert found(cache, read_data=True) == []


@pytest.mark.parametrize("column", ["action", "value", "tree", "files", "checksum"])
def test_an_altered_row_is_found(cache: Cache, filled: Filled, column: str) -> None:
    with cache.database.write() as transaction:
        transaction.run(
            f"UPDATE entries SET {column} = replace({column}, 'e', 'f') WHERE key = :key",
            key=filled.models[1].key,
        )
    [finding] = [each for each in found(cache) if each.damage is Damage.RECORD]
    assert finding.key == filled.models[1].key
    assert finding.remedy == "motools cache reindex"


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_bit_of_a_document_is_found(cache: Cache, filled: Filled, seed: int) -> None:
    path = filled.root / entry_name(filled.models[0].key)
    before = path.read_bytes()
    places = [n for n, byte in enumerate(before) if not chr(byte).isspace()]
    alter(path, flip(random.Random(seed).choice(places) * 8 + seed % 8))
    findings = found(cache)
    assert [each.damage for each in findings] == [Damage.DOCUMENT], path.read_bytes()
    assert findings[0].key == filled.models[0].key


def test_documents_that_say_something_else_are_found(cache: Cache, filled: Filled) -> None:
    path = filled.root / entry_name(filled.models[0].key)
    document = json.loads(path.read_bytes())
    document["generations"][0]["value"]["steps"] = 12.0
    path.write_text(json.dumps(document))
    assert [each.damage for each in found(cache)] == [Damage.DOCUMENT]
    document["generations"][0]["value"]["steps"] = 12
    path.write_text(json.dumps(document))  # other layout, same content
    assert found(cache) == []
    path.unlink()
    assert ["is missing" in each.reason for each in found(cache)] == [True]


def test_a_document_without_a_row_is_found(cache: Cache, filled: Filled) -> None:
    with cache.database.write() as transaction:
        transaction.run("DELETE FROM entries WHERE key = :key", key=filled.function.key)
    [finding] = found(cache)
    assert (finding.key, finding.damage) == (filled.function.key, Damage.RECORD)
    assert finding.remedy == "motools cache reindex"


def test_links_that_prune_goes_by_are_checked(cache: Cache, filled: Filled) -> None:
    with cache.database.write() as transaction:
        transaction.run("DELETE FROM entry_blobs WHERE key = :key", key=filled.models[0].key)
    [finding] = found(cache)
    assert (finding.key, finding.damage) == (filled.models[0].key, Damage.LINKS)


def test_entries_in_the_trash_and_released_ones_need_no_bytes(cache: Cache, filled: Filled) -> None:
    with cache.database.write() as transaction:
        for key, state in ((filled.models[0].key, "released"), (filled.models[1].key, "trash")):
            transaction.run(
                "UPDATE entries SET state = :state WHERE key = :key", state=state, key=key
            )
            transaction.run("INSERT INTO outbox (name) VALUES (:key)", key=key)
    weights(filled)[1].unlink()
    assert found(cache) == []


def test_a_released_entry_is_well_when_its_files_are_gone_for_good(
    cache: Cache, filled: Filled
) -> None:
    for_good(cache, filled.models[0])
    assert found(cache, read_data=True) == []
    reindex(filled.root)
    assert found(cache, read_data=True) == []
