"""A Hub on this machine: the few endpoints that huggingface_hub uses to fetch a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPO = "org/name"
TOKEN = "hf_secret"
LARGE = ".safetensors"
"""Files that end so are kept as the Hub keeps large ones, known by their SHA-256."""


@dataclass
class Hub:
    """A server of one repository.

    Attributes:
        url: for ``HF_ENDPOINT``.
        commits: their files, by name.
        refs: branches and tags.
        asked: paths that were asked for.
        alter: file names whose bytes are changed on the way.
        gated: who has not the token gets nothing.
        broken: nobody gets anything.
    """

    url: str = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    alter: set[str] = field(default_factory=set)
    gated: bool = False
    broken: bool = False

    def commit(self, directory: Path, **changed: bytes | None) -> str:
        """Take a directory's files as the newest commit of ``main``."""
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        named = {name.replace("__", "."): data for name, data in changed.items()}
        files = {n: d for n, d in {**files, **named}.items() if d is not None}
        commit = hashlib.sha1(json.dumps([len(self.commits), sorted(files)]).encode()).hexdigest()
        self.commits[commit] = files
        self.refs["main"] = commit
        return commit

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append(path)
        if self.broken:
            return 500, {}, b""
        if REPO not in path:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if self.gated and token != f"Bearer {TOKEN}":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        _, _, rest = path.partition("?")[0].partition(REPO)
        verb, revision, *names = rest.strip("/").split("/") if rest.strip("/") else ("", "main")
        commit = self.refs.get(revision, revision)
        files = self.commits.get(commit)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if verb == "resolve":
            return self._file(commit, names[0])
        if verb == "tree":
            return self._json([_listed(name, data) for name, data in sorted(files.items())])
        return self._json({"id": REPO, "modelId": REPO, "sha": commit, "tags": [], "siblings": []})

    def _file(self, commit: str, name: str) -> tuple[int, dict[str, str], bytes]:
        data = self.commits[commit].get(name)
        if data is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        listed = _listed(name, data)
        etag = listed.get("lfs", listed)["oid"]
        if name in self.alter:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, data

    def _json(self, value: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _listed(name: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(data)}
    entry["oid"] = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    if name.endswith(LARGE):
        entry["lfs"] = {
            "oid": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "pointerSize": 1,
        }
    return entry


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub that answers until the end of the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
