"""The block is known to Prefect, with all that its user interface shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.plugins import load_prefect_collections

from motools.cache import Cache
from motools.tasks.blocks import MotoolsCache


@pytest.mark.usefixtures("server")
def test_a_saved_block_opens_its_cache(tmp_path: Path) -> None:
    MotoolsCache(path=tmp_path / "shared").save("lab")
    cache = MotoolsCache.load("lab").open()
    assert isinstance(cache, Cache) and cache.root == tmp_path / "shared"
    with get_client(sync_client=True) as client:
        known = client.read_block_type_by_slug("motools-cache")
    assert known.description and str(known.logo_url).startswith("https://")
    assert str(known.documentation_url).startswith("https://")


def test_the_package_is_a_collection() -> None:
    collections = load_prefect_collections()
    assert collections["motools"].MotoolsCache is MotoolsCache
