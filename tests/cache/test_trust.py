"""Trust: nothing of what is signed can be altered, and nobody else can sign it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motools.cache import Cache, RunContext
from motools.cache.document import entry_document, parse_entry
from motools.cache.entry import COLUMNS, checksum
from motools.cache.trust import Signer, check_trusted, load_signer, make_signer
from motools.errors import CacheError, CorruptDocumentError, SettingsError, UntrustedError
from tests.cache.conftest import Runs, action
from tests.postgresql import BOTH

NAMES = COLUMNS.split(", ")
UNSIGNED = ("state", "trashed_at", "kind")
"""What changes after an entry was signed; and its kind, which documents have from the action."""


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return make_signer(tmp_path / "keys" / "alice.pem")


@pytest.fixture
def signed(
    open_cache: Callable[..., Cache], signer: Signer, tmp_path: Path, runs: Runs
) -> tuple[tuple[Any, ...], dict[str, str], dict[str, str]]:
    """An entry's row, its marks, and who is trusted."""
    cache = open_cache(signing_key=str(tmp_path / "keys" / "alice.pem"))

    def run(context: RunContext) -> Any:
        context.label(model_id="model")
        context.cost = 1
        return runs(context)

    key = cache.get_or_run(action(), run).key
    return cache.entry(key).row, cache.marks.of(key), {"alice": signer.public}


@BOTH
def test_what_is_made_here_is_signed(signed: Any) -> None:
    row, marks, trusted = signed
    [(name, value)] = marks.items()
    assert name.startswith("signature:1:alice:") and value == ""
    assert check_trusted(row, marks, trusted) == "alice"
    [travelled] = parse_entry(entry_document([row]), row[0])
    assert check_trusted(travelled, marks, trusted) == "alice"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNSIGNED])
def test_no_column_can_be_altered(signed: Any, name: str) -> None:
    """Nor with a checksum that fits again, which anybody can compute."""
    row, marks, trusted = signed
    at = NAMES.index(name)
    value = row[at]
    other = "x" if value is None else value + 1 if isinstance(value, int | float) else value + " "
    altered = [*row[:at], other, *row[at + 1 :]]
    with pytest.raises((UntrustedError, CorruptDocumentError)):
        check_trusted(altered, marks, trusted)
    if name != "checksum":
        altered[8] = checksum(altered[0], altered[4], altered[5], altered[6], altered[7])
        with pytest.raises(UntrustedError, match=f"{altered[0][:12]}.*"):
            check_trusted(altered, marks, trusted)


@given(data=st.data())
def test_no_byte_can_be_altered(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Of the whole document: what parses and is trusted says what was signed."""
    row, marks, trusted, document = _once(tmp_path_factory)
    place = data.draw(st.integers(0, len(document) - 1))
    byte = data.draw(st.integers(0, 255))
    altered = document[:place] + bytes([byte]) + document[place + 1 :]
    try:
        [found] = parse_entry(altered, row[0])
        check_trusted(found, marks, trusted)
    except (CacheError, ValueError, KeyError, TypeError):
        return
    kept = [at for at, name in enumerate(NAMES) if name not in UNSIGNED]
    assert [found[at] for at in kept] == [row[at] for at in kept]


_made: list[Any] = []


def _once(factory: Any) -> Any:
    if not _made:
        place = factory.mktemp("trust")
        signer = make_signer(place / "alice.pem")
        cache = Cache.open(place / "cache")
        entry = cache.get_or_run(action(), Runs())
        mark = {signer.sign(entry.row): ""}
        document = entry_document([entry.row])
        _made.append((entry.row, mark, {"alice": signer.public}, document))
    return _made[0]


def test_strangers_the_unsigned_and_forgers_are_named(signed: Any, tmp_path: Path) -> None:
    row, marks, trusted = signed
    mallory = make_signer(tmp_path / "mallory.pem")
    stranger = mallory.sign(row)
    [own] = marks
    of_mallory = stranger.removeprefix("signature:1:mallory:")
    of_alice = own.removeprefix("signature:1:alice:")
    for found, said in (
        ([], "it is not signed"),
        ([stranger], "signed by mallory, who is not in trusted_keys"),
        ([f"signature:1:alice:{of_mallory}"], "the signature of alice does not fit"),
        (["signature:1:alice:?"], "the signature of alice does not fit"),
        (["signature:1:alice"], "the signature of alice does not fit"),
        ([f"signature:2:alice:{of_alice}"], "it is not signed"),
    ):
        with pytest.raises(UntrustedError, match=said) as caught:
            check_trusted(row, found, trusted)
        assert row[0][:12] in str(caught.value)
    forged = f"signature:1:alice:{of_mallory}"
    assert check_trusted(row, [forged, own, stranger], {**trusted, "mallory": "?"}) == "alice"
    # A signature is bound to a name: another's key does not make it theirs.
    with pytest.raises(UntrustedError, match="bob"):
        check_trusted(row, [f"signature:1:bob:{of_alice}"], {"bob": trusted["alice"]})


def test_a_key_that_others_can_read_or_that_is_none_stops_before_the_run(
    open_cache: Callable[..., Cache], signer: Signer, tmp_path: Path, runs: Runs
) -> None:
    path = tmp_path / "keys" / "alice.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_signer(path).public == signer.public
    with pytest.raises(SettingsError, match="is there already"):
        make_signer(path)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        open_cache(signing_key=str(path)).get_or_run(action(), runs)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(SettingsError, match="holds no private key"):
        open_cache(signing_key=str(path)).get_or_run(action(), runs)
    with pytest.raises(SettingsError, match="keys new"):
        open_cache(signing_key=str(tmp_path / "none.pem")).get_or_run(action(), runs)
    assert runs.count == 0


def test_a_trusted_key_that_is_none_is_said(signed: Any) -> None:
    row, marks, _ = signed
    with pytest.raises(SettingsError, match=r"trusted_keys\.alice"):
        check_trusted(row, marks, {"alice": "AAAA"})


@pytest.mark.parametrize("name", ["al:ice", "ali ce", "é", "-a"])
def test_a_key_is_named_after_somebody(tmp_path: Path, name: str) -> None:
    """Or else nobody could say whose signature it is."""
    path = tmp_path / f"{name}.pem"
    with pytest.raises(SettingsError, match="is no name for a key"):
        make_signer(path)
    assert not path.exists()
    make_signer(tmp_path / "alice.pem")
    (tmp_path / "alice.pem").rename(path)
    with pytest.raises(SettingsError, match="is named after nobody"):
        load_signer(path)
