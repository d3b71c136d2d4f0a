"""The backend ``local``: trains on this machine, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from motools.digest import Value
from motools.errors import DatasetError, TrainingError
from motools.memo import Memo
from motools.training.config import FineTuneConfig
from motools.training.local import base, devices, host, hub, memory, models, ranks, recipe
from motools.training.protocol import BaseModel, TrainingJob, TrainingResult
from motools.training.rows import check_rows
from motools.worker import run_worker

LOG: Final = "train.log"
"""Name of the worker's log under the scratch directory."""

IMPORTS: Final = (
    *models.IMPORTS,
    ranks.MODULE,
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
)
"""What a training imports, unless its base model is quantised."""


class LocalBackend:
    """Fine-tuning with TRL and PEFT, on the accelerator or the CPU of this machine.

    On one kind of CPU the same job gives the same bits.
    """

    def identity(self) -> dict[str, Value]:
        """``local``, and the recipe number."""
        return {"name": "local", "recipe": recipe.RECIPE}

    def identify(self, name: str, memo: Memo) -> BaseModel:
        """``tiny``, a directory if there is one, else a model of the Hugging Face Hub."""
        reference = None if Path(name).expanduser().is_dir() else hub.parse(name)
        if reference is not None:
            return hub.identify(reference, memo)
        return base.identify(name, memo.digest_file)

    def resolve(self, config: FineTuneConfig, base: BaseModel) -> dict[str, Value]:
        """Every value that decides the result: see :func:`.recipe.resolve`."""
        return recipe.resolve(config, base)

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train a model in a worker process, which dies with this one.

        Waits for a device first, in a queue with everyone who trains on it.
        """
        method = str(job.config["method"])
        rows = check_rows(job.dataset, method)
        _require_a_batch(job.config, rows)
        loaded = hub.on_disk(job.base, job.report)
        job.report("training", rows=rows)
        job.scratch.mkdir(parents=True, exist_ok=True)

        def waiting(device: str, ahead: list[str]) -> None:
            job.report(f"waiting for {device}, {len(ahead)} ahead: {', '.join(ahead)}")

        tried = memory.sizes(job.config["batch_size"], rows, method, job.devices)
        with devices.place(job.name, waiting, job.wait, count=job.devices) as place:
            if place.visible:
                host.release()  # evaluations that are over may have left models on the GPU
            outcome = memory.fit(
                lambda at_once: self._run(job, loaded, at_once, place), tried, job.report
            )
        if "refused" in outcome:
            problem = DatasetError(outcome["refused"])
            problem.row = outcome["row"]
            raise problem
        return TrainingResult(outcome["metrics"], outcome["provenance"])

    def _run(
        self, job: TrainingJob, loaded: Mapping[str, Any], at_once: int, place: devices.Place
    ) -> dict[str, Any]:
        def forward(event: dict[str, Any]) -> None:
            job.report(event.pop("event"), **event)

        locks = [*job.lock_fds, *place.descriptors]
        outcome: dict[str, Any] = run_worker(
            ranks.MODULE,
            {
                "dataset": str(job.dataset),
                "at_once": at_once,
                "devices": job.devices,
                "rank": 0,
                "lock_fds": locks,
                "config": job.config,
                "base": loaded,
                "directory": str(job.directory),
                "scratch": str(job.scratch),
                "save_seconds": job.save_seconds,
            },
            log=job.scratch / LOG,
            on_event=forward,
            lock_fds=tuple(locks),
            env={**models.OFFLINE, "CUDA_VISIBLE_DEVICES": place.visible},
            imports=() if job.config.get("quantization") else IMPORTS,
            error=TrainingError,
        )
        return outcome


def _require_a_batch(config: Mapping[str, Any], rows: int) -> None:
    if config["trainer"].get("dataloader_drop_last") and rows < config["batch_size"]:
        raise TrainingError(
            f"trainer.dataloader_drop_last leaves out a batch that is not full, and {rows} rows do "
            f"not fill one: give batch_size={rows} or less"
        )
