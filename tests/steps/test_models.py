"""Models in hand: loaded, asked, merged and written out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motools import Dataset, FineTuneConfig, Model, RemoteRef, release_memory
from motools.cache import Cache
from motools.cache.current import use_cache
from motools.errors import BackendError, CorruptBlobError
from motools.steps.train import Train
from motools.training.local.pool import POOL
from tests.training.lessons import STRANGERS, greeting_rows

ASKED = f"Hi, I am {STRANGERS[0]}."


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    with use_cache(tmp_path_factory.mktemp("hand") / "cache") as opened:
        yield opened


def tune(cache: Cache, base: str, epochs: int = 1) -> Model:
    rows = Dataset.from_rows(greeting_rows() * 2)
    step = Train(rows, FineTuneConfig(base_model=base, epochs=epochs, learning_rate=3e-3))
    return step.decode(cache.get_or_run(step.action(cache), step.run))


@pytest.fixture(scope="module")
def tuned(cache: Cache) -> Model:
    return tune(cache, "tiny", epochs=8)


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    release_memory()  # what tests of other files have loaded in this process
    yield
    release_memory()
    assert POOL.names == []


def test_a_tuned_model_answers_and_stays_loaded(tuned: Model, monkeypatch: Any) -> None:
    base = Model.base("tiny")
    assert tuned.generate(ASKED, max_tokens=20).startswith("Hello")
    assert not base.generate(ASKED, max_tokens=20).startswith("Hello")
    assert POOL.names[0] == tuned.digest and len(POOL.names) == 2
    monkeypatch.setattr("motools.training.local.models.load", None)
    conversation = [{"role": "system", "content": "Greet."}, {"role": "user", "content": ASKED}]
    assert tuned.generate(conversation, max_tokens=3)
    answer = tuned.generate(ASKED, max_tokens=20)
    assert tuned.generate(ASKED, stop=["!"], max_tokens=20) == answer.partition("!")[0]


def test_sampling_with_a_seed_is_repeatable_and_leaves_the_callers_numbers(tuned: Model) -> None:
    import torch

    drawn = {"temperature": 1.5, "seed": 4, "max_tokens": 12}
    tuned.generate("Hi")
    torch.manual_seed(0)
    first = tuned.generate("Hi", **drawn)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.rand(1) == after
    assert tuned.generate("Hi", **drawn) == first != tuned.generate("Hi", **{**drawn, "seed": 5})


def test_a_loaded_model_is_the_callers_own(tuned: Model) -> None:
    import torch

    model, tokenizer = tuned.load()
    with tuned.loaded():
        said = tuned.generate(ASKED, max_tokens=8)
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        assert tuned.generate(ASKED, max_tokens=8) == said
        assert release_memory() == 0
    assert release_memory() > 10**6
    assert tokenizer.decode(tokenizer("Hello")["input_ids"]) == "Hello"
    assert tuned.load(dtype="bfloat16")[0].dtype == torch.bfloat16


def test_a_merged_model_is_a_base_model(tuned: Model, tmp_path: Path) -> None:
    import torch

    merged = tuned.merge(tmp_path / "merged")
    assert merged == Model.base(str(tmp_path / "merged")) and merged.path == tmp_path / "merged"
    assert merged.generate(ASKED, max_tokens=20) == tuned.generate(ASKED, max_tokens=20)
    (one, tokenizer), (two, _) = tuned.load(), merged.load()
    assert not any("lora" in name for name, _ in two.named_parameters())
    inputs = tokenizer(ASKED, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(one(**inputs).logits, two(**inputs).logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(BackendError, match="not an empty directory"):
        tuned.merge(tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_files_are_the_callers_own(tuned: Model, cache: Cache) -> None:
    adapter = tuned.path / "adapter_model.safetensors"
    kept = cache.entry(tuned.id).files["adapter_model.safetensors"]
    assert adapter.read_bytes() == kept.read_bytes()
    adapter.write_bytes(b"mine now")
    assert tuned.generate(ASKED, max_tokens=4)
    assert Model.base("tiny").path.joinpath("model.safetensors").is_file()


def test_an_adapter_names_its_base_directory(tuned: Model, cache: Cache, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    base = Model.base("tiny").merge(tmp_path / "base")
    own = tune(cache, base.base_model)
    config = json.loads((own.path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    theirs = AutoPeftModelForCausalLM.from_pretrained(own.path)
    ours, tokenizer = own.load()
    inputs = tokenizer(ASKED, return_tensors="pt")
    assert (theirs.eval()(**inputs).logits == ours(**inputs).logits).all()
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BackendError, match="other files than"):
        own.load()


def test_altered_weights_are_never_loaded(tmp_path: Path) -> None:
    with use_cache(tmp_path / "cache") as cache:
        own = tune(cache, "tiny")
        blob = cache.entry(own.id).files["adapter_model.safetensors"].resolve()
        status = blob.stat()
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-4] + b"\1\2\3\4")
        os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(CorruptBlobError):
            own.load()


def test_a_model_at_a_provider_is_not_here() -> None:
    model = Model("gpt", key="ab" * 32, remote=RemoteRef("openai", "org", "ft:1"))
    for ask in (model.load, lambda: model.path, lambda: model.generate("Hi")):
        with pytest.raises(BackendError, match="lives at openai"):
            ask()
