"""A training that is forked off finds what it would find in a fresh interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motools.training.local.backend import IMPORTS
from motools.training.local.models import OFFLINE
from motools.worker import fork_server, run_worker


def probe(place: Path, imports: tuple[str, ...], visible: str, device: str) -> dict[str, Any]:
    found: dict[str, Any] = run_worker(
        "tests.training.probe",
        {"device": device},
        log=place / "log",
        on_event=lambda _: None,
        env={**OFFLINE, "CUDA_VISIBLE_DEVICES": visible},
        directory=place,
        imports=imports,
    )
    return found


def check(place: Path, visible: str, device: str) -> None:
    fresh = probe(place, (), visible, device)
    forked = probe(place, IMPORTS, visible, device)
    assert (fresh.pop("imported before"), forked.pop("imported before")) == (False, True)
    seeds = {each.pop("seed") for each in (fresh, forked, probe(place, IMPORTS, visible, device))}
    assert len(seeds) == 3
    assert forked == fresh
    assert forked["hub"] == [True, True, "/proc/nowhere"]
    assert forked["devices"] == [visible, False]
    assert forked["computing threads"] == 1
    assert not forked["quantisation"]
    assert forked["pickles refused"]


def test_it_finds_what_it_would_find_in_a_fresh_interpreter(tmp_path: Path) -> None:
    check(tmp_path, "", "cpu")
    server = fork_server._servers[IMPORTS[0]]
    check(tmp_path, "-1", "cpu")
    assert fork_server._servers[IMPORTS[0]] is server, "it serves all devices"


@pytest.mark.gpu
def test_each_finds_its_own_gpu(tmp_path: Path) -> None:
    check(tmp_path, "0", "cuda")
    server = fork_server._servers[IMPORTS[0]]
    check(tmp_path, "0", "cuda")
    check(tmp_path, "", "cpu")
    assert fork_server._servers[IMPORTS[0]] is server
