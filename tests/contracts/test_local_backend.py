"""The backend of this machine keeps what every trainer has to."""

from __future__ import annotations

from typing import ClassVar

from motools.testing import TrainerContract
from motools.training.local.backend import LocalBackend
from motools.training.protocol import Trainer


class TestLocal(TrainerContract):
    base_model = "tiny"
    config: ClassVar = {"epochs": 1}

    def trainer(self) -> Trainer:
        return LocalBackend()
