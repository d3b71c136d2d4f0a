"""Parsing: text as Python's own trees, for one thread at a time."""

from __future__ import annotations

import ast
import os
import threading


class _Turn:
    """Who parses now. A child that was forked meanwhile starts with nobody."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        self.lock = threading.Lock()


_TURN = _Turn()


def module_of(text: str, filename: str, flags: int = 0) -> ast.Module:
    """The tree of a file.

    Of threads that make trees at once, Python 3.11 may fail one with a SystemError
    (https://github.com/python/cpython/issues/106905).

    Args:
        text: its source.
        filename: for errors.
        flags: of :func:`compile`.

    Raises:
        SyntaxError: it is no Python.
        ValueError: it has null bytes.
        RecursionError: it is nested too deeply.
    """
    with _TURN.lock:
        tree: ast.Module = compile(
            text, filename, "exec", ast.PyCF_ONLY_AST | flags, dont_inherit=True
        )
    return tree


def expression_of(text: str) -> ast.Expression:
    """The tree of an expression; raises as :func:`module_of`."""
    with _TURN.lock:
        return ast.parse(text, mode="eval")
