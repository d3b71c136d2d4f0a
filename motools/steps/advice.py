"""What to do about a field that differs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from motools.digest import SHORT
from motools.steps import function
from motools.steps.findings import PACKAGE, Finding

if TYPE_CHECKING:
    from motools.cache import Entry

Rule: TypeAlias = "Callable[[Finding, Entry], str]"
"""From what was found, and the entry that it was compared with, to a sentence."""

_ARGUMENT: Final = re.compile(r"config\.arguments\.([^.\[]+)")


def advise(findings: tuple[Finding, ...], other: Entry) -> list[str]:
    """What to do about differences, each thing once.

    Args:
        findings: what differs.
        other: the entry that an action was compared with.
    """
    return list(dict.fromkeys(_advice(findings, other)))


def _advice(findings: tuple[Finding, ...], other: Entry) -> Iterator[str]:
    for finding in findings:
        versions = [one for one in finding.inside if one.difference.field.startswith(PACKAGE)]
        if finding.difference.field == "config.inspect_ai":
            versions.append(finding)
        yield from map(_accept, versions)
        if finding.source:
            yield _source(finding, other)
        elif not versions:
            yield _of_field(finding, other)


def _accept(finding: Finding) -> str:
    """How to have two versions of a library count as one."""
    difference = finding.difference
    library = difference.field.removeprefix(PACKAGE).removeprefix("config.")
    if difference.found is None or difference.wanted is None:
        return f"{library} is used by only one of the two: see the lines of source that differ"
    versions = json.dumps([[difference.found, difference.wanted]])
    return (
        f"if {library} {difference.found} and {difference.wanted} do the same for you, say so in "
        f"motools.toml, and what the first made is used: equivalent.{library} = {versions}"
    )


def _source(finding: Finding, other: Entry) -> str:
    names = ", ".join(sorted(change.name for change in finding.source))
    said = f"{_if_meant(f'the change of {names}', other)}. Comments and layout do not count"
    if other.kind != function.KIND:
        return said
    return f'{said}. With @cached_task(version="1") only a new version runs it again'


def _if_meant(change: str, other: Entry) -> str:
    key = other.key[:SHORT]
    return f"if {change} is meant, it runs once; if not, undo it, and {key} is used again"


def _of_field(finding: Finding, other: Entry) -> str:
    field = finding.difference.field
    rule = next((rule for path, rule in _RULES if path.match(field)), _set_back)
    return rule(finding, other)


def _rows(finding: Finding, other: Entry) -> str:
    if not finding.inside:
        return (
            "the rows of one of the two datasets are not in this cache: upload it, and "
            "`motools cache explain` says which rows differ"
        )
    return _if_meant("the change of the rows", other)


def _samples(_: Finding, other: Entry) -> str:
    return _if_meant("the change of the samples", other)


def _model(finding: Finding, _: Entry) -> str:
    if finding.maker is None:
        return "another model was evaluated: `motools cache lineage` says what a model comes from"
    inner = "; ".join(dict.fromkeys(_advice(finding.inside, finding.maker)))
    return f"the model is another one; {inner}"


def _base_model(_: Finding, other: Entry) -> str:
    name = other.provenance.get("base_model", "another")
    return f"the base model, or its files, differ: {other.key[:SHORT]} was made from {name}"


def _recipe(_: Finding, other: Entry) -> str:
    made = other.provenance.get("motools")
    version = "another version of motools" if made is None else f"motools {made}"
    return f"{other.key[:SHORT]} was made by {version}, which does this work in another way"


def _replicate(_: Finding, other: Entry) -> str:
    return f"it is another independent repeat of {other.key[:SHORT]}, and runs once"


def _statement(finding: Finding, other: Entry) -> str:
    was = finding.difference.found
    return f"EvalConfig(version={was!r}) uses {other.key[:SHORT]}, if that is still what it says"


def _argument(finding: Finding, _: Entry) -> str:
    name = _ARGUMENT.match(finding.difference.field)
    assert name is not None
    return (
        f"if {name[1]} changes nothing about the result, name it in "
        f'@cached_task(unhashed=["{name[1]}"]); if not, it runs once for each value'
    )


def _set_back(finding: Finding, other: Entry) -> str:
    field = finding.difference.field
    name, was = field.removeprefix("config."), finding.difference.found
    if was is None:
        return f"without {name}, {other.key[:SHORT]} is used; with it, it runs once"
    return f"with {name} = {json.dumps(was)}, {other.key[:SHORT]} is used; as it is, it runs once"


_RULES: Final[tuple[tuple[re.Pattern[str], Rule], ...]] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"inputs\.(rows|dataset)$", _rows),
        (r"inputs\.model$", _model),
        (r"inputs\.base_model$", _base_model),
        (r"config\.samples\.", _samples),
        (r"config\.statement$", _statement),
        (_ARGUMENT.pattern, _argument),
        (r"backend\.recipe$|schema$", _recipe),
        (r"replicate$", _replicate),
    )
)
