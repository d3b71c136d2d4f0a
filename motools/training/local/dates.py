"""Dates: what a chat template is told that asks which day it is.

Templates as those of Llama 3 write today's date into the prompt, which would make the same
work come out otherwise tomorrow.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_DAY: Final = datetime(2024, 7, 26, tzinfo=UTC)
"""What those templates write where no clock is at hand."""

_ASKS: Final = "strftime_now"
_DIRECTIVES: Final = (
    *("-d", "-m", "-H", "-I", "-M", "-S", "-j"),
    *"aAbBcdDefFGHIjklmMnpPrRStTuUVwWxXyYzZ%",
)
"""Those of glibc, ``%%`` last; what is none stays as it is."""

# A function cannot be handed to a template: transformers lets through nothing but data.
_MACRO: Final = (
    f"{{%- macro {_ASKS}(format) -%}}{{{{- format"
    + "".join(f"|replace('%{each}', {_DAY.strftime(f'%{each}')!r})" for each in _DIRECTIVES)
    + " -}}{%- endmacro -%}"
)


def dated(template: str) -> str:
    """A chat template that writes the same day whenever it is used."""
    return _MACRO + template if _ASKS in template else template
