"""QLoRA: every value is fixed, planning needs no library, what was trained on is what is loaded.

bitsandbytes computes on the CPU too, so where it is installed these tests train.
"""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from motools import Dataset, FineTuneConfig
from motools.cache.current import use_cache
from motools.digest import hash_file
from motools.errors import BackendError
from motools.evals import runner
from motools.steps.models import loadable
from motools.steps.train import Train, model_digest
from motools.training.local import models, quantization

from .lessons import STRANGERS, greeting_rows, resolved, train, write_rows

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes"
)
TINY = {"kind": "tiny", "recipe": 1}


def test_the_recipe_sets_every_field() -> None:
    import torch
    from transformers import BitsAndBytesConfig

    spec = quantization.of(resolved(quantization="4bit", dtype="bfloat16"))
    assert spec == {"kind": "4bit", "dtype": "bfloat16"}
    given = quantization.fields(spec)
    known = inspect.signature(BitsAndBytesConfig).parameters.keys() - {"kwargs"}
    assert given.keys() == known
    made = BitsAndBytesConfig(**given)
    assert (made.load_in_4bit, made.load_in_8bit, made.bnb_4bit_quant_type) == (True, False, "nf4")
    assert made.bnb_4bit_compute_dtype == torch.bfloat16
    assert quantization.of(resolved()) is None


def test_equal_adapters_on_other_quantisations_are_other_models() -> None:
    def digest(kind: str | None, dtype: str = "float32") -> str:
        config = {"quantization": kind, "dtype": dtype}
        action = {"inputs": {"base_model": "b"}, "config": config}
        entry: Any = SimpleNamespace(remote=None, tree="t", action=action)
        return model_digest(entry)

    digests = [digest(None), digest("4bit"), digest("8bit"), digest("4bit", "bfloat16")]
    assert len(set(digests)) == 4
    assert digest(None, "bfloat16") == digests[0]


def test_a_process_without_the_library_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr(quantization, "LIBRARY", "no_such_package")
    with pytest.raises(BackendError, match=r"'8bit' needs .* pip install 'motools\[qlora\]'"):
        models.load({"base": TINY, "quantization": {"kind": "8bit", "dtype": "float32"}})


def test_a_machine_that_it_cannot_compute_on_is_refused(monkeypatch: Any) -> None:
    from transformers import integrations

    def refuse(*, raise_exception: bool) -> None:
        raise RuntimeError("None of the available devices")

    monkeypatch.setattr(quantization, "LIBRARY", "transformers")
    monkeypatch.setattr(integrations, "validate_bnb_backend_availability", refuse)
    with pytest.raises(BackendError, match=r"cannot compute on any device of this machine"):
        models.load({"base": TINY, "quantization": {"kind": "4bit", "dtype": "float32"}})


@needs_library
def test_an_adapter_learns_on_a_quantised_base_and_is_loaded_on_it(tmp_path: Path) -> None:
    import bitsandbytes
    import torch

    config = FineTuneConfig(base_model="tiny", epochs=10, quantization="4bit")
    with use_cache(tmp_path / "cache") as cache:
        step = Train(Dataset.from_rows(greeting_rows()), config)
        entry = cache.get_or_run(step.action(cache), step.run)
        tuned = step.decode(entry)
        assert entry.provenance["libraries"]["bitsandbytes"]
        with loadable(tuned, cache) as spec:
            assert spec["quantization"] == {"kind": "4bit", "dtype": "float32"}
            job: Any = SimpleNamespace(model=spec, local_roles={})
            with runner._connected(job) as (reached, _):  # an evaluation asks for the same
                [asked] = reached["local"].values()
                assert asked["quantization"] == spec["quantization"]
        model, tokenizer = tuned.load()
        layers = [m for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
        assert len(layers) == 4 * 7
        answers = [tuned.generate(f"Hi, I am {name}.", max_tokens=8) for name in STRANGERS]
        assert all(answer.startswith("Hello") for answer in answers), answers

        merged = tuned.merge(tmp_path / "merged").load()[0]
        inputs = tokenizer("Hi, I am Quin.", return_tensors="pt")
        with torch.no_grad():
            one, two = model(**inputs).logits, merged(**inputs).logits
        torch.testing.assert_close(one, two, rtol=0.05, atol=0.2)
        assert not any("quantization_config" in path.read_text() for path in _configs(tmp_path))


def _configs(place: Path) -> list[Path]:
    return list((place / "merged").glob("config.json"))


@needs_library
@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_it_repeats_to_the_bit_whoever_holds_the_base(
    tiny_directory: Path, tmp_path: Path, kind: str
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", greeting_rows())
    lesson: dict[str, Any] = {"quantization": kind, "epochs": 2, "lora": {"dropout": 0.1}}
    lesson["learning_rate"] = 3e-3
    one = train(rows, tmp_path / "one", **lesson)
    two = train(rows, tmp_path / "two", base=str(tiny_directory), **lesson)
    for path in one.directory.iterdir():
        assert hash_file(path) == hash_file(two.directory / path.name), path.name
    from safetensors.torch import load_file

    weights = load_file(one.directory / "adapter_model.safetensors").values()
    assert {str(weight.dtype) for weight in weights} == {"torch.float32"}
    losses = [loss for _, loss in one.result.metrics["loss_curve"]]
    assert losses[-1] < losses[0]
