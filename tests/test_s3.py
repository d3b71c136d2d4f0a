"""The client of S3: who asks, where, and what becomes of requests that go wrong."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials
from hypothesis import given
from hypothesis import strategies as st

from motools.errors import SettingsError
from motools.s3 import Bucket, Place, S3Error, connections, find, multipart
from motools.s3.signing import Credentials, Request, escaped, signed
from tests import faulty, s3
from tests.faulty import CutShort, LostAnswer, Proxy

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1)


@given(
    path=st.lists(WORDS.filter(lambda word: word.strip("./")), min_size=1, max_size=3),
    query=st.dictionaries(WORDS, WORDS, max_size=3),
    body=st.binary(max_size=99),
    token=st.sampled_from(["", "a-token"]),
)
def test_requests_are_signed_as_aws_signs_them(
    path: list[str], query: dict[str, str], body: bytes, token: str
) -> None:
    whole = escaped("/" + "/".join(part.replace("/", "") or "x" for part in path))
    asked = Request("PUT", whole, query, {"host": "some.host", "if-none-match": "*"}, body)
    ours = signed(asked, Credentials("key", "secret", token), "eu-west-1")
    theirs = AWSRequest(
        "PUT", f"http://some.host{ours.target}", headers={"if-none-match": "*"}, data=body
    )
    theirs.context["timestamp"] = moment = ours.headers["x-amz-date"]
    theirs.context["payload_signing_enabled"] = True
    signer = S3SigV4Auth(TheirCredentials("key", "secret", token or None), "s3", "eu-west-1")
    theirs.headers["X-Amz-Date"] = moment
    theirs.headers["X-Amz-Content-SHA256"] = ours.headers["x-amz-content-sha256"]
    if token:
        theirs.headers["X-Amz-Security-Token"] = token
    text = signer.string_to_sign(theirs, signer.canonical_request(theirs))
    assert ours.headers["authorization"].endswith(signer.signature(text, theirs))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """AWS's two files, empty, and an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have AWS's library, which takes long to load, not be asked."""
    monkeypatch.setattr("motools.s3.place._asked_of_aws", None)


def test_the_environment_goes_before_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_aws(monkeypatch)
    (files / "credentials").write_text(
        "[default]\naws_access_key_id = filed\naws_secret_access_key = s3cret\n"
    )
    (files / "config").write_text(
        "[default]\nregion = eu-west-1\n[profile other]\nendpoint_url = http://there\n"
    )
    place = find()
    assert (place.region, place.endpoint) == ("eu-west-1", "")
    assert place.asker() == Credentials("filed", "s3cret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "told")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://here")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    place = find()
    assert (place.region, place.endpoint) == ("us-west-2", "http://here")
    assert place.asker() == Credentials("told", "x")
    assert find("http://set", "far").endpoint == "http://set"
    assert find("http://set", "far").region == "far"


def test_a_profile_that_is_named_goes_before_the_environment(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_aws(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "told")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    (files / "config").write_text("[profile lab]\nendpoint_url = http://lab\nregion = r\n")
    (files / "credentials").write_text(
        "[lab]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = c\n"
    )
    place = find(profile="lab")
    assert (place.endpoint, place.region) == ("http://lab", "r")
    assert place.asker() == Credentials("a", "b", "c")


def test_what_is_not_plain_is_left_to_aws(files: Path) -> None:
    (files / "made").write_text(
        '{"Version": 1, "AccessKeyId": "made", "SecretAccessKey": "b", "SessionToken": "c"}'
    )
    (files / "config").write_text(
        f"[profile lab]\nservices = ours\nregion = r\ncredential_process = cat {files}/made\n"
        "[services ours]\ns3 =\n  endpoint_url = http://lab\n"
    )
    place = find(profile="lab")
    assert (place.endpoint, place.region) == ("http://lab", "r")
    assert place.asker() == Credentials("made", "b", "c")


def test_who_cannot_be_told_is_an_error(files: Path) -> None:
    with pytest.raises(SettingsError, match="nobody"):
        find(profile="nobody")
    with pytest.raises(SettingsError, match="AWS_PROFILE"):
        find()


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """A server that sends requests of another region away."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if "/eu-south-1/" in self.headers["authorization"]:
            return self._answer(200, b"here", {})
        return self._answer(
            400, b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>",
            {"x-amz-bucket-region": "eu-south-1"},
        )  # fmt: skip

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_bucket_says_where_it_is() -> None:
    with served(_Elsewhere) as endpoint:
        bucket = Bucket("b", Place(endpoint, "us-east-1", lambda: Credentials("k", "s")))
        assert bucket.read("x") == b"here"


class _Slow(_Elsewhere):
    """A server at the end of a slow line."""

    def do_PUT(self) -> None:
        left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 19)))
            time.sleep(0.1)
        self._answer(200, b"", {})


def test_a_slow_line_is_not_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motools.s3.connections._SILENCE", 2.0)
    monkeypatch.setattr("motools.s3.connections.ATTEMPTS", 1)
    with served(_Slow) as endpoint:
        bucket = Bucket("b", Place(endpoint, "r", lambda: Credentials("k", "s")))
        bucket.write("x", bytes(16 << 20))


class _Closing(_Elsewhere):
    """A server that ends each connection with its answer."""

    def do_GET(self) -> None:
        good = self.path.startswith("/b/x")
        status, body = (200, b"here") if good else (404, b"<Error><Code>NoSuchKey</Code></Error>")
        self._answer(status, body, {"connection": "close"})


def test_a_connection_that_the_server_ends_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened again behind our back, it would be given up after a shorter silence."""
    answered = http.client.HTTPConnection.getresponse
    silences = []

    def getresponse(self: http.client.HTTPConnection) -> http.client.HTTPResponse:
        silences.append(self.sock.gettimeout())
        return answered(self)

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", getresponse)
    with served(_Closing) as endpoint:
        bucket = Bucket("b", Place(endpoint, "us-east-1", lambda: Credentials("k", "s")))
        for _ in range(2):
            assert bucket.read("x") == b"here"
            assert bucket.read("y") is None
    assert set(silences) == {connections._SILENCE}


@pytest.mark.parametrize("endpoint", ["http://user:secret@host:1", "https://secret@host"])
def test_an_endpoint_holds_no_credentials(
    files: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with pytest.raises(SettingsError, match=r"s3\.endpoint") as refused:
        find(endpoint)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL") as refused:
        find()
    assert "secret" not in str(refused.value)


@pytest.fixture
def proxy(bucket: s3.Bucket) -> Iterator[Proxy]:
    with faulty.before(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def objects(bucket: s3.Bucket, proxy: Proxy) -> Bucket:
    return Bucket(bucket.name, find(proxy.endpoint))


def test_names_of_any_kind(objects: Bucket) -> None:
    for name in ("a b", "ü/~x", "a+b&c=d", "100%", "<&>"):
        objects.write(name, name.encode())
        assert objects.read(name) == name.encode()
        assert [item.name for item in objects.items(name)] == [name]


def test_connections_are_kept_and_do_not_cross_a_fork(objects: Bucket) -> None:
    objects.write("a", b"before")
    child = os.fork()
    if not child:
        good = objects.read("a") == b"before"
        objects.write("b", b"from the child")
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert objects.read("b") == b"from the child"


def test_a_connection_that_was_ended_while_idle_costs_no_attempt(
    objects: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.write("a", b"x")
    monkeypatch.setattr("motools.s3.connections.ATTEMPTS", 1)
    proxy.hang_up()
    assert objects.read("a") == b"x"


def test_a_part_is_asked_for_again_where_it_broke_off(objects: Bucket, proxy: Proxy) -> None:
    data = os.urandom(3 * (8 << 20) + 5)
    objects.write("a", data)
    proxy.requests.clear()
    proxy.fail(CutShort(), "GET", times=2)
    pieces = objects.stream("a", 3, 2)
    assert pieces is not None
    assert b"".join(pieces) == data[3:]
    assert proxy.count("GET") == 4 + 2


def test_an_object_that_is_replaced_while_it_is_read(objects: Bucket) -> None:
    objects.write("a", bytes(9 << 20))
    pieces = objects.stream("a", 0, 1)
    assert pieces is not None
    next(pieces)
    objects.write("a", b"1" * (9 << 20))
    with pytest.raises(S3Error, match="412"):
        next(pieces)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """The smallest that a server takes."""
    monkeypatch.setattr(multipart, "PART", 5 << 20)
    return 5 << 20


def test_an_upload_goes_on_where_it_stopped(
    objects: Bucket, proxy: Proxy, small_parts: int, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(6 * small_parts + 9))
    proxy.fail(CutShort(), "PUT", "partNumber=5", times=9)
    with pytest.raises(S3Error):
        multipart.send(objects, "a", tmp_path / "file")
    [upload] = multipart.uploads(objects, "")
    there = multipart.stored(objects, upload) // small_parts
    assert there >= 3
    proxy.heal()
    proxy.requests.clear()
    multipart.send(objects, "a", tmp_path / "file")
    assert proxy.count("PUT") <= 7 - there
    assert objects.read("a") == data
    assert not list(multipart.uploads(objects, ""))


def test_an_upload_of_other_bytes_is_not_gone_on_with(
    objects: Bucket, proxy: Proxy, small_parts: int, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(2 * small_parts))
    proxy.fail(CutShort(), "POST", "uploadId", times=9)
    with pytest.raises(S3Error):
        multipart.send(objects, "a", tmp_path / "file")
    proxy.heal()
    (tmp_path / "file").write_bytes(data := os.urandom(2 * small_parts))
    multipart.send(objects, "a", tmp_path / "file")
    assert objects.read("a") == data


def test_two_who_send_the_same_at_once(
    objects: Bucket, small_parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both go on with one upload, and the slower finds it completed."""
    (tmp_path / "file").write_bytes(data := os.urandom(2 * small_parts))
    complete = multipart._complete

    def slower(bucket: Bucket, upload: multipart.Upload, etags: list[str]) -> None:
        monkeypatch.setattr(multipart, "_complete", complete)
        multipart.send(bucket, "a", tmp_path / "file")
        complete(bucket, upload, etags)

    monkeypatch.setattr(multipart, "_complete", slower)
    multipart.send(objects, "a", tmp_path / "file")
    assert objects.read("a") == data
    assert not list(multipart.uploads(objects, ""))


def test_an_upload_that_is_ended_is_gone(
    objects: Bucket, proxy: Proxy, small_parts: int, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(os.urandom(2 * small_parts))
    proxy.fail(CutShort(), "POST", "uploadId", times=9)
    with pytest.raises(S3Error):
        multipart.send(objects, "a", tmp_path / "file")
    proxy.heal()
    [upload] = multipart.uploads(objects, "")
    proxy.fail(LostAnswer(), "DELETE")
    assert multipart.abandon(objects, upload) is False, "the first attempt had done it"
    assert not list(multipart.uploads(objects, ""))
    assert objects.look("a") is None


def test_what_is_too_large_for_one_request_is_copied_in_parts(
    objects: Bucket, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "_COPIED", small_parts)
    objects.write("a", data := os.urandom(3 * small_parts + 1))
    assert multipart.copy(objects, "a", "b", len(data))
    assert objects.read("b") == data
    assert not multipart.copy(objects, "no", "c", 1)
    assert not list(multipart.uploads(objects, ""))
