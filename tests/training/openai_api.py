"""An API that speaks OpenAI's fine-tuning protocol over real HTTP, its state in memory.

::

    with openai_api.running() as api:
        backend = OpenAIBackend(base_url=api.url, api_key_env="KEY", finds=True)
        api.fault(Refused(429, {"retry-after": "7"}), "POST", "/fine_tuning/jobs")
        ...
        assert api.count("POST", "/fine_tuning/jobs") == 1

A job goes one step of its ``course`` on each time it is asked after.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

SECRET = "sk-secret-of-the-tests"
SNAPSHOT = "gpt-4.1-nano-2025-04-14"
COURSE = ("validating_files", "queued", "running", "succeeded")
LOSSES = (3.0, 2.0, 1.0)
_ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Refused:
    """The answer is an error; with ``done`` although the request was carried out."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    done: bool = False
    said: str = ""


@dataclass(frozen=True)
class Dropped:
    """The connection ends instead of an answer; with ``done`` the request was carried out."""

    done: bool = False


@dataclass(frozen=True)
class Said:
    """The answer is this instead, as from a gateway that speaks another protocol."""

    body: bytes
    done: bool = False


Fault: TypeAlias = Refused | Dropped | Said


@dataclass(frozen=True)
class Request:
    """What was asked; ``body`` is JSON, or the parts of a form by name."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class Problem(Exception):
    """An error of the protocol."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OpenAIAPI:
    """The state of an API. It may be changed at any time.

    Attributes:
        url: what a client is given as ``base_url``.
        secret: the only key that is let in.
        organization, project: whose account it is, as said in the headers of every answer;
            an empty one is not said.
        course: the status of a new job, at first and each time that it is asked after.
        files, jobs, models, contents, events: what is there, by id; events the oldest first.
        unlisted: ids of jobs that lists lack.
        filters: whether lists of jobs heed the metadata that is asked for.
        requests: all that were carried out or not.
        reply: what a model says to messages.
    """

    def __init__(self) -> None:
        self.url = ""
        self.secret = SECRET
        self.organization = "org-tests"
        self.project = "proj-tests"
        self.course: tuple[str, ...] = COURSE
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.unlisted: set[str] = set()
        self.filters = True
        self.requests: list[Request] = []
        self.reply: Callable[[str, list[dict[str, Any]]], str] = lambda model, messages: "Hello!"
        self._ahead: dict[str, list[str]] = {}
        self._faults: list[tuple[Refused | Dropped, str, re.Pattern[str], list[int]]] = []
        self._seconds = itertools.count(1_800_000_000)
        self._lock = threading.Lock()
        self.add_model(SNAPSHOT)

    def fault(self, fault: Fault, method: str, path: str, times: int = 1) -> None:
        """Have the next requests go wrong whose method is this and whose path fits wholly."""
        self._faults.append((fault, method, re.compile(path), [times]))

    def count(self, method: str, path: str) -> int:
        """How many requests there were."""
        return sum(r.method == method and r.path == path for r in self.requests)

    def add_model(self, name: str, **more: Any) -> None:
        """Have a model there; ``shutdown_date`` says until when."""
        made = {"id": name, "object": "model", "created": next(self._seconds), "owned_by": "tests"}
        self.models[name] = made | more

    def move(self, job_id: str, status: str, **more: Any) -> None:
        """Have a job in a status from now on."""
        job = self.jobs[job_id]
        job |= {"status": status} | more
        self._say(job_id, f"the job is {status}")
        if status == "running":
            for step, loss in enumerate(LOSSES, 1):
                data = {"step": step, "total_steps": len(LOSSES), "train_loss": loss}
                self._say(job_id, f"Step {step}: training loss={loss}", data)
        if status in _ENDED:
            self._ahead[job_id] = []
            job["finished_at"] = next(self._seconds)
        if status == "failed" and not job["error"]:
            job["error"] = {"code": "server_error", "message": "it did not work", "param": None}
        if status == "succeeded":
            job["fine_tuned_model"] = f"ft:{job['model']}:tests:{job['suffix'] or ''}:{job_id}"
            job["trained_tokens"] = len(self.contents[job["training_file"]])
            self.add_model(job["fine_tuned_model"])

    def carry_out(self, request: Request) -> Any:
        """The answer to a request."""
        if request.headers.get("authorization") != f"Bearer {self.secret}":
            raise Problem(401, "Incorrect API key provided.", "invalid_api_key")
        for method, path, answer in _ROUTES:
            found = re.fullmatch(path, request.path)
            if found and method == request.method:
                return answer(self, request, *found.groups())
        raise Problem(404, f"Invalid URL ({request.method} {request.path})")

    def take(self, request: Request) -> tuple[int, Mapping[str, str], bytes] | None:
        """Status, headers and body of an answer; None: the connection is to be dropped."""
        with self._lock:
            self.requests.append(request)
            fault = self._fault_of(request)
            try:
                if fault is not None and not fault.done:
                    raise Problem(0, "")
                answer = self.carry_out(request)
                status, headers = 200, {}
            except Problem as problem:
                status, headers, answer = problem.status, {}, _error(problem)
            if isinstance(fault, Dropped):
                return None
            if isinstance(fault, Said):
                return 200, {"content-type": "application/json"}, fault.body
            if fault is not None:
                status, headers = fault.status, dict(fault.headers)
                answer = _error(Problem(status, fault.said or f"a fault: {status}", fault.code))
            if self.organization:
                headers |= {"openai-organization": self.organization}
            if self.project:
                headers |= {"openai-project": self.project}
            return status, headers, answer if isinstance(answer, bytes) else _json(answer)

    def _fault_of(self, request: Request) -> Fault | None:
        for fault, method, path, left in self._faults:
            if left[0] and method == request.method and path.fullmatch(request.path):
                left[0] -= 1
                return fault
        return None

    def _say(self, job_id: str, message: str, data: Any = None) -> None:
        self.events[job_id].append(
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{job_id}-{len(self.events[job_id])}",
                "created_at": next(self._seconds),
                "level": "info",
                "message": message,
                "type": "message" if data is None else "metrics",
                "data": data,
            }
        )

    # What is answered

    def _create_file(self, request: Request) -> Any:
        name, content = request.body["file"]
        made = {
            "id": f"file-{len(self.contents) + 1}",
            "object": "file",
            "bytes": len(content),
            "created_at": next(self._seconds),
            "filename": name,
            "purpose": request.body["purpose"][1].decode(),
            "status": "processed",
        }
        self.files[made["id"]], self.contents[made["id"]] = made, content
        return made

    def _list_files(self, request: Request) -> Any:
        purpose = request.query.get("purpose")
        return _page([f for f in self.files.values() if purpose in (None, f["purpose"])], request)

    def _create_job(self, request: Request) -> Any:
        asked = request.body
        if asked["training_file"] not in self.files:
            raise Problem(400, f"invalid training_file: {asked['training_file']}")
        job_id = f"ftjob-{len(self.jobs) + 1}"
        method = asked.get("method") or {"type": "supervised", "supervised": {}}
        job = {
            "object": "fine_tuning.job",
            "id": job_id,
            "created_at": next(self._seconds),
            "organization_id": self.organization,
            "hyperparameters": method[method["type"]].get("hyperparameters", {}),
            "method": method,
            "seed": asked.get("seed", 0),
            "status": "",
            "result_files": [],
            **dict.fromkeys(("error", "fine_tuned_model", "finished_at", "trained_tokens")),
            **{name: asked.get(name) for name in ("model", "training_file", "validation_file")},
            **{name: asked.get(name) for name in ("suffix", "metadata")},
        }
        self.jobs[job_id], self.events[job_id] = job, []
        first, *self._ahead[job_id] = self.course
        self.move(job_id, first)
        return job

    def _list_jobs(self, request: Request) -> Any:
        wanted = {
            found[1]: value
            for name, value in request.query.items()
            if self.filters and (found := re.fullmatch(r"metadata\[(.+)\]", name))
        }
        listed = [
            job
            for job in self.jobs.values()
            if job["id"] not in self.unlisted and wanted.items() <= (job["metadata"] or {}).items()
        ]
        return _page(listed[::-1], request)

    def _get_job(self, _: Request, job_id: str) -> Any:
        job = _one(self.jobs, job_id)
        if self._ahead[job_id]:
            self.move(job_id, self._ahead[job_id].pop(0))
        return job

    def _cancel_job(self, _: Request, job_id: str) -> Any:
        job = _one(self.jobs, job_id)
        if job["status"] in _ENDED:
            raise Problem(400, f"{job_id} has {job['status']} and cannot be cancelled")
        self.move(job_id, "cancelled")
        return job

    def _list_events(self, request: Request, job_id: str) -> Any:
        _one(self.jobs, job_id)
        return _page(self.events[job_id][::-1], request)

    def _complete(self, request: Request) -> Any:
        name, messages = request.body["model"], request.body["messages"]
        _one(self.models, name)
        said = {"role": "assistant", "content": self.reply(name, messages)}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": next(self._seconds),
            "model": name,
            "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("POST", "/files", OpenAIAPI._create_file),
    ("GET", "/files", OpenAIAPI._list_files),
    ("GET", "/files/([^/]+)", lambda api, _, name: _one(api.files, name)),
    ("DELETE", "/files/([^/]+)", lambda api, _, name: _gone(api.files, name)),
    ("DELETE", "/models/([^/]+)", lambda api, _, name: _gone(api.models, name)),
    ("GET", "/files/([^/]+)/content", lambda api, _, name: _one(api.contents, name)),
    ("POST", "/fine_tuning/jobs", OpenAIAPI._create_job),
    ("GET", "/fine_tuning/jobs", OpenAIAPI._list_jobs),
    ("GET", "/fine_tuning/jobs/([^/]+)", OpenAIAPI._get_job),
    ("POST", "/fine_tuning/jobs/([^/]+)/cancel", OpenAIAPI._cancel_job),
    ("GET", "/fine_tuning/jobs/([^/]+)/events", OpenAIAPI._list_events),
    ("GET", "/models", lambda api, request: _page(list(api.models.values()), request)),
    ("GET", "/models/([^/]+)", lambda api, _, name: _one(api.models, name, "model_not_found")),
    ("POST", "/chat/completions", OpenAIAPI._complete),
]


def _one(things: Mapping[str, Any], name: str, code: str | None = None) -> Any:
    if name not in things:
        raise Problem(404, f"there is no {name!r}", code)
    return things[name]


def _gone(things: dict[str, Any], name: str) -> Any:
    found = _one(things, name)
    del things[name]
    return {"id": name, "object": found["object"], "deleted": True}


def _page(things: list[dict[str, Any]], request: Request) -> Any:
    """So many as were asked for, after the one that was named."""
    limit, after = int(request.query.get("limit", 20)), request.query.get("after")
    ids = [thing["id"] for thing in things]
    start = 0 if after is None else ids.index(after) + 1
    return {
        "object": "list",
        "data": things[start : start + limit],
        "has_more": start + limit < len(things),
    }


def _error(problem: Problem) -> Any:
    said = {"message": str(problem), "type": "error", "param": None, "code": problem.code}
    return {"error": said}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _form(kind: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Name to file name and content of the parts of a form."""
    parts = {}
    boundary = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = dict(re.findall(r'(\w+)="([^"]*)"', head.decode()))
        parts[names["name"]] = names.get("filename", ""), content.removesuffix(b"\r\n")
    return parts


@contextlib.contextmanager
def running() -> Iterator[OpenAIAPI]:
    """An API on loopback, until the block ends."""
    api = OpenAIAPI()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            asked = urlsplit(self.path)
            body: Any = self.rfile.read(int(self.headers.get("content-length", 0)))
            kind = self.headers.get("content-type", "")
            if kind.startswith("multipart/"):
                body = _form(kind, body)
            elif body:
                body = json.loads(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            path, query = unquote(asked.path).removeprefix("/v1"), dict(parse_qsl(asked.query))
            answer = api.take(Request(self.command, path, query, headers, body))
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        api.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield api
        finally:
            server.shutdown()
