"""Adopting a job that was submitted elsewhere: only if it does what the key says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motools.artifacts import Dataset
from motools.cache.attempt import SUBMITTED, Attempt
from motools.cache.holding import holding
from motools.digest import SHORT
from motools.errors import BackendError, DatasetError
from motools.steps.jobs import Work, provider_at
from motools.training.provider import Describes, JobDescription, Provider

if TYPE_CHECKING:
    from motools.cache import Cache


def adopt(cache: Cache, work: Work, job_id: str, attempt: int | None = None) -> int:
    """Have a job taken up for a key by its next run; returns the number of the attempt.

    Args:
        cache: where the key belongs.
        work: the key, and what it was made of.
        job_id: the job, as its provider calls it.
        attempt: which unclear submission it came of; by default the last one, or none.

    Raises:
        BackendError: it does something else, has come to nothing, or is not needed; the
            message says in what it differs. Nothing was changed.
        BackendUnavailableError: it cannot be known.
        LeaseTimeoutError: somebody runs the key.
    """
    if work.entry is not None and not work.entry.released:
        raise _refused(work, job_id, "the cache has its model already")
    _, provider = provider_at(cache, work)
    require_same(cache, work, job_id, provider)
    with holding(cache, work.key):
        there = cache.attempts.recover(work.key)
        chosen = _unclear(work, job_id, there, attempt)
        if chosen is None:
            return cache.attempts.add(work.key, provider.account().provider, job_id)
        cache.attempts.adopt(work.key, chosen.attempt, job_id)
        return chosen.attempt


def require_same(cache: Cache, work: Work, job_id: str, provider: Provider) -> None:
    """Refuse a job that does not do what a key says, or of which that cannot be told.

    Raises:
        BackendError: it names the fields.
        BackendUnavailableError: the provider cannot be reached.
    """
    if not isinstance(provider, Describes):
        raise _refused(work, job_id, "this backend cannot say what a job was told to do")
    status = provider.poll(job_id)
    if status.phase in ("failed", "cancelled"):
        raise _refused(work, job_id, f"it has {status.phase}")
    with tempfile.TemporaryDirectory() as place:
        told = provider.describe(job_id, Path(place))
        if told.key is not None and told.key != work.key:
            raise _refused(work, job_id, f"it was submitted for {told.key[:SHORT]}")
        differences = list(_differences(cache, work.material, told, provider))
    if differences:
        raise _refused(work, job_id, "; ".join(differences))


def _differences(
    cache: Cache, wanted: Mapping[str, Any], told: JobDescription, provider: Provider
) -> Iterator[str]:
    """In what a job differs from a key, or may, one sentence each."""
    vouched = told.key is not None
    inputs, config = wanted["inputs"], wanted["config"]
    if wanted.get("replicate") and not vouched:
        yield "replicate: only what motools submitted is known to be an independent repeat"
    if provider.identify(told.base_model, cache.memo).digest != inputs["base_model"]:
        yield f"base_model: the job has {told.base_model!r}, and the key another one"
    for name, rows in (("dataset", told.dataset), ("validation", told.validation)):
        if (problem := _other_rows(cache, inputs.get(name), rows, vouched=vouched)) is not None:
            yield f"{name}: {problem}"
    for name, value in config.items():
        problem = _other_value(value, told.config, name, vouched=vouched)
        if problem is not None:
            yield f"{name}: {problem}"


def _other_rows(
    cache: Cache, wanted: str | None, found: str | Path | None, *, vouched: bool
) -> str | None:
    if found is None:
        unknown = wanted is not None and not vouched
        return "the provider no longer has the job's rows" if unknown else None
    if wanted is None:
        return "the job has one, and the key none"
    try:
        digest = _digest(cache, found)
    except DatasetError as problem:
        return f"the job's rows cannot be read ({problem})"
    if digest == wanted:
        return None
    return f"the job learns from {str(digest)[:SHORT]}, and the key from {wanted[:SHORT]}"


def _digest(cache: Cache, found: str | Path) -> str | None:
    if isinstance(found, str):
        return found
    return Dataset.from_jsonl(found).identify(cache.memo).digest


def _other_value(wanted: Any, told: Mapping[str, Any], name: str, *, vouched: bool) -> str | None:
    if name not in told:
        return None if vouched else "the provider does not say it of the job"
    found = told[name]
    if found == wanted:
        return None
    if isinstance(wanted, str) and isinstance(found, int | float):
        # The provider may have chosen it, or whoever submitted the job.
        if vouched:
            return None
        return f"the key leaves it to the provider, and the job says {found!r}: name it in a config"
    return f"the job has {found!r}, and the key {wanted!r}"


def _unclear(work: Work, job_id: str, there: list[Attempt], attempt: int | None) -> Attempt | None:
    """The submission that a job came of; None: none that is recorded."""
    for each in there:
        if each.job_id == job_id and each.is_open:
            raise _refused(work, job_id, f"it is attempt {each.attempt} already")
        if each.state == SUBMITTED:
            raise _refused(
                work, job_id, f"{each.job_id} is at work for it: `motools jobs cancel` it first"
            )
    unclear = [each for each in there if each.is_open]
    if attempt is None:
        return unclear[-1] if unclear else None
    for each in unclear:
        if each.attempt == attempt:
            return each
    raise _refused(work, job_id, f"attempt {attempt} is not one whose end is unclear")


def _refused(work: Work, job_id: str, why: str) -> BackendError:
    return BackendError(
        f"{job_id} is not adopted for {work.key[:SHORT]}: {why}. Nothing was changed"
    )
