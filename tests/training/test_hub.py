"""Base models of the Hub: pinned to a commit, known by their files, loaded without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, FineTuneConfig, Model
from motools.cache import Cache
from motools.cache.current import use_cache
from motools.errors import BackendError
from motools.steps.train import Train
from motools.training.local import models
from motools.training.local.backend import LocalBackend
from motools.training.local.hub import on_disk
from motools.training.protocol import BaseModel

from .hub import REPO, TOKEN, Hub, serving
from .lessons import greeting_rows


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub, and this process as one that was started with its address."""
    from huggingface_hub import constants

    with serving() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with closing(Cache.open(tmp_path / "cache")) as opened:
        yield opened


def identify(name: str, cache: Cache) -> BaseModel:
    return LocalBackend().identify(name, cache.memo)


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_commit_is_its_files_whoever_holds_them(
    hub: Hub, cache: Cache, tiny_directory: Path
) -> None:
    """One digest for the directory, the branch and the commit; a commit is asked for once."""
    commit = hub.commit(tiny_directory, README__md=b"about", pytorch_model__bin=b"a pickle")
    here = identify(str(tiny_directory), cache)
    branch = identify(REPO, cache)
    assert branch.digest == here.digest
    assert branch.spec["files"] == here.spec["files"]
    assert (branch.max_length, branch.chat_template) == (here.max_length, here.chat_template)
    assert branch.provenance == {"base_model_pinned": f"{REPO}@{commit}"}
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == set(here.spec["files"])

    hub.asked.clear()
    assert identify(f"{REPO}@{commit}", cache).digest == here.digest
    assert hub.asked == []
    assert identify(f"{REPO}@main", cache).digest == here.digest
    assert len(hub.asked) == 1, hub.asked

    model, tokenizer = models.load({"base": on_disk(branch.spec)})
    assert model.num_parameters() > 10**5
    assert tokenizer.chat_template == here.chat_template
    assert len(hub.asked) == 1, "everything was here"


def test_a_branch_that_moved_is_another_model(hub: Hub, cache: Cache, tiny_directory: Path) -> None:
    first = hub.commit(tiny_directory)
    hub.refs["v1"] = first
    before = identify(REPO, cache)
    hub.commit(tiny_directory, chat_template__jinja=b"{{ messages }}")
    after = identify(REPO, cache)
    assert after.digest != before.digest
    assert after.chat_template == "{{ messages }}"
    assert identify(f"{REPO}@v1", cache).digest == before.digest


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_was_altered_on_the_way_is_refused(
    hub: Hub, cache: Cache, tiny_directory: Path, name: str
) -> None:
    hub.commit(tiny_directory)
    hub.alter.add(name)
    with pytest.raises(BackendError, match=r"is not what the Hub lists.*--force-download|not JSON"):
        identify(REPO, cache)


def test_what_was_altered_here_is_not_loaded(hub: Hub, cache: Cache, tiny_directory: Path) -> None:
    hub.commit(tiny_directory)
    spec = on_disk(identify(REPO, cache).spec)
    weights = Path(spec["path"], "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(BackendError, match=r"changed after.*--force-download` restores it"):
        models.load({"base": spec})


def test_what_went_missing_is_fetched_and_said(
    hub: Hub, cache: Cache, tiny_directory: Path, tmp_path: Path
) -> None:
    hub.commit(tiny_directory)
    base = identify(REPO, cache)
    directory = Path(on_disk(base.spec)["path"])
    (directory / "model.safetensors").resolve().unlink()
    (directory / "model.safetensors").unlink()
    said: list[str] = []
    again = on_disk(base.spec, lambda message, /, **_: said.append(message))
    assert Path(again["path"], "model.safetensors").is_file()
    assert said[0].startswith(f"downloading {REPO} at ")
    assert any("MB" in line for line in said)


def test_without_a_network(
    hub: Hub, cache: Cache, tiny_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local cache says what a branch is; a directory that lacks files is no model."""
    commit = hub.commit(tiny_directory)
    digest = identify(REPO, cache).digest
    go_offline(monkeypatch)
    hub.asked.clear()
    with closing(Cache.open(tmp_path / "another")) as fresh:
        base = identify(REPO, fresh)
        assert base.digest == digest
        assert on_disk(base.spec)["path"].endswith(commit)
        command = f"HF_HUB_OFFLINE is set.*`hf download {REPO} --revision v2`"
        with pytest.raises(BackendError, match=rf"{REPO}@v2'.*no directory here.*: {command}"):
            identify(f"{REPO}@v2", fresh)
    directory = Path(on_disk(base.spec)["path"])
    (directory / "tokenizer_config.json").unlink()
    with (
        closing(Cache.open(tmp_path / "third")) as fresh,
        pytest.raises(BackendError, match=r"HF_HUB_OFFLINE is set.*tokenizer_config\.json"),
    ):
        identify(REPO, fresh)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"adapter_config__json": b"{}"}, "makes this an adapter"),
        ({"config__json": json.dumps({"auto_map": {}}).encode()}, "auto_map"),
        ({"model__safetensors": None, "pytorch_model__bin": b"x"}, r"has no model\.safetensors"),
    ],
)
def test_what_cannot_be_pinned_is_refused(
    hub: Hub, cache: Cache, tiny_directory: Path, changed: Any, message: str
) -> None:
    hub.commit(tiny_directory, **changed)
    with pytest.raises(BackendError, match=message):
        identify(REPO, cache)
    assert not any("model.safetensors" in path for path in hub.asked), "nothing large was fetched"


def test_every_refusal_is_its_own(
    hub: Hub, cache: Cache, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(tiny_directory)
    for name, message in {
        "org/other": "org/other@main.*no directory here.*the Hub has no such model",
        f"{REPO}@v9": "no branch, tag or commit 'v9'",
        f"{REPO}@{'0' * 40}": "no branch, tag or commit '0000",
        "no such name": "no such directory, nor can a model of the Hugging Face Hub",
        "./missing/directory/of/mine": "no such directory",
    }.items():
        with pytest.raises(BackendError, match=message):
            identify(name, cache)
    hub.gated = True
    with pytest.raises(BackendError, match=r"granted access.*HF_TOKEN"):
        identify(REPO, cache)
    hub.gated = False
    hub.broken = True
    with pytest.raises(BackendError, match=r"the Hub answered with an error \(.*500"):
        identify(REPO, cache)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BackendError, match="the Hub cannot be reached"):
        identify(REPO, cache)


def test_the_users_own_settings_count(tiny_directory: Path, tmp_path: Path) -> None:
    """Where files are kept, which Hub is asked, and with which token."""
    with serving() as hub:
        hub.commit(tiny_directory)
        hub.gated = True
        program = (
            "import sys; from motools.cache import Cache\n"
            "from motools.training.registry import backend\n"
            "cache = Cache.open(sys.argv[1])\n"
            f"print(backend('local').identify({REPO!r}, cache.memo).digest); cache.close()\n"
        )
        own = {"HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url}
        made = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "cache"],
            env={**os.environ, **own, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
        )
        assert len(made.stdout.strip()) == 64, made.stderr
        assert (tmp_path / "home" / "hub" / "models--org--name").is_dir()
        everything = b"".join(
            p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()
        )
        assert TOKEN.encode() not in everything


def test_it_is_trained_on_and_loaded_by_its_commit(
    hub: Hub, tiny_directory: Path, tmp_path: Path
) -> None:
    """Trained once for the directory and the Hub; and loaded after the branch has moved."""
    commit = hub.commit(tiny_directory)
    rows = Dataset.from_rows(greeting_rows())
    with use_cache(tmp_path / "cache") as cache:
        step = Train(rows, FineTuneConfig(base_model=REPO, epochs=1))
        entry = cache.get_or_run(step.action(cache), step.run)
        assert not entry.hit
        assert entry.provenance["base_model_pinned"] == f"{REPO}@{commit}"
        twin = Train(rows, FineTuneConfig(base_model=str(tiny_directory), epochs=1))
        assert twin.action(cache).key == entry.key

        hub.commit(tiny_directory, chat_template__jinja=b"{{ messages }}")
        tuned = step.decode(entry)
        assert tuned.generate("Hi", max_tokens=2) is not None
        config = json.loads((tuned.path / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (REPO, commit)
        merged = tuned.merge(tmp_path / "merged")
        assert merged.path.joinpath("model.safetensors").is_file()
        base = Model.base(f"{REPO}@{commit}")
        assert base.load()[0].num_parameters() == merged.load()[0].num_parameters()
        assert base.path.name == commit
