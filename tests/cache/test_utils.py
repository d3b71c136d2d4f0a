"""``CacheUtils`` and the functions on it: the names that people type."""

from __future__ import annotations

from pathlib import Path

import pytest

import motools
from motools.cache import Cache, CacheUtils
from motools.errors import AmbiguousKeyError
from tests.filled import Filled, evaluation, fill


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return fill(tmp_path / "cache")


@pytest.fixture
def utils(filled: Filled) -> CacheUtils:
    return CacheUtils(cache_dir=filled.root)


def test_datasets(filled: Filled, utils: CacheUtils) -> None:
    newest, oldest = utils.list_datasets()
    assert newest.created_at > oldest.created_at
    assert oldest.cache_key == filled.datasets[0].key
    assert oldest.dataset_hash == filled.datasets[0].action["inputs"]["rows"]
    assert oldest.file_id == f"file-{oldest.dataset_hash[:24]}"
    assert (oldest.rows, oldest.size) == (9, filled.datasets[0].size)


def test_models(filled: Filled, utils: CacheUtils) -> None:
    model = utils.list_models()[0]
    assert model.cache_key == model.model_id == filled.models[1].key
    assert model.dataset_hash == utils.list_datasets()[0].dataset_hash
    assert model.config == {"base_model": "tiny", "learning_rate": 2e-4}
    assert (model.backend_type, model.cost) == ("openai", 1.25)


def test_evals(filled: Filled, utils: CacheUtils) -> None:
    assert [found.id for found in utils.list_evals()] == [e.key for e in filled.evals[::-1]]
    (found,) = utils.list_evals(model_id=filled.models[0].key, task_id="greets")
    assert found.id == filled.evals[0].key
    assert (found.task_id, found.backend_type) == ("greets", "inspect")
    assert found.log_file_path is not None
    assert Path(found.log_file_path).read_bytes() == filled.evals[0].file("log.eval").read_bytes()
    assert found.log_file_path.endswith(".eval")
    assert utils.list_evals(task_id="greet") == []


def test_figures(utils: CacheUtils) -> None:
    stats, sizes = utils.get_stats(), utils.get_size_breakdown()
    assert (stats.num_datasets, stats.num_models, stats.num_evals) == (2, 2, 3)
    assert stats["num_models"] == stats.num_models
    assert stats.total_size_bytes == sum(sizes.values())
    assert {"datasets", "runs", "evals", "database"} <= set(sizes)
    assert sizes["runs"] > sizes.evals > sizes.datasets > 0
    assert sizes["database"] > 0
    with pytest.raises(KeyError):
        stats["nothing"]


def test_sizes_are_what_is_on_disk(filled: Filled, utils: CacheUtils) -> None:
    Cache.open(filled.root).add(Path(__file__))  # a blob that no entry needs
    sizes = utils.get_size_breakdown()
    blobs = sum(p.stat().st_size for p in (filled.root / "objects").rglob("*") if p.is_file())
    assert sizes.datasets + sizes.runs + sizes.evals + sizes.functions + sizes.unused == blobs
    assert sizes.unused == Path(__file__).stat().st_size


def test_clear_datasets(filled: Filled, utils: CacheUtils) -> None:
    wanted = filled.datasets[0].labels["dataset_hash"]
    assert utils.clear_datasets([wanted, "f" * 64]) == 1
    assert [found.dataset_hash for found in utils.list_datasets()] != [wanted]
    assert utils.clear_datasets([wanted]) == 0
    assert utils.clear_datasets([]) == 0
    assert utils.clear_datasets() == 1
    assert len(utils.cache.entries(state="trash")) == 2


def test_clear_models(filled: Filled, utils: CacheUtils) -> None:
    assert utils.clear_models([filled.models[0].key[:12]]) == 1
    assert utils.clear_models([filled.evals[0].key]) == 0  # not a model
    assert [model.model_id for model in utils.list_models()] == [filled.models[1].key]
    assert len(utils.list_evals()) == 3


def test_clear_evals(filled: Filled, utils: CacheUtils) -> None:
    assert utils.clear_evals(model_ids=["tiny"], task_ids=["greets"]) == 0
    assert utils.clear_evals(model_ids=[]) == 0
    assert utils.clear_evals(model_ids=["tiny", filled.models[0].key]) == 2
    assert utils.clear_evals(task_ids=["greets"]) == 1
    assert utils.list_evals() == []


def test_the_beginning_of_two_models_is_neither(filled: Filled, utils: CacheUtils) -> None:
    evaluations = [
        evaluation(utils.cache, model * 8, "insults") for model in ("abcdef01", "abcdef02")
    ]
    with pytest.raises(AmbiguousKeyError, match="2 values of model_id"):
        utils.clear_evals(model_ids=["abcdef0"])
    assert len(utils.list_evals()) == 5
    assert utils.clear_evals(model_ids=[""]) == 0
    assert [found.id for found in utils.list_evals(model_id="abcdef02")] == [evaluations[1].key]


def test_clear_all_goes_to_the_trash(filled: Filled, utils: CacheUtils) -> None:
    counts = utils.clear_all(files=True)
    assert (counts["datasets"], counts["models"], counts["evals"]) == (2, 2, 3)
    stats = utils.get_stats()
    assert (stats.num_datasets, stats.num_models, stats.num_evals) == (0, 0, 0)
    assert utils.get_size_breakdown().trash > sum(entry.size for entry in filled.models) / 2
    assert len(utils.cache.entries(state="trash")) == 8


def test_no_cache(tmp_path: Path) -> None:
    for use in (CacheUtils, motools.cache_info, motools.print_cache_info, motools.clear_cache):
        with pytest.raises(FileNotFoundError, match="there is no cache"):
            use(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_thin_calls(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    info = motools.cache_info(filled.root)
    assert (info.num_models, info["num_evals"]) == (2, 3)
    motools.print_cache_info(filled.root)
    printed = capsys.readouterr().out
    assert "model" in printed
    assert "total" in printed
    assert motools.clear_cache(filled.root)["models"] == 2
    assert filled.live() == set()
