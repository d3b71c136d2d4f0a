"""The file of results of a job, as APIs write it."""

from __future__ import annotations

import base64

import pytest

from motools.training.openai.losses import losses

OURS = b"step,train_loss\n1,3.0\n2,2.5\n"
OPENAI = b"step,train_loss,train_accuracy,valid_loss\n1,3,0.5,\n2,2,0.6,2.25\n"


def test_losses_and_their_curves_are_read() -> None:
    assert losses(OURS) == {"loss": 2.5, "loss_curve": [[1, 3.0], [2, 2.5]]}


def test_a_file_in_base64_is_read() -> None:
    assert losses(base64.b64encode(OPENAI)) == {
        "loss": 2.0,
        "loss_curve": [[1, 3.0], [2, 2.0]],
        "valid_loss": 2.25,
        "valid_loss_curve": [[2, 2.25]],
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"nothing of the kind",
        b"step,other\n1,2\n",
        b"step,train_loss\none,2\ninf,2\n1,abc\n1,nan\n",
    ],
)
def test_what_is_no_such_file_has_none(content: bytes) -> None:
    assert losses(content) == {}
