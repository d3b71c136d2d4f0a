"""Contracts: tests that any backend has to pass, for those who write one.

With pytest, in a package that offers a backend::

    from motools.testing import ProviderContract

    class TestMine(ProviderContract):
        base_model = "small-2025-01-01"

        def provider(self):
            return MyBackend()

What is tested follows from what the backend says that it can do.
"""

from motools.testing.provider import ProviderContract
from motools.testing.trainer import TrainerContract

__all__ = ["ProviderContract", "TrainerContract"]
