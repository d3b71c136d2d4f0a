"""What every backend has to do: plan, the same each time."""

from __future__ import annotations

from typing import Any, ClassVar

from motools.digest import canonical_json
from motools.errors import BackendError
from motools.memo import Forgetful
from motools.training.config import FineTuneConfig
from motools.training.protocol import Backend


class PlanningContract:
    """Tests of planning.

    Attributes:
        base_model: a base model of the backend.
        config: fields of a config for it that make for a short training.
        rows: a dataset for it.
    """

    base_model: str
    config: ClassVar[dict[str, Any]] = {"epochs": 1}
    rows: ClassVar[list[dict[str, Any]]] = [
        {
            "messages": [
                {"role": "user", "content": f"What is {number} and {number}?"},
                {"role": "assistant", "content": f"It is {2 * number}."},
            ]
        }
        for number in range(10)
    ]

    def backend(self) -> Backend:
        """A new object of the backend under test."""
        raise NotImplementedError

    def fine_tune(self, **changes: Any) -> FineTuneConfig:
        """The config of a short training."""
        return FineTuneConfig(base_model=self.base_model, **{**self.config, **changes})

    def planned(self, backend: Backend, **changes: Any) -> dict[str, Any]:
        """What a config comes to."""
        base = backend.identify(self.base_model, Forgetful())
        return backend.resolve(self.fine_tune(**changes), base)

    def test_identity_is_the_same_in_every_object(self) -> None:
        first, second = self.backend().identity(), self.backend().identity()
        assert isinstance(first["name"], str)
        assert isinstance(first["recipe"], int)
        assert canonical_json(first) == canonical_json(second)

    def test_a_base_model_is_the_same_in_every_object(self) -> None:
        first = self.backend().identify(self.base_model, Forgetful())
        second = self.backend().identify(self.base_model, Forgetful())
        assert first.digest == second.digest
        assert len(bytes.fromhex(first.digest)) == 32

    def test_an_unknown_base_model_is_an_error(self) -> None:
        _raises(lambda: self.backend().identify("no/such-model", Forgetful()))

    def test_a_config_comes_to_the_same_in_every_object(self) -> None:
        first, second = self.planned(self.backend()), self.planned(self.backend())
        assert canonical_json(first) == canonical_json(second)
        assert "base_model" not in first

    def test_another_config_comes_to_something_else(self) -> None:
        backend = self.backend()
        assert canonical_json(self.planned(backend, epochs=1)) != canonical_json(
            self.planned(backend, epochs=2)
        )

    def test_what_cannot_be_honoured_is_an_error(self) -> None:
        _raises(lambda: self.planned(self.backend(), trainer={"no_such_field": 1}))


def _raises(call: Any) -> None:
    try:
        found = call()
    except BackendError:
        return
    raise AssertionError(f"no BackendError, but {found!r}")
