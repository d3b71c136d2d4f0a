"""A checkpoint counts when every byte is as it was sealed, and not otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motools.errors import TrainingError
from motools.training.local import checkpoints, kept
from motools.training.local.checkpoints import MANIFEST

NAMES = ("model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json")


def write(scratch: Path, step: int, *, seal: bool = True) -> Path:
    directory = scratch / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    for name in NAMES:
        (directory / name).write_text(f"{name} of {step}")
    if seal:
        checkpoints.seal(directory, {"step": step})
    return directory


def last(scratch: Path) -> tuple[int | None, list[str]]:
    """The step that is gone on from, and what was said about others."""
    said: list[str] = []
    found = checkpoints.last(scratch, lambda step, why: said.append(f"{step}: {why}"))
    return found and found.step, said


def test_the_newest_is_taken_and_the_oldest_dropped(tmp_path: Path) -> None:
    assert last(tmp_path) == (None, [])
    for step in (2, 9, 10):
        write(tmp_path, step)
    found = checkpoints.last(tmp_path, pytest.fail)
    assert found is not None
    assert (found.step, found.facts) == (10, {"step": 10})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes(change((place / name).read_bytes())) and None


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (rewrite("optimizer.pt", lambda b: b"O" + b[1:]), "optimizer.pt is damaged"),
    "the end": (rewrite("model.safetensors", lambda b: b[:-1]), "model.safetensors is damaged"),
    "emptied": (rewrite("rng_state.pth", lambda b: b""), "rng_state.pth is damaged"),
    "no optimizer": (lambda p: (p / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
    "a stranger": (lambda p: (p / "pytorch_model.bin").touch(), "pytorch_model.bin is not its own"),
    "unfinished": (lambda p: (p / MANIFEST).unlink(), "it was not finished"),
    "half a manifest": (rewrite(MANIFEST, lambda b: b[:40]), f"{MANIFEST} is damaged"),
    "another manifest": (
        lambda p: (p / MANIFEST).write_text(json.dumps({"schema": "x/1"})),
        f"{MANIFEST} is not one of",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_passed_over_aloud(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    write(tmp_path, 3)
    damage(write(tmp_path, 4))
    step, why = last(tmp_path)
    assert step == 3
    assert len(why) == 1
    assert f"4: {said}" in why[0]
    assert not (tmp_path / "checkpoint-4").exists(), "its place is written to again"


def test_one_that_has_lost_what_it_needs_makes_room_for_those_before_it(tmp_path: Path) -> None:
    for step in (8, 9):
        write(tmp_path, step)
    said: list[int] = []

    def lost(facts: dict[str, Any]) -> str | None:
        return "a model that was kept" if facts["step"] > 8 else None

    found = checkpoints.last(tmp_path, lambda step, _: said.append(step), lost)
    assert found is not None and (found.step, said) == (8, [9])
    assert checkpoints.last(tmp_path, pytest.fail, lambda _: None) == found
    assert checkpoints.last(tmp_path, lambda *_: None, lambda _: "all of it") is None
    write(tmp_path, 1)
    assert last(tmp_path) == (1, []), "it is not the oldest, which would be dropped"


def test_one_without_an_optimizer_is_never_sealed(tmp_path: Path) -> None:
    directory = write(tmp_path, 1, seal=False)
    (directory / "optimizer.pt").unlink()
    with pytest.raises(TrainingError, match=r"wrote no optimizer\.pt"):
        checkpoints.seal(directory, {})
    assert not (directory / MANIFEST).exists()


def test_every_device_has_its_random_numbers(tmp_path: Path) -> None:
    directory = write(tmp_path, 1, seal=False)
    (directory / "rng_state.pth").rename(directory / "rng_state_0.pth")
    with pytest.raises(TrainingError, match=r"wrote no rng_state_1\.pth"):
        checkpoints.seal(directory, {"devices": 2})
    (directory / "rng_state_1.pth").touch()
    checkpoints.seal(directory, {"devices": 2})
    assert last(tmp_path) == (1, [])


def test_what_is_handed_over_stays_for_the_next_attempt(tmp_path: Path) -> None:
    """The result may not be committed: a full disk, or a store that cannot be reached."""
    keeping = kept.Kept(2, lambda place: (place / "adapter").write_text("2"), tmp_path, 0)
    keeping.step(2, 0.5)
    assert keeping.hand_over(tmp_path / "result", 4) == [2]
    found = tmp_path / "result" / "checkpoints" / "2"
    assert [path.name for path in found.iterdir()] == ["adapter"]
    (found / "adapter").write_text("taken into the store, and altered there")
    assert kept.lost(tmp_path, [2]) is None


def test_a_kept_model_that_is_damaged_stops_a_training_from_going_on(tmp_path: Path) -> None:
    keeping = kept.Kept(2, lambda place: (place / "adapter").touch(), tmp_path, 0)
    for step in (1, 2, 3, 4):
        keeping.step(step, 0.5)
    assert kept.facts(tmp_path) == [2, 4]
    assert kept.lost(tmp_path, [2, 4]) is None
    assert keeping.hand_over(tmp_path / "nowhere", 2) == [], "the last is the result itself"
    (tmp_path / "kept" / "4" / "adapter").write_text("?")
    assert kept.lost(tmp_path, [2, 4]) == "of the model kept at step 4: adapter is damaged"
    assert "it was not finished" in str(kept.lost(tmp_path, [2, 6]))
    kept.Kept(2, lambda place: None, tmp_path, 3)
    assert kept.facts(tmp_path) == [2], "what comes after is made again"
