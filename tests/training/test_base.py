"""Base models are their loaded files, to the byte, and nothing else is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from motools.digest import Digest, hash_file
from motools.errors import BackendError
from motools.training.local import base, models


def no_file(path: Path) -> Digest:
    raise AssertionError(f"tiny has no files, but {path} was asked for")


@pytest.fixture
def directory(tiny_directory: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(tiny_directory, tmp_path / "tiny"))


def digest(directory: Path) -> str:
    return base.identify(str(directory), hash_file).digest


def test_tiny_is_known_by_its_recipe_alone() -> None:
    tiny = base.identify("tiny", no_file)
    assert tiny.digest == "2f073d064a8f406ccad951fb837805e3f2c659b5ed35be0e58b39034815c88fb"
    assert tiny.max_length == 1024
    assert tiny.chat_template is not None


def test_every_loaded_file_is_in_the_digest(directory: Path) -> None:
    before = digest(directory)
    seen = {before}
    loaded = base.identify(str(directory), hash_file).spec["files"]
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= set(
        loaded
    )
    for name in loaded:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content + b"\n")
        seen.add(digest(directory))
        (directory / name).write_bytes(content)
    assert len(seen) == 1 + len(loaded)
    assert digest(directory) == before


def test_what_is_not_loaded_is_not_in_the_digest(directory: Path) -> None:
    before = digest(directory)
    (directory / "README.md").write_text("about")
    (directory / "training_args.bin").write_bytes(b"pickle")
    (directory / ".git").mkdir()
    assert digest(directory) == before
    moved = directory.rename(directory.with_name("elsewhere"))
    assert digest(moved) == before


def test_the_view_holds_the_identified_files_only(directory: Path) -> None:
    spec = base.identify(str(directory), hash_file).spec
    (directory / "added_tokens.json").write_text('{"later": 7}')
    with base.view(spec) as place:
        assert sorted(path.name for path in place.iterdir()) == sorted(spec["files"])


@pytest.mark.parametrize("change", ["byte", "gone"])
def test_a_file_that_changed_since_is_not_loaded(directory: Path, change: str) -> None:
    spec = base.identify(str(directory), hash_file).spec
    weights = directory / "model.safetensors"
    if change == "byte":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    else:
        weights.unlink()
    with pytest.raises(BackendError, match=r"model\.safetensors (changed|is gone)"):
        models.load({"base": spec, "adapter": None})


def test_a_directory_holds_the_same_model_as_tiny(tiny_directory: Path) -> None:
    spec = base.identify(str(tiny_directory), hash_file).spec
    loaded, tokenizer = models.load({"base": spec, "adapter": None})
    made, maker = models.load({"base": base.identify("tiny", no_file).spec})
    assert tokenizer.get_vocab() == maker.get_vocab()
    for (name, left), (other, right) in zip(
        loaded.named_parameters(), made.named_parameters(), strict=True
    ):
        assert name == other
        assert left.equal(right)


def test_shards_are_followed(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    files = base.identify(str(directory), hash_file).spec["files"]
    assert {"model-1.safetensors", index.name} <= set(files)
    for shard in ("model-2.safetensors", "../model-1.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": shard}}))
        with pytest.raises(BackendError, match=r"names .*: not here"):
            digest(directory)


def test_what_cannot_be_pinned_is_refused(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"no such directory.*'tiny', a directory, or a name"):
        base.identify("no/such/directory", hash_file)
    with pytest.raises(BackendError, match=r"there is no config\.json"):
        digest(tmp_path)

    config = directory / "config.json"
    plain = config.read_text()
    config.write_text(json.dumps({**json.loads(plain), "auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(BackendError, match=r"config\.json has auto_map"):
        digest(directory)
    config.write_text("{")
    with pytest.raises(BackendError, match=r"config\.json is not JSON"):
        digest(directory)
    config.write_text(plain)

    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(BackendError, match="makes this an adapter"):
        digest(directory)
    (directory / "adapter_config.json").unlink()

    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(BackendError, match=r"pytorch_model\.bin is a pickle"):
        digest(directory)
