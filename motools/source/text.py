"""What functions, classes and constants say in their files, for people to read.

Texts are beside digests, never in them: two with the same digest may differ in
comments and layout. A constant is shown by the statement that makes it, never by
its value, which may be a secret that was read from the environment. What looks like
a secret that was written into the source is left out: caches are shared.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import resolve_name
from types import ModuleType
from typing import Any, Final

from motools.errors import SourceError
from motools.source.bindings import Unit, bindings
from motools.source.files import lines_of, statements_of

_HIDDEN: Final = "***"
_CREDENTIAL: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-|hf_|gh[opsu]_|github_pat_|xox[abp]-|AKIA|AIza)[A-Za-z0-9_-]{12,}"
)
"""How the keys of well-known services begin."""
_ASSIGNED: Final = re.compile(
    r"""(?ix) (\b\w*(?:api_?key|access_?key|auth_?token|access_?token|secret|passw(?:or)?d)\w*
    ["']? \s* (?: :[^=\n]*= | [:=] ) \s* [rbuf]{0,2} (["']))  (?:(?!\2).)+  (\2)"""
)
"""Text given to a name that is that of a credential."""


@dataclass(frozen=True)
class Text:
    """The lines of a definition, without what looks like a secret.

    Attributes:
        file: where it stands.
        line: its first line, from 1.
        lines: all of them.
    """

    file: str
    line: int
    lines: str

    def __post_init__(self) -> None:
        """Leave secrets out, whoever made it."""
        lines = _ASSIGNED.sub(rf"\1{_HIDDEN}\3", _CREDENTIAL.sub(_HIDDEN, self.lines))
        object.__setattr__(self, "lines", lines)


def text_of(node: Unit | ast.stmt, filename: str) -> Text | None:
    """The text of a definition; None where its file is out of reach.

    Args:
        node: the definition, as it was found in the file just now.
        filename: the file.
    """
    try:
        line, lines = lines_of(node, filename)
    except SourceError:
        return None
    return Text(filename, line, lines) if lines else None


def text_of_constant(path: str, filename: str, namespace: Mapping[str, Any]) -> Text | None:
    """The statement that makes a constant; None where it is not a statement of a module.

    Args:
        path: the name by which a function leads to it, in dots.
        filename: the file of the function.
        namespace: the globals that the function sees.
    """
    module, _, rest = path.partition(".")
    if rest:
        return _in_module(namespace.get(module), rest, filename)
    try:
        statements = statements_of(path, filename)
    except SourceError:
        return None
    if not statements:
        return None
    imports = bindings(statements[-1:]).imports.get(path)
    if not imports:
        return text_of(statements[-1], filename)
    found = imports[-1]
    package = str(namespace.get("__package__") or "")
    name = resolve_name("." * found.level + found.module, package) if package else found.module
    return _in_module(sys.modules.get(name), found.name or "", filename)


def _in_module(module: Any, path: str, but: str) -> Text | None:
    """The statement in another module than the one of this file."""
    file = getattr(module, "__file__", None)
    if not isinstance(module, ModuleType) or not path or file in (None, but):
        return None
    return text_of_constant(path, str(file), vars(module))
