"""``motools cache reject``, ``sign`` and ``keys``: what may be used, and who says so."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motools.cache import catalogue
from motools.cache.cache import Cache
from motools.cache.entry import Entry
from motools.cache.records import EntryRecord
from motools.cli import output
from motools.cli.light import LightCommand, LightGroup
from motools.cli.options import CacheDir, DryRun, Everything, Key, Style
from motools.cli.output import Column, Format, Row
from motools.cli.which import Which, expanded

if TYPE_CHECKING:
    from motools.settings import Settings

keys_app = typer.Typer(
    cls=LightGroup,
    help="Make keys that sign entries, and show who is trusted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_ROWS: Final = (
    Column("key", output.short),
    Column("kind"),
    Column("name"),
    Column("relation"),
    Column("rejected", lambda is_: "rejected" if is_ else ""),
)
_KEYS: Final = (Column("name"), Column("public_key"), Column("signs"), Column("trusted"))


def reject(
    key: Key,
    *,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, for whoever asks for it.")
    ] = None,
    dependents: Annotated[
        bool, typer.Option("--dependents", help="Also all that was made from it.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the rejection back instead.")
    ] = False,
    dry_run: DryRun = False,
    cache_dir: CacheDir = None,
    style: Style = Format.TABLE,
) -> None:
    """Say that a result is not to be used.

    It is kept, and who asks for it is told the reason, until it is made again
    (with refresh, or after clearing it) or the rejection is withdrawn. What was
    made from it is listed.
    """
    from motools.cache import rejection

    if withdraw == (reason is not None) or not (withdraw or str(reason).strip()):
        raise typer.BadParameter("give --reason TEXT, or --withdraw")
    cache = Cache.open(cache_dir, create=False)
    entry = catalogue.find(cache, key)
    made = _made_from(cache, entry)
    chosen = [entry, *made] if dependents else [entry]
    if withdraw:
        rejected = rejection.rejections(cache.database)
        chosen = [each for each in chosen if each is entry or each.key in rejected]
    if not dry_run and withdraw:
        rejection.withdraw(cache, [each.key for each in chosen])
    elif not dry_run:
        rejection.reject(cache, chosen, str(reason))
    if cache.settings.trusted_keys and cache.signer is None and not dry_run:
        output.say(
            "signing_key is not set: whoever has trusted_keys, as you do, takes this from nobody "
            "who does not sign it"
        )
    now = rejection.rejections(cache.database)
    rows = [_row(entry, "", now), *(_row(each, "made from it", now) for each in made)]
    output.emit(rows, _ROWS, style)
    output.say(_done(len(chosen), len(made), withdraw=withdraw, dry_run=dry_run))


@expanded
def sign(
    which: Which,
    *,
    everything: Everything = False,
    cache_dir: CacheDir = None,
) -> None:
    """Vouch for entries with the key in the settings' signing_key.

    Those that are made while it is set are signed as they are made.
    """
    from motools.cache.trust import sign as vouch

    cache = Cache.open(cache_dir, create=False)
    entries = which.some(cache, everything=everything)
    signer = vouch(cache, entries)
    output.say(f"{signer} signed {output.count(len(entries), 'entry')}")


@keys_app.command("new", cls=LightCommand)
def new_key(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Whose it is: letters, digits, and any of .-_")
    ],
) -> None:
    """Make a key that signs entries.

    The private key goes to a file in your configuration directory that only
    you can read. The lines that are printed belong into settings: the first
    into yours, the others into those of whoever shall trust you.
    """
    from motools.cache.trust import key_path, make_signer

    path = key_path(name)
    signer = make_signer(path)
    output.emit_lines(
        [f'signing_key = "{path}"', "", "[trusted_keys]", f'{signer.name} = "{signer.public}"']
    )
    output.say(f"{path} is the private key: whoever has it can sign as {name}. Keep a copy safe")


@keys_app.command("list", cls=LightCommand)
def list_keys(style: Style = Format.TABLE) -> None:
    """Show who signs what is made here, and who is trusted."""
    from motools.settings import Settings

    rows = _known_keys(Settings.load())
    output.emit(rows, _KEYS, style)
    if not rows:
        output.say("nobody signs here, and entries are taken from anybody")


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``motools cache``."""
    for command in (reject, sign):
        app.command(cls=LightCommand)(command)
    app.add_typer(keys_app, name="keys")


def _made_from(cache: Cache, entry: Entry) -> list[Entry]:
    from motools.steps.lineage import lineage

    found = (relative for relative in lineage(cache, entry) if relative.steps < 0)
    return list({relative.entry.key: relative.entry for relative in found}.values())


def _row(entry: Entry, relation: str, rejected: Collection[str]) -> Row:
    return {
        "key": entry.key,
        "kind": entry.kind,
        "name": EntryRecord.of(entry).name,
        "relation": relation,
        "rejected": entry.key in rejected,
    }


def _done(chosen: int, made: int, *, withdraw: bool, dry_run: bool) -> str:
    did = "rejections withdrawn" if withdraw else "rejected"
    said = f"{'would be ' if dry_run else ''}{did}: {output.count(chosen, 'entry')}"
    if made and chosen == 1:
        them = output.count(made, "entry")
        return f"{said}; {them} made from it: pass --dependents to mean them, too"
    return said


def _known_keys(settings: Settings) -> list[Row]:
    from motools.cache.trust import signer_of

    signer = signer_of(settings)
    names = {**settings.trusted_keys}
    if signer is not None:
        names.setdefault(signer.name, signer.public)
    return [
        {
            "name": name,
            "public_key": public,
            "signs": "signs" if signer is not None and public == signer.public else "",
            "trusted": "trusted" if name in settings.trusted_keys else "",
        }
        for name, public in sorted(names.items())
    ]
