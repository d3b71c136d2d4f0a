"""A real S3 server, for as long as it is needed: Ceph's radosgw, with everything in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests import ceph
from tests.servers import as_somebody, await_answer, give, reachable, served, spawn

EVERYWHERE = pytest.mark.parametrize(
    "coordinator", ["sqlite", "postgresql", "postgresql-s3"], indirect=True
)
"""For what must hold whichever database coordinates, and with the bytes in a bucket."""

_KEY, _SECRET = "motools", "not-a-secret"
_START = 60.0

_CONF = """
[global]
fsid = {id}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
ms_mon_client_mode = crc
mon_initial_members = a
mon_host = v2:127.0.0.1:{port}
run_dir = {place}
admin_socket = {place}/$name.$pid.asok
log_file = {place}/$name.log
log_to_stderr = false
err_to_stderr = false
mon_cluster_log_file = /dev/null
ms_bind_ipv6 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 10000
mon_pg_warn_min_per_osd = 0
{plugins}

[mon]
mon_data = {place}/mon
mon_data_avail_crit = 0
mon_data_avail_warn = 0
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_osd_min_up_ratio = 0
mon_cluster_log_to_file = false

[osd]
osd_data = {place}/osd
osd_objectstore = memstore
memstore_device_bytes = {room}
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 2
osd_max_object_name_len = 1024
osd_max_object_namespace_len = 64

[client]
rgw_frontends = beast endpoint=127.0.0.1:{web} tcp_nodelay=1
rgw_data = {place}/rgw
rgw_thread_pool_size = 32
rgw_enable_usage_log = false
rgw_run_sync_thread = false
rgw_enable_lc_threads = false
rgw_enable_gc_threads = false
rgw_enable_quota_threads = false
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
rgw_cache_enabled = true
rgw_num_rados_handles = 1
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket, and who may use it.

    Attributes:
        endpoint: URL of the server, or of what stands before it.
        key: of a user who may make buckets.
        secret: that user's.
        name: of the bucket.
    """

    endpoint: str
    key: str
    secret: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def file_system(self, **options: Any) -> Any:
        """An s3fs that sees at once what others do."""
        return fsspec.filesystem(
            "s3", key=self.key, secret=self.secret, endpoint_url=self.endpoint,
            use_listings_cache=False, skip_instance_cache=True, **options,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """How programs are told who they are."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": "default",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


class Server:
    """One monitor, one store of objects in memory, and one gateway.

    Args:
        place: an empty directory.
        room: bytes of memory that objects may take.

    Attributes:
        endpoint: URL.
    """

    def __init__(self, place: Path, *, room: int) -> None:
        self.place = place
        self._root = ceph.root()
        if self._root != Path("/"):
            self._root = reachable(self._root, "usr/bin/radosgw", place)
        self._processes: list[subprocess.Popen[bytes]] = []
        monitor, web = _free_port(), _free_port()
        self._id = str(uuid.uuid4())
        self._conf = place / "ceph.conf"
        options = [f"{name} = {value}" for name, value in ceph.plugins(self._root).items()]
        self._conf.write_text(
            _CONF.format(
                id=self._id, port=monitor, place=place, web=web, room=room,
                plugins="\n".join(options),
            )
        )  # fmt: skip
        for folder in ("mon", "osd", "rgw"):
            (place / folder).mkdir()
            give(place / folder)
        self.endpoint = f"http://127.0.0.1:{web}"
        self._start(monitor, web)

    def _start(self, monitor: int, web: int) -> None:
        maps = self.place
        self._run("monmaptool", "--create", "--fsid", self._id, "--addv", "a",
                  f"[v2:127.0.0.1:{monitor}]", maps / "monmap")  # fmt: skip
        # With the map made by hand, nobody has to ask the monitor for a place in it.
        self._run("osdmaptool", "--createsimple", "1", maps / "osdmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", maps / "monmap",
                  "--osdmap", maps / "osdmap")  # fmt: skip
        self._spawn("ceph-mon", "-i", "a", "-f")
        self._await(monitor)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", uuid.uuid4())
        self._spawn("ceph-osd", "-i", "0", "-f")
        self._run("radosgw-admin", "user", "create", "--uid=motools", "--display-name=motools",
                  f"--access-key={_KEY}", f"--secret={_SECRET}")  # fmt: skip
        self._spawn("radosgw", "-f", "-n", "client.admin")
        self._await(web)

    def bucket(self) -> Bucket:
        """A new, empty bucket."""
        bucket = Bucket(self.endpoint, _KEY, _SECRET, f"b{uuid.uuid4().hex[:16]}")
        bucket.file_system().mkdir(bucket.name)
        return bucket

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGKILL)  # there is nothing to save
            process.wait(_START)

    def _spawn(self, program: str, *arguments: object) -> None:
        command = self._command(program, *arguments)
        self._processes.append(spawn(command, self.place / "out", **self._circumstances()))

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            self._command(program, *arguments),
            capture_output=True,
            text=True,
            timeout=_START,
            **self._circumstances(),
            **as_somebody(),
        )
        assert done.returncode == 0, f"{program}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _command(self, program: str, *arguments: object) -> list[str]:
        found = self._root / "usr" / "bin" / program
        where = str(found) if found.exists() else program
        return [where, "-c", str(self._conf), *map(str, arguments)]

    def _circumstances(self) -> dict[str, Any]:
        return {"env": {**os.environ, **ceph.libraries(self._root)}, "cwd": self.place}

    def _await(self, port: int) -> None:
        def ask() -> None:
            socket.create_connection(("127.0.0.1", port), 1).close()

        await_answer(ask, self._ended, _START)

    def _ended(self) -> str:
        """What the programs said, if one of them is no more."""
        if all(process.poll() is None for process in self._processes):
            return ""
        logs = [self.place / "out", *self.place.glob("*.log")]
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs)


def running(*, room: int = 1 << 30) -> contextlib.AbstractContextManager[Server]:
    """A server. It ends with the thread that starts it."""
    return served(lambda place: Server(place, room=room), "s3-")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
