"""The example of a backend of one's own keeps the contract of providers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from examples import spool
from motools.digest import hash_bytes
from motools.testing import ProviderContract
from motools.training.provider import Provider


class TestSpool(ProviderContract):
    base_model = "small"
    config: ClassVar = {"epochs": 1}
    place: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def cluster(self, tmp_path: Path) -> Iterator[None]:
        type(self).place = tmp_path
        for name in ("jobs", "done", "data", "models"):
            (tmp_path / name).mkdir()
        known = {"small": hash_bytes(b"its weights").hex}
        (tmp_path / "models.json").write_text(json.dumps(known))
        over = threading.Event()

        def run() -> None:
            while not over.wait(0.1):
                spool.work(tmp_path)

        worker = threading.Thread(target=run)
        worker.start()
        yield
        over.set()
        worker.join()

    def provider(self) -> Provider:
        return spool.SpoolBackend(str(self.place), "lab-cluster")


class Unlisted(spool.SpoolBackend):
    """Its jobs cannot be found again."""

    def capabilities(self) -> spool.Capabilities:
        return spool.Capabilities(finds=False, seeds=True)


class TestWithoutFinding(TestSpool):
    """What is guaranteed is less, and what is not known stops."""

    def provider(self) -> Provider:
        return Unlisted(str(self.place), "lab-cluster")
