"""A server's tables in either database that coordinates a cache."""

from __future__ import annotations

import signal
from pathlib import Path

from motools.cache import Cache
from tests import postgresql
from tests.server.running import order, running, upload, wait


@postgresql.BOTH
def test_jobs_outlive_their_server(coordinator: str, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with running(root) as site:
        client = site.client()
        kept = upload(client)
        job = order(client, kept.id, metadata={"a": "b"}, suffix="x").id
        client.fine_tuning.jobs.pause(job)
        bad = order(client, upload(client, b"no rows\n").id, metadata={"a": "c"}).id
        assert wait(client, bad).status == "failed"
        deleted = upload(client).id
        client.files.delete(deleted)
        assert site.end(signal.SIGKILL) == -signal.SIGKILL
    with running(root) as site:
        client = site.client()
        assert client.files.content(kept.id).read()
        assert [each.id for each in client.fine_tuning.jobs.list(metadata={"a": "b"})] == [job]
        assert [each.id for each in client.fine_tuning.jobs.list(limit=1)] == [bad, job]
        assert client.fine_tuning.jobs.resume(job).status in ("queued", "validating_files")
        done = wait(client, job)
        assert done.status == "succeeded"
        assert client.models.retrieve(str(done.fine_tuned_model)).owned_by == "local"
        told = [each.message for each in client.fine_tuning.jobs.list_events(job, limit=3)]
        assert told[-1] == f"Created fine-tuning job: {job}"
        assert client.models.delete(str(done.fine_tuned_model)).deleted
    cache = Cache.open(root)
    assert len(cache.entries("model")) == 1
    cache.close()
