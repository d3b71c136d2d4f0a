"""Serving: a socket, uvicorn on it, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from motools.cache import Cache
from motools.errors import SettingsError
from motools.server.app import make
from motools.server.service import Options, Service

_log: Final = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_PARTING_SECONDS: Final = 5


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        host: a name or address of this machine.
        port: 0 for any that is free.
        certificate: file of the certificate, for HTTPS.
        private_key: file of its private key.
    """

    host: str
    port: int
    certificate: Path | None = None
    private_key: Path | None = None


def serve(cache: Cache, options: Options, address: Address, ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it (SIGINT or SIGTERM); the next server goes on with its jobs.

    Args:
        cache: open; closed at the end.
        options: how to serve.
        address: where.
        ready: told the base URL, once it answers.

    Raises:
        SettingsError: another server serves the cache, or the address cannot be had.
    """
    with _bound(address) as listener:
        server: _Server | None = None

        def lost() -> None:
            _log.error("another server has taken the cache over: this one ends")
            if server is not None:
                server.handle_exit(signal.SIGTERM, None)

        service = Service(cache, options, lost)
        try:
            config = uvicorn.Config(
                make(service),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=_PARTING_SECONDS,
                ssl_certfile=address.certificate,
                ssl_keyfile=address.private_key,
            )
            _load(config)
            server = _Server(config, service, lambda: ready(_url(address, listener)))
            if service.is_lost:  # while base models were looked at
                return
            service.queue.start()
            asyncio.run(server.serve([listener]))
        finally:
            service.close()


class _Server(uvicorn.Server):
    """Uvicorn, but for what a signal does: trainings are ended at once."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals as the wish to end, not to be killed by them afterwards."""
        kept = {each: signal.signal(each, self.handle_exit) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in kept.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._service.queue.end_soon()


def _load(config: uvicorn.Config) -> None:
    try:
        config.load()
    except OSError as problem:
        raise SettingsError(
            f"--certificate {config.ssl_certfile}, --private-key {config.ssl_keyfile}: {problem}"
        ) from problem


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def _bound(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
    except OSError as problem:
        raise SettingsError(
            f"cannot listen at {address.host}:{address.port}: {problem.strerror}; give another "
            "--host or --port"
        ) from problem
    return listener


def _url(address: Address, listener: socket.socket) -> str:
    scheme = "http" if address.certificate is None else "https"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}/v1"
