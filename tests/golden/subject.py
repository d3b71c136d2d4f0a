"""Source whose digests are pinned: every kind of syntax that Python versions read differently."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import json
import logging
import re
from collections import namedtuple
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

log = logging.getLogger(__name__)

LIMIT = 1_000
SHARE = 1e-4
NAMES = ("a", "ä", "😀")
TABLE = {"rows": [1, 2.0, True, None], "nested": {"b": {1, 2}, "a": frozenset({"x"})}}
PATTERN = re.compile(r"\d+(?P<unit>[a-z]*)", re.IGNORECASE)
PLACE = PurePosixPath("data") / "rows"
Kind = Literal["x", "y"]
Point = namedtuple("Point", ["x", "y"], defaults=[0])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    """Two of them."""

    left: int
    right: float = 0.5

    def total(self) -> float:
        return self.left + self.right


@dataclasses.dataclass(frozen=True)
class Base:
    colour: Colour = Colour.RED
    sizes: tuple[int, ...] = (1, 2)

    def area(self, scale=2):
        return scale * sum(self.sizes) + LIMIT


class Derived(Base):
    limit = 3

    @property
    def double(self):
        return super().area() * self.limit

    @staticmethod
    def parse(text):
        return json.loads(text)


def formatted(x, width, d):
    a = f"{x!r:>{width}} {d['key']} {{literal}} {x:%Y-%m-%d} {x = } {f'{x}' + 'y':^{width}.{3}}"
    b = (
        f"""one {x:>10}
        two {x=!s}"""
        rf"\d{x}\n"
        "plain"
        f"{x:}"
        f"{'a' if x else 'b'}"
    )
    return a + b + f"{(x,)}" + f"{(lambda y: y)(x)}{ {1: 2}[1] }"


def literals():
    return (
        0x10,
        0b11,
        0o17,
        1_000_000,
        10**30,
        1e3,
        1.5e-10,
        1e999,
        3j,
        -0.0,
        "\x41\N{BULLET}",
        b"\x00ab",
        R"\n",
        "u",
        "\ud800",
        ...,
        None,
        True,
        """ multi
    line """,
    )


async def modern(items, /, first, *rest, key=None, **more) -> list[int]:
    """Docstring, with
      its own indentation.

    End.
    """
    async with asyncio.Lock() as lock, asyncio.timeout(1):
        async for item in items:
            if (n := len(str(item))) > 3 and not lock.locked():
                yield n
    match first:
        case {"a": [1, *_], **others} if others:
            yield 1
        case Base(colour=Colour.RED, sizes=(x, y)) | (x, y):
            yield x @ y
        case None | True | -1 | 2j | str() as z:
            yield z
    try:
        del rest[0], more["x"]
    except* (ValueError, TypeError) as group:
        raise RuntimeError from group
    else:
        yield [*rest, *(i async for i in items if i)]
    finally:
        log.info("done %s", {**more, "k": {key}})


@functools.cache
def helper(x: int) -> int:
    return x + LIMIT if x < SHARE else helper(x - 1)


def root(x, y=LIMIT, *, kind: Kind = "x"):
    from collections import OrderedDict as Ordered

    rows = [helper(i) for i in range(x)]
    return Ordered(rows=rows), NAMES, TABLE["rows"], PATTERN, PLACE, Point(1), Pair(1), Path("x"), y


def closure(n):
    values = {"n": n}

    def inner(x):
        return root(x), n, values, Derived().double, Mode.READ

    return inner


lambdas = (lambda: 1), (lambda: 2), (lambda x: x + LIMIT)
