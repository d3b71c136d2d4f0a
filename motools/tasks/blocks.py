"""Blocks: what Prefect's user interface and deployments know of motools.

``prefect.collections`` in the package's metadata names this module, so that
``prefect block register`` finds it and servers list it.
"""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from motools.cache import Cache
from motools.cache.current import cache_at


class MotoolsCache(Block):
    """A cache of datasets, models, evaluations and results of functions.

    ::

        MotoolsCache(path="/data/motools").save("lab")

        cache = MotoolsCache.load("lab").open()
        with use_cache(cache):
            ...
    """

    _block_type_name = "motools cache"
    _block_type_slug = "motools-cache"
    _description = (
        "One directory where uploads, fine-tunes, evaluations and results of own "
        "functions are kept, so that nothing is run or paid for twice."
    )
    _logo_url = HttpUrl("https://raw.githubusercontent.com/motools/motools/main/docs/logo.png")
    _documentation_url = HttpUrl("https://github.com/motools/motools/blob/main/docs/concepts.md")

    path: Path = Field(
        description="Directory of the cache, on a local file system of the machine that runs flows."
    )

    def open(self) -> Cache:
        """The cache, made if there is none there yet.

        Raises:
            CacheUnavailableError: it cannot be read or written, or is on a file
                system where locks cannot be relied on.
        """
        return cache_at(self.path)
