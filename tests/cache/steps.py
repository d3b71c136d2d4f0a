"""Every step of the protocol at which a process may die."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from motools.cache.database import Database, Transaction
from motools.cache.driver import DriverTransaction
from motools.cache.file_system import FsspecStore
from motools.cache.lease import JobLock, Leases
from motools.cache.local import LocalStore
from motools.cache.networked import NetworkedStore
from motools.cache.s3 import S3Store

_CALLS: list[tuple[type, str]] = [
    *(
        (LocalStore, name)
        for name in ("publish_file", "publish_bytes", "upload", "settle", "move", "remove")
    ),
    *((S3Store, name) for name in ("publish_bytes", "upload", "move", "remove")),
    *((FsspecStore, name) for name in ("publish_bytes", "move", "remove")),
    (NetworkedStore, "settle"),
    (JobLock, "release"),
    (Leases, "try_take"),
    *((owner, name) for owner in (Transaction, DriverTransaction) for name in ("run", "run_many")),
]


@contextlib.contextmanager
def watched(at: Callable[[str], None]) -> Iterator[None]:
    """Call ``at`` before and after each step, with its name."""
    saved = [(owner, name, owner.__dict__[name]) for owner, name in _CALLS]
    write = Database.write

    def around(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched_call(*args: Any, **kwargs: Any) -> Any:
            what = args[1].split()[0:3] if isinstance(args[0], Transaction) else args[1:2]
            at(f"before {name} {what}")
            result = call(*args, **kwargs)
            at(f"after {name} {what}")
            return result

        return watched_call

    @contextlib.contextmanager
    def watched_write(self: Database) -> Iterator[Transaction]:
        with write(self) as transaction:
            yield transaction
            at("before COMMIT")
        at("after COMMIT")

    for owner, name, call in saved:
        setattr(owner, name, around(name, call))
    Database.write = watched_write  # type: ignore[method-assign]
    try:
        yield
    finally:
        Database.write = write  # type: ignore[method-assign]
        for owner, name, call in saved:
            setattr(owner, name, call)


def in_child(work: Callable[[Callable[[str], None]], None], die_at: int | None = None) -> int:
    """Fork; the child works, and is killed at its n-th step as by ``kill -9``.

    Returns:
        The child's exit status; ``-SIGKILL`` when it came to that step.
    """
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)
    count = 0

    def at(_name: str) -> None:
        nonlocal count
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        with watched(at):
            work(at)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)
