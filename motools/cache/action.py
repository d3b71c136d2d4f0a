"""What is to be run, and the key that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

from blake3 import blake3

from motools.digest import Value, canonical_text
from motools.errors import CanonicalError

SCHEMA: Final = "motools.action/1"
"""Changes only if the same fields should ever mean another key."""

DIGEST: Final = re.compile("[0-9a-f]{64}")
"""A digest or a key, as it is written."""


@dataclass(frozen=True)
class Action:
    """A description of work that is complete: equal actions have equal results.

    Attributes:
        kind: what the result is: ``dataset``, ``model``, ``eval`` or ``function``.
        inputs: name to digest of each thing the work reads.
        config: the resolved configuration.
        backend: who does the work, with the ``recipe`` number of how it is done.
        replicate: which of several independent repeats this is, from 0.

    Raises:
        CanonicalError: on first use of ``key``, when a value has no canonical form.
    """

    kind: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Value] = field(default_factory=dict)
    backend: Mapping[str, Value] = field(default_factory=dict)
    replicate: int = 0

    @cached_property
    def canonical(self) -> bytes:
        """The canonical JSON whose BLAKE3-256 is the key."""
        if type(self.kind) is not str or not self.kind:
            raise CanonicalError("kind", "must be a non-empty string")
        if type(self.replicate) is not int or self.replicate < 0:
            raise CanonicalError("replicate", f"{self.replicate!r} is not an integer from 0")
        # Names in canonical order: each part is written once, however many actions share it.
        return (
            f'{{"backend":{canonical_text(self.backend, "backend")},'
            f'"config":{canonical_text(self.config, "config")},'
            f'"inputs":{canonical_text(self.inputs, "inputs")},'
            f'"kind":{_text(self.kind, "kind")},'
            f'"replicate":{_text(self.replicate, "replicate")},'
            f'"schema":"{SCHEMA}"}}'
        ).encode()

    @cached_property
    def key(self) -> str:
        """64 hexadecimal characters: the BLAKE3-256 of :attr:`canonical`."""
        return blake3(self.canonical).hexdigest()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Action) and self.key == other.key


_text: Final = lru_cache(maxsize=1_000)(canonical_text)
"""Of parts that are the same in most actions."""


def key_of(canonical: bytes | str) -> str:
    """The key of an action stored in canonical form."""
    return blake3(canonical.encode() if isinstance(canonical, str) else canonical).hexdigest()


def digests_in(canonical: str) -> list[str]:
    """Every digest in an action stored in canonical form: what running it may read."""
    return sorted(set(DIGEST.findall(canonical)))


def material(canonical: bytes | str) -> dict[str, Any]:
    """The parts of an action stored in canonical form, as plain JSON."""
    parts: dict[str, Any] = json.loads(canonical)
    return parts
