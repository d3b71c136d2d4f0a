"""Uploads that are malformed, too large, or given up half way."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from motools.cache.reindex import reindex
from tests.server.running import Running, lines, order, rows, running, upload, wait

MEGABYTE = 10**6
EDGE = "--edge"
HEAD = {"Content-Type": "multipart/form-data; boundary=edge"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("uploads") / "cache", "--max-upload", "1") as site:
        yield site


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'{EDGE}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"


PURPOSE = part("purpose", b"fine-tune")
FILE = part("file", lines(rows(1)), "a.jsonl")
END = f"{EDGE}--\r\n".encode()


def post(site: Running, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(f"{site.url}/files", content=body, headers=headers or HEAD)


def left(site: Running) -> set[str]:
    """Files that the server has, and what is being written."""
    folder = site.root / "server"
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends in the middle"),
        (b"no form at all", "not a multipart form"),
        (PURPOSE + FILE, "ends in the middle"),
        (FILE[:-20], "ends in the middle"),
        (PURPOSE + END, "'file' is missing"),
        (FILE + END, "purpose is None"),
        (part("purpose", b"batch") + FILE + END, "purpose is 'batch'"),
        (PURPOSE + FILE + FILE + END, "two files"),
        (PURPOSE + part("file", b"", "a") + END, "is empty"),
        (PURPOSE + part("expires_after[anchor]", b"created_at") + FILE + END, "unknown field"),
        (part("x", b"y" * 5000) + PURPOSE + FILE + END, "too long"),
        (part("x", b"y") * 20 + PURPOSE + FILE + END, "more than 16"),
        (f"{EDGE}\r\n".encode() + b"X: " + b"y" * 100_000, "not a multipart form"),
    ],
)
def test_a_malformed_form_is_refused_and_leaves_nothing(
    site: Running, body: bytes, said: str
) -> None:
    before = left(site)
    answer = post(site, body)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    assert left(site) == before


def opened(site: Running) -> list[str]:
    """What the server has open."""
    found = []
    for descriptor in Path(f"/proc/{site.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 300}",
        "",
    ],
)
def test_a_body_that_is_no_form_is_refused(site: Running, kind: str) -> None:
    answer = post(site, PURPOSE + FILE + END, {"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert not [path for path in opened(site) if path.startswith(str(site.root / "server/uploads"))]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\windows\\rows.jsonl", "rows.jsonl"),
        ("/etc/cron.d/x", "x"),
        ("..", ".."),
        ("", "upload.jsonl"),
        ("a\x1b]0;owned\x07b.jsonl", "a_]0;owned_b.jsonl"),
        ("a\x9b31mb\u202elnosj.x", "a_31mb_lnosj.x"),
        ("x" * 1000, "x" * 255),
        ("r\u00e9sum\u00e9 \u6c34.jsonl", "r\u00e9sum\u00e9 \u6c34.jsonl"),
    ],
)
def test_a_name_is_only_shown(site: Running, name: str, shown: str) -> None:
    answer = post(site, PURPOSE + part("file", lines(rows(1)), name) + END)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["filename"] == shown
    (kept,) = (site.root / "server" / "files").glob(found["id"])
    assert kept.read_bytes() == lines(rows(1))
    assert site.client().files.delete(found["id"]).deleted
    assert not kept.exists()


def test_ids_are_no_paths(site: Running) -> None:
    for name in ("../files", "..%2f..%2fmotools.json", "%00", ".", "file-%ff"):
        answer = httpx.get(f"{site.url}/files/{name}/content")
        assert answer.status_code in (400, 404), (name, answer.text)
        assert answer.json()["error"]["message"]


def test_a_file_up_to_the_limit_is_taken(site: Running) -> None:
    client = site.client()
    made = upload(client, b"x" * MEGABYTE)
    assert client.files.content(made.id).read() == b"x" * MEGABYTE
    client.files.delete(made.id)


def test_a_file_over_the_limit_is_cut_off_and_leaves_nothing(site: Running) -> None:
    before = left(site)
    with pytest.raises(openai.APIStatusError) as refused:
        upload(site.client(), b"x" * (MEGABYTE + 1))
    assert refused.value.status_code == 413
    assert refused.value.code == "file_too_large"
    with pytest.raises(openai.APIStatusError) as refused:
        upload(site.client(), b"x" * (3 * MEGABYTE))
    assert refused.value.status_code == 413
    assert left(site) == before


def test_ten_gigabytes_are_not_waited_for(site: Running) -> None:
    """Sent without saying how much it will be."""
    before, sent = left(site), 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield PURPOSE + part("file", b"", "a.jsonl")[:-2]
        while sent < 10 * 10**9:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    assert post(site, endless()).status_code == 413
    assert sent < 100 * MEGABYTE
    assert left(site) == before
    assert site.client().models.list().data


def test_an_upload_that_is_given_up_leaves_nothing(site: Running) -> None:
    before, where = left(site), urlsplit(site.url)
    with socket.create_connection((where.hostname, where.port)) as wire:
        head = f"POST /v1/files HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 900000\r\n"
        wire.sendall(f"{head}Content-Type: {HEAD['Content-Type']}\r\n\r\n".encode())
        wire.sendall(PURPOSE + part("file", b"x" * 300_000, "a.jsonl"))
        deadline = time.monotonic() + 60
        while left(site) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    deadline = time.monotonic() + 60
    while left(site) != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        b'{"model": "tiny", "training_file": "\\ud800"}',
        b'{"model": "\\u0000", "training_file": "x"}',
        b'{"model": NaN, "training_file": "x"}',
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"model": "tiny", "training_file": "x", "seed": 1e400}',
    ],
)
def test_a_body_that_is_no_order_is_refused(site: Running, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{site.url}/fine_tuning/jobs", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_half_a_surrogate_pair_in_a_name_is_refused(site: Running) -> None:
    body = b'{"model": "tiny", "config": {"trainer": {"\\ud800": 1}}}'
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{site.url}/motools/resolve", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert "\\ud800" in answer.json()["error"]["message"]


def test_a_large_body_is_refused(site: Running) -> None:
    text = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "x" * 9_000_000}]})
    headers = {"Content-Type": "application/json"}
    url = f"{site.url}/chat/completions"
    assert httpx.post(url, content=text, headers=headers).status_code == 413

    def unsaid() -> Iterator[bytes]:
        yield text.encode()

    assert httpx.post(url, content=unsaid(), headers=headers).status_code == 413


def test_what_is_no_http_harms_nobody(site: Running) -> None:
    where = urlsplit(site.url)
    for data in (b"\x00" * 1000, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000):
        with socket.create_connection((where.hostname, where.port)) as wire:
            wire.sendall(data)
            with suppress(ConnectionError), wire.makefile("rb") as answer:
                assert b" 400 " in answer.readline()
    connection = http.client.HTTPConnection(str(where.netloc))
    connection.request("DELETE", "/v1/files")
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error"]["type"]) == (405, "invalid_request_error")


def test_altered_bytes_are_not_served(site: Running) -> None:
    client = site.client()
    made = upload(client)
    path = site.root / "server" / "files" / made.id
    data = path.read_bytes()
    os.chmod(path, 0o600)
    path.write_bytes(data.replace(b"yes", b"nay"))
    with pytest.raises(openai.InternalServerError, match="upload it again"):
        client.files.content(made.id)
    job = wait(client, order(client, made.id).id)
    assert job.status == "failed"
    assert job.error is not None
    assert "upload it again" in job.error.message
    client.files.delete(made.id)


def test_what_an_earlier_server_left_half_done_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with running(root) as site:
        kept = upload(site.client()).id
    (root / "server" / "uploads" / "half").write_bytes(b"x")
    (root / "server" / "files" / "file-without-a-row").write_bytes(b"x")
    with running(root) as site:
        assert left(site) == {kept}
        assert [each.id for each in site.client().files.list()] == [kept]


def test_uploads_of_a_database_that_is_gone_are_put_aside(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with running(root) as site:
        kept = upload(site.client()).id
    (root / "cache.db").unlink()
    reindex(root)
    for _ in range(2):  # no later start takes them for what was left half done
        with running(root) as site:
            assert left(site) == {kept}
            assert site.client().files.list().data == []
    (aside,) = (root / "server").glob("files-without-a-row-*")
    assert [path.name for path in aside.iterdir()] == [kept]
    assert str(aside) in site.log.read_text()
