"""``motools cache show``: all that is known of one entry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.explain import flatten
from motools.cache.marks import REJECTED, RELEASED
from motools.cache.records import EntryRecord
from motools.cli import lives, output
from motools.cli.light import LightCommand
from motools.cli.options import CacheDir, Key, Revalidate, Style
from motools.cli.output import Format, Row, Shows, age, day, duration, money, size
from motools.cli.tables import said_of
from motools.errors import CorruptDocumentError, RemoteError, UntrustedError


def show(
    key: Key,
    *,
    revalidate: Revalidate = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Show all that is known of an entry.

    Its value, its files and where their bytes are, who made it and from what,
    who signed or rejected it; of a model at a provider, until when it is there.
    """
    cache = Cache.open(cache_dir, create=False)
    entry = catalogue.find(cache, key)
    if revalidate:
        [entry] = lives.asked_after(cache, [entry])
    ends = lives.ends(cache, [entry])
    output.emit_one(_details(cache, entry, ends.get(entry.key)), _shows(), style)


def add_to(app: typer.Typer) -> None:
    """Add the command to ``motools cache``."""
    app.command(cls=LightCommand)(show)


def _details(cache: Cache, entry: Entry, expires_at: float | None) -> Row:
    marks = cache.marks.of(entry.key)
    told = {
        "released": marks.get(RELEASED) if entry.released else None,
        "expires_at": expires_at,
        **said_of(marks),
        "rejected": _rejection(entry, marks),
        "signed_by": _signers(cache, entry, marks),
    }
    return {
        "key": entry.key,
        "kind": entry.kind,
        "name": EntryRecord.of(entry).name,
        "generation": entry.generation,
        "state": entry.state,
        "bytes": _where(cache, entry),
        **{name: value for name, value in told.items() if value},
        "created_at": entry.created_at,
        "duration": entry.duration,
        "cost": entry.cost,
        "value": entry.value,
        "files": [
            {"path": path, "digest": digest, "size": length}
            for path, digest, length, *_ in entry.file_rows
        ],
        "remote": None if entry.remote is None else entry.remote.to_json(),
        "labels": entry.labels,
        "provenance": entry.provenance,
        "action": entry.action,
    }


def _shows() -> Shows:
    return {
        "created_at": lambda at: f"{age(at)} ago",
        "expires_at": day,
        "pinned": lambda _: "yes",
        "tags": ", ".join,
        "rejected": _read_rejection,
        "signed_by": lambda signers: ", ".join(map(_read_signer, signers)),
        "duration": duration,
        "cost": money,
        "files": lambda files: "\n".join(f"{f['path']} ({size(f['size'])})" for f in files),
        **dict.fromkeys(("value", "remote", "labels", "provenance", "action"), _leaves),
    }


def _where(cache: Cache, entry: Entry) -> str:
    """Where the bytes of an entry are, for people."""
    if entry.released:
        if entry.row[15] is None:
            return "nowhere: they were released"
        return f"in the trash: `motools cache undelete {entry.key[:12]}` brings them back"
    if entry.state == "remote":
        return f"at {_remote(cache)}; they come when they are used"
    if not entry.file_rows:
        return "at the provider" if entry.remote is not None else "none: it has no files"
    return f"in {cache.settings.store}" if cache.store.far else "here"


def _remote(cache: Cache) -> str:
    """What people call the remote that is behind a cache."""
    from motools.remotes.registry import Registry

    try:
        name, url = Registry.of(cache.root).url(cache.settings.remote or None)
    except RemoteError:
        return "a remote that this cache does not know any more"
    return f"{name} ({url})"


def _rejection(entry: Entry, marks: Mapping[str, str]) -> Row | None:
    """Why an entry is not to be used, and who says so, if it is signed."""
    from motools.cache.rejection import Rejection

    if REJECTED not in marks:
        return None
    said = Rejection.parse(marks[REJECTED])
    if entry.generation > said.generation:
        return None
    return {"reason": said.reason, "by": said.signer}


def _signers(cache: Cache, entry: Entry, marks: Iterable[str]) -> list[Row]:
    """Who signed an entry, and whether they are trusted and it fits; None: nobody is named."""
    from motools.cache.trust import check_trusted, signatures

    trusted = cache.settings.trusted_keys
    found: list[Row] = []
    for name in sorted({name for name, _ in signatures(entry.generation, marks)}):
        vouches: bool | None = None
        if trusted:
            try:
                key = {name: trusted[name]} if name in trusted else {}
                vouches = bool(check_trusted(entry.row, marks, key))
            except (UntrustedError, CorruptDocumentError):
                vouches = False
        found.append({"name": name, "trusted": vouches})
    return found


def _read_rejection(rejection: Mapping[str, Any]) -> str:
    by = f" ({rejection['by']})" if rejection["by"] else ""
    return f"{rejection['reason']}{by}"


def _read_signer(signer: Mapping[str, Any]) -> str:
    known = {None: "", True: " (trusted)", False: " (not trusted)"}
    return f"{signer['name']}{known[signer['trusted']]}"


def _leaves(value: Any) -> str:
    """Every leaf of a JSON value with its path, one a line."""
    leaves = ((path, json.dumps(leaf, ensure_ascii=False)) for path, leaf in flatten(value))
    return "\n".join(f"{path}: {text}" if path else text for path, text in leaves)
