"""Leases: the right to run one key, and the kernel locks behind them.

A lease is a row with a fencing token that only rises. Its time runs by the
coordinator's clock, and a heartbeat extends it; who commits must still hold
the highest token. On one machine the kernel lock on ``jobs/<key>/`` says more
than any clock: while it is held, its holder or the holder's worker lives, so
nobody else may run the key; once it is free, nobody does, so a lease that was
taken under it can be taken over at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import platform
import shutil
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from motools.cache.database import Database, Transaction
from motools.errors import CacheError, CacheUnavailableError, LeaseLostError

LOCK: Final = "lock"
_RELEASED: Final = -1


@dataclass(frozen=True)
class Lease:
    """The right to run one key until it is released, expires or is taken over.

    Attributes:
        key: what may be run.
        token: higher than every earlier one of this key.
    """

    key: str
    token: int


@dataclass(frozen=True)
class Holder:
    """Who holds a key, as far as the coordinator knows.

    Attributes:
        name: user, host and process.
        silent: seconds since the lease expired; 0 while it is alive.
    """

    name: str
    silent: float


class JobLock:
    """The kernel lock on a key's job directory. The directory is there while it is held.

    Attributes:
        directory: ``jobs/<key>``.
        descriptor: of the lock; a worker that inherits it holds the lock along.
    """

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self.descriptor = descriptor

    @classmethod
    def try_take(cls, directory: Path) -> JobLock | None:
        """The lock, or None while somebody else holds it."""
        while True:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue  # its last holder removed the directory between the two calls
            except OSError as problem:
                if isinstance(problem, FileExistsError) and not _is_in_the_way(directory):
                    continue  # removed while `mkdir` looked at what it had met
                raise _cannot_lock(directory, problem) from problem
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if same_file(descriptor, directory / LOCK):
                    return cls(directory, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError as problem:
                os.close(descriptor)
                raise _cannot_lock(directory, problem) from problem
            os.close(descriptor)  # its last holder removed the file: lock the new one

    def release(self, *, remove: bool) -> None:
        """Give the lock up; with ``remove`` the directory goes first, while it is still ours."""
        descriptor, self.descriptor = self.descriptor, _RELEASED
        if descriptor == _RELEASED:
            return
        if remove:
            _remove(self.directory)
        with contextlib.suppress(OSError):
            # A child that was forked meanwhile has the descriptor too: unlock for all.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_in_the_way(directory: Path) -> bool:
    """Whether something else than a directory is there."""
    try:
        return not stat.S_ISDIR(directory.stat().st_mode)
    except FileNotFoundError:
        return False


class Leases:
    """The leases that this process holds in one cache, kept alive by one thread.

    Args:
        database: the coordinator.
        jobs: the directory of the kernel locks.
        seconds: how long a lease lives without a heartbeat.
        at_beat: is called at each heartbeat, from its thread, which it must not hold up.
    """

    def __init__(
        self, database: Database, jobs: Path, seconds: float, at_beat: Callable[[], None]
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._seconds = seconds
        self._at_beat = at_beat
        self._start_anew()

    def _start_anew(self) -> None:
        self._held: dict[str, tuple[Lease, Callable[[str], None]]] = {}
        self._changed = threading.Condition()
        self._beating = False
        self._pid = os.getpid()

    def try_take(
        self, key: str, on_lost: Callable[[str], None], *, reads: Iterable[str] = ()
    ) -> Lease | None:
        """The lease of a key whose :class:`JobLock` the caller holds.

        Args:
            key: what is to be run.
            on_lost: is called from the heartbeat's thread if it is taken over.
            reads: digests of what may be read meanwhile, which nobody is to delete.

        Returns:
            None: another lock domain (another host) holds it.
        """
        domain, clock = lock_domain(self._jobs), self._database.clock
        with self._database.write() as transaction:
            transaction.run(
                "INSERT INTO leases (key, token, acquired_at, expires_at) VALUES (:key, 0, 0, 0) "
                "ON CONFLICT DO NOTHING",
                key=key,
            )
            taken = transaction.run(
                "UPDATE leases SET token = token + 1, holder = :holder, domain = :domain, "
                f"acquired_at = {clock}, expires_at = {clock} + :seconds, reads = :reads "
                "WHERE key = :key "
                f"AND (holder IS NULL OR domain = :domain OR expires_at < {clock}) "
                "RETURNING token",
                key=key,
                holder=holder_name(),
                domain=domain,
                seconds=self._seconds,
                reads=" ".join(reads) or None,
            ).scalar()
        if taken is None:
            return None
        lease = Lease(key, int(taken))
        self._keep_alive(lease, on_lost)
        return lease

    def holder(self, key: str) -> Holder | None:
        """Who holds a key, or None when nobody does."""
        rows = self._database.read(
            f"SELECT holder, {self._database.clock} - expires_at FROM leases "
            "WHERE key = ? AND holder IS NOT NULL",
            (key,),
        )
        return Holder(rows[0][0], max(0.0, rows[0][1])) if rows else None

    def release(self, lease: Lease) -> None:
        """End a lease. One that was taken over already is left alone."""
        self.forget(lease)
        with self._database.write() as transaction:
            end(transaction, lease)

    def forget(self, lease: Lease) -> bool:
        """Stop extending a lease that has ended; False: it was not extended any more."""
        if self._pid != os.getpid():
            return False
        with self._changed:
            held = self._held.get(lease.key, (None,))[0] is lease
            if held:
                del self._held[lease.key]
            return held

    def holds(self, lease: Lease) -> bool:
        """Whether a lease of this process is still extended."""
        with self._changed:
            return self._pid == os.getpid() and self._held.get(lease.key, (None,))[0] is lease

    def _keep_alive(self, lease: Lease, on_lost: Callable[[str], None]) -> None:
        if self._pid != os.getpid():  # the parent's leases and thread stayed with the parent
            self._start_anew()
        with self._changed:
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="motools-heartbeat", daemon=True).start()
            self._held[lease.key] = (lease, on_lost)

    def _beat(self) -> None:
        """Extend every held lease, until none is held."""
        while True:
            with self._changed:
                self._changed.wait(self._seconds / 3)
                if not self._held:
                    self._beating = False
                    return
                held = list(self._held.values())
            for lease, on_lost in held:
                try:
                    if not self._extend(lease) and self.forget(lease):
                        on_lost("another runner took the key over; this result will be refused")
                except CacheUnavailableError as problem:
                    on_lost(f"cannot extend the lease: {problem}")  # tried again at the next beat
            self._at_beat()

    def _extend(self, lease: Lease) -> bool:
        """False when the key was taken over. To extend a lease that has just ended is harmless."""
        sql = (
            f"UPDATE leases SET expires_at = {self._database.clock} + ? WHERE key = ? AND token = ?"
        )
        return bool(self._database.change(sql, (self._seconds, lease.key, lease.token)))


def end(transaction: Transaction, lease: Lease, *, committed: bool = False) -> None:
    """Free the key, unless somebody else has taken it over already.

    Once it is committed, nothing in its job directory is needed any more.
    """
    nothing_left = ", domain = NULL" if committed else ""
    transaction.run(
        f"UPDATE leases SET holder = NULL{nothing_left} WHERE key = :key AND token = :token",
        key=lease.key,
        token=lease.token,
    )


def require(transaction: Transaction, lease: Lease) -> None:
    """Refuse to go on in a transaction unless the lease is still the highest.

    Raises:
        LeaseLostError: somebody took the key over.
    """
    held = transaction.run(
        "SELECT 1 FROM leases WHERE key = :key AND token = :token AND holder IS NOT NULL",
        key=lease.key,
        token=lease.token,
    ).scalar()
    if held is None:
        raise LeaseLostError(
            f"the lease on {lease.key[:12]} (token {lease.token}) was taken over: this result is "
            "not stored. Run it again to get the other runner's"
        )


def lock_domain(jobs: Path) -> str:
    """Names the set of processes that see the same kernel locks on ``jobs``."""
    status = os.stat(jobs)
    return f"{_boot()}:{status.st_dev}:{status.st_ino}"


def holder_name() -> str:
    """User, host and process, for people."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{platform.node()} pid {os.getpid()}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()  # not Linux: a name that other machines do not have


def _remove(directory: Path) -> None:
    """Remove a job's directory, the lock last: without it, the rest is the next holder's."""
    with contextlib.suppress(OSError):  # what stays is removed when the key is run again
        for item in list(directory.iterdir()):
            if item.name != LOCK:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        (directory / LOCK).unlink()
        directory.rmdir()


def same_file(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one that is there."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _cannot_lock(directory: Path, problem: OSError) -> CacheError:
    return CacheUnavailableError(
        f"cannot lock {directory}: {problem.strerror}. Nothing was run or changed; the cache "
        "needs a writable local directory with working locks (--cache-dir, MOTOOLS_CACHE_DIR)"
    )
