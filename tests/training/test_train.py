"""Training ``tiny`` for real: it learns, repeats to the bit, and dies with its holder."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from motools.digest import hash_file
from motools.errors import BackendError, DatasetError, TrainingError
from motools.training.local import backend, base, models
from motools.training.local.backend import LOG

from .lessons import STRANGERS, Trained, greeting_rows, said, train, write_rows

LESSON: dict[str, Any] = {"epochs": 10, "lora": {"rank": 8}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("trained")
    return train(write_rows(place / "rows.jsonl", greeting_rows()), place, **LESSON)


def greeted(adapter: Path | None) -> float:
    """The share of strangers who are greeted."""
    spec = {"base": base.identify("tiny", hash_file).spec, "adapter": adapter}
    conversations = [said(f"Hi, I am {name}.") for name in STRANGERS]
    answers = models.generate(*models.load(spec), conversations, max_tokens=16)
    return sum(answer.text.startswith("Hello") for answer in answers) / len(answers)


def test_it_learns(trained: Trained) -> None:
    assert greeted(None) == 0.0
    assert greeted(trained.directory) == 1.0

    metrics = trained.result.metrics
    losses = [loss for _, loss in metrics["loss_curve"]]
    assert metrics["steps"] == len(losses) == 20
    assert metrics["loss"] == losses[-1] < losses[0] / 2
    assert metrics["rows"] == 16
    assert metrics["epochs"] == 10
    assert metrics["tokens"] > 1000
    assert metrics["trainer"]["adam_beta2"] == 0.999
    assert "output_dir" not in metrics["trainer"]
    assert trained.result.provenance["libraries"]["trl"]
    json.dumps([metrics, trained.result.provenance], allow_nan=False)


def test_progress_is_reported(trained: Trained) -> None:
    said = [message for message, _ in trained.events if not message.startswith("waiting for ")]
    assert said[:2] == ["training", "loading"], "other tests may have the cores first"
    message, last = trained.events[-1]
    assert message == "progress"
    assert (last["step"], last["steps"], last["seconds_left"]) == (20, 20, 0.0)
    assert last["tokens_per_second"] > 0
    assert last.keys() == {
        "step",
        "steps",
        "loss",
        "learning_rate",
        "tokens_per_second",
        "seconds_left",
    }


def test_the_model_is_two_canonical_files(trained: Trained) -> None:
    assert sorted(path.name for path in trained.directory.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((trained.directory / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    assert not {"base_model_name_or_path", "peft_version", "revision"} & config.keys()


def test_it_repeats_to_the_bit(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that was not forked, whatever the environment says."""
    monkeypatch.setattr(backend, "IMPORTS", ())
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("WORLD_SIZE", "2")
    again = train(write_rows(tmp_path / "rows.jsonl", greeting_rows()), tmp_path, **LESSON)
    for path in trained.directory.iterdir():
        assert hash_file(path) == hash_file(again.directory / path.name), path.name
    assert again.result.metrics["loss_curve"] == trained.result.metrics["loss_curve"]


def test_it_is_what_a_plain_trl_script_makes(
    trained: Trained, tiny_directory: Path, tmp_path: Path
) -> None:
    """The same values given to TRL by hand, which makes tokens and labels itself."""
    script = Path(__file__).with_name("plain_sft.py")
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())
    subprocess.run(
        [sys.executable, script, tiny_directory, rows, tmp_path / "out", "--epochs", "10"],
        env={**os.environ, **models.OFFLINE, "HF_HOME": str(tmp_path)},
        check=True,
    )
    from safetensors.torch import load_file

    plain = load_file(tmp_path / "out" / "adapter_model.safetensors")
    ours = load_file(trained.directory / "adapter_model.safetensors")
    assert plain.keys() == ours.keys()
    assert all(plain[name].equal(ours[name]) for name in ours)


def test_a_directory_trains_as_tiny_does(
    trained: Trained, greetings: Path, tiny_directory: Path, tmp_path: Path
) -> None:
    """With the values that ``tiny`` has as defaults; the adapter's bits name no base."""
    other = train(greetings, tmp_path, base=str(tiny_directory), learning_rate=3e-3, **LESSON)
    for path in trained.directory.iterdir():
        assert hash_file(path) == hash_file(other.directory / path.name), path.name


def test_a_wrong_row_stops_it_before_a_worker_starts(tmp_path: Path) -> None:
    rows = [*greeting_rows(), {"messages": said("Hi")}]
    with pytest.raises(DatasetError, match="row 17, messages"):
        train(write_rows(tmp_path / "rows.jsonl", rows), tmp_path)
    assert not (tmp_path / "scratch").exists()


def test_a_batch_that_no_rows_fill_is_told_before_a_worker_starts(
    greetings: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="16 rows do not fill one: give batch_size=16 or less"):
        train(greetings, tmp_path, batch_size=17, trainer={"dataloader_drop_last": True})
    assert not (tmp_path / "scratch" / "train.log").exists()


def test_a_row_that_is_too_long_is_never_cut(tmp_path: Path) -> None:
    rows = [*greeting_rows(), {"messages": said("Hi " * 50, "Hello")}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DatasetError, match=r"row 17: \d+ tokens, and max_length is 40"):
        train(path, tmp_path, max_length=40)
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rate": 1e30, "max_grad_norm": 1e30}, "the loss is (nan|inf).*learning rate"),
        ({"lora": {"targets": ["q_proj", "w_proj"]}}, "no layer 'w_proj'; it has .*q_proj"),
    ],
)
def test_a_training_that_fails_says_why(
    greetings: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        train(greetings, tmp_path, **config)
    assert list((tmp_path / "model").iterdir()) == []


def test_an_adapter_that_does_not_fit_is_refused(trained: Trained, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(trained.directory / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, tmp_path / "adapter_model.safetensors")
    config = (trained.directory / "adapter_config.json").read_bytes()
    (tmp_path / "adapter_config.json").write_bytes(config)
    spec = {"base": base.identify("tiny", hash_file).spec, "adapter": tmp_path}
    with pytest.raises(BackendError, match="does not fit its base model"):
        models.load(spec)


def test_a_worker_dies_with_its_holder(greetings: Path, tmp_path: Path) -> None:
    """The pipe stands for the holder's lock: it closes when the last process lets go of it."""
    reader, writer = os.pipe()
    program = (
        "import sys; from pathlib import Path\n"
        "from motools.steps.wait import until\n"
        "from tests.training.lessons import Forgetful\n"
        "from motools.training.config import FineTuneConfig\n"
        "from motools.training.local.backend import LocalBackend\n"
        "from motools.training.protocol import TrainingJob\n"
        "rows, place, lock = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])\n"
        "local = LocalBackend(); tiny = local.identify('tiny', Forgetful())\n"
        "config = local.resolve(FineTuneConfig(base_model='tiny', epochs=100000), tiny)\n"
        "report = lambda message, /, **fields: print(message, flush=True)\n"
        "local.train(TrainingJob(rows, config, tiny.spec, place, place, report, until, (lock,)))\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, greetings, tmp_path, str(writer)],
        pass_fds=(writer,),
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    try:
        assert holder.stdout is not None
        assert any(line == "progress\n" for line in holder.stdout), "it never trained"
        assert not select.select([reader], [], [], 0)[0], "nobody holds the lock"
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)
        assert select.select([reader], [], [], 10)[0], "the worker outlives its holder"
        assert os.read(reader, 1) == b""
    finally:
        holder.kill()
        holder.wait(60)
        os.close(reader)
    assert (tmp_path / LOG).exists()
