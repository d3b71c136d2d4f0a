"""Who may call, and that nobody reaches for what is another's."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from motools.errors import SettingsError
from motools.server.accounts import VARIABLE, Accounts, is_loopback, load
from tests.server.running import Running, lines, order, rows, running, upload, wait

ALICE, BOB = "alice-token-0123456789", "bob-token-0123456789abc"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("accounts")
    with running(place / "cache", "--tokens", str(tokens_file(place))) as site:
        yield site


def tokens_file(place: Path, mode: int = 0o600) -> Path:
    path = place / "tokens.toml"
    path.write_text(f'alice = "{ALICE}"\nbob = "{BOB}"\n')
    path.chmod(mode)
    return path


def test_callers_take_turns(tmp_path: Path) -> None:
    with running(tmp_path / "cache", "--tokens", str(tokens_file(tmp_path))) as site:
        alice, bob = site.client(ALICE), site.client(BOB)
        file = upload(alice).id
        first = long(alice, file, 0)
        wait(alice, first, ("running",))
        hers = [long(alice, file, seed) for seed in (1, 2)]
        his = long(bob, upload(bob).id, 3)
        for client, job in ((alice, hers[0]), (alice, hers[1]), (bob, his)):
            wait(client, job, ("queued",))
        alice.fine_tuning.jobs.cancel(first)
        wait(bob, his, ("running",))
        assert {alice.fine_tuning.jobs.retrieve(job).status for job in hers} == {"queued"}
        bob.fine_tuning.jobs.cancel(his)
        wait(alice, hers[0], ("running",))


def test_callers_take_turns_while_files_are_read(tmp_path: Path) -> None:
    with running(tmp_path / "cache", "--tokens", str(tokens_file(tmp_path))) as site:
        alice, bob = site.client(ALICE), site.client(BOB)
        large = upload(alice, lines([*rows(30_000), {"messages": []}])).id
        hers = [order(alice, large).id for _ in range(12)]
        his = order(bob, upload(bob, lines([{"messages": []}])).id).id
        while bob.fine_tuning.jobs.retrieve(his).status != "failed":
            time.sleep(0.05)
        listed = alice.fine_tuning.jobs.list(limit=20).data
        waiting = [job for job in listed if job.status == "validating_files"]
        assert len(listed) == len(hers) and len(waiting) > 6
        for job in waiting:
            with suppress(openai.ConflictError):  # it has failed meanwhile
                alice.fine_tuning.jobs.cancel(job.id)


def long(client: openai.OpenAI, file: str, seed: int) -> str:
    """A job of a thousand steps."""
    body = {"motools": {"config": {"epochs": 500, "batch_size": 4, "seed": seed}}}
    return client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_body=body).id


def test_each_caller_has_files_jobs_and_models_of_its_own(site: Running) -> None:
    alice, bob = site.client(ALICE), site.client(BOB)
    file = upload(alice)
    job = wait(alice, order(alice, file.id).id)
    model = str(job.fine_tuned_model)
    assert model.startswith("ft:tiny:alice:")
    assert [file.id] == [each.id for each in alice.files.list(purpose="fine-tune")]
    (results,) = job.result_files
    forbidden: list[Any] = [
        lambda: bob.files.retrieve(file.id),
        lambda: bob.files.content(file.id),
        lambda: bob.files.delete(file.id),
        lambda: bob.files.content(results),
        lambda: order(bob, file.id),
        lambda: bob.fine_tuning.jobs.retrieve(job.id),
        lambda: bob.fine_tuning.jobs.cancel(job.id),
        lambda: bob.fine_tuning.jobs.pause(job.id),
        lambda: bob.fine_tuning.jobs.resume(job.id),
        lambda: bob.fine_tuning.jobs.list_events(job.id),
        lambda: bob.fine_tuning.jobs.checkpoints.list(job.id),
        lambda: bob.models.retrieve(model),
        lambda: bob.models.delete(model),
        lambda: bob.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "x"}], max_tokens=1
        ),
    ]
    for reach in forbidden:
        with pytest.raises(openai.NotFoundError):
            reach()
    assert list(bob.files.list()) == []
    assert list(bob.fine_tuning.jobs.list()) == []
    assert [each.id for each in bob.models.list()] == ["tiny"]
    with pytest.raises(openai.BadRequestError):
        bob.fine_tuning.jobs.list(after=job.id)

    same = wait(bob, order(bob, upload(bob).id).id)
    assert same.motools == {**job.motools, "hit": True}  # type: ignore[attr-defined]
    assert str(same.fine_tuned_model).startswith("ft:tiny:bob:")
    assert bob.models.delete(str(same.fine_tuned_model)).deleted
    assert alice.models.retrieve(model).id == model
    assert alice.models.retrieve(model).owned_by == "alice"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {ALICE}x",
        f"Bearer {ALICE[:-1]}",
        f"Basic {ALICE}",
        ALICE,
        "Bearer \xe9",
    ],
)
def test_without_a_token_nothing_is_answered(site: Running, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, path in (("GET", "/models"), ("POST", "/files"), ("GET", "/nothing")):
        answer = httpx.request(method, site.url + path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        site.client("wrong").models.list()


def test_health_and_description_need_no_token(site: Running) -> None:
    root = site.url.removesuffix("/v1")
    assert httpx.get(f"{root}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{root}/openapi.json").json()["paths"]
    assert httpx.get(f"{root}/docs").status_code == 200


def test_no_token_is_written_anywhere(site: Running) -> None:
    alice = site.client(ALICE)
    alice.models.list()
    httpx.get(f"{site.url}/models?api_key={ALICE}", headers={"Authorization": f"Bearer {BOB}x"})
    assert "alice GET /v1/models 200" in site.log.read_text()
    for path in (site.log, *(each for each in site.root.rglob("*") if each.is_file())):
        data = path.read_bytes()
        assert ALICE.encode() not in data, path
        assert BOB.encode() not in data, path


def test_workers_do_not_inherit_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f'{{alice = "{ALICE}"}}')
    assert load(None, "127.0.0.1").who(f"Bearer {ALICE}") == "alice"
    assert VARIABLE not in os.environ


def test_a_web_page_cannot_use_a_server_without_tokens(tmp_path: Path) -> None:
    with running(tmp_path / "cache") as site:
        assert httpx.get(f"{site.url}/models").status_code == 200
        for headers in (
            {"Origin": "https://evil.example"},
            {"Host": "evil.example"},
            {"Host": "["},
        ):
            answer = httpx.get(f"{site.url}/models", headers=headers)
            assert answer.status_code == 403
        own = site.url.removesuffix("/v1")
        assert httpx.get(f"{site.url}/models", headers={"Origin": own}).status_code == 200


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_of_tokens_is_its_owners_alone(tmp_path: Path, mode: int) -> None:
    path = tokens_file(tmp_path, mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(SettingsError, match="chmod 600"):
        load(path, "127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "lab.example"])
def test_other_machines_need_tokens(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--tokens"):
        load(None, host)
    assert len(load(tokens_file(tmp_path), host)) == 2
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_this_machine_needs_none(host: str) -> None:
    assert load(None, host).who(None) == "local"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"alice": "short"}, "at least 16"),
        ({"a:b": ALICE}, "a line is name"),
        ({"": ALICE}, "a line is name"),
        ({"alice": ALICE, "bob": ALICE}, "the same token"),
        ({"alice": 5}, "at least 16"),
        ({f"{ALICE}{ALICE}": "alice"}, "a line is name"),
    ],
)
def test_bad_tokens_are_refused_without_being_shown(tokens: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        Accounts(tokens)
    assert ALICE not in str(refused.value)


@pytest.mark.parametrize("text", ["", '# alice = "…"\n'])
def test_tokens_that_name_nobody_let_nobody_in(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="names no callers"):
        load(path, "127.0.0.1")
    monkeypatch.setenv(VARIABLE, "{}")
    with pytest.raises(SettingsError, match="names no callers"):
        load(None, "127.0.0.1")
    monkeypatch.setenv(VARIABLE, f'"{ALICE}"')
    with pytest.raises(SettingsError, match="is no table"):
        load(None, "127.0.0.1")


def test_a_damaged_file_of_tokens_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(f"alice = {ALICE}\n")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="is not TOML") as refused:
        load(path, "127.0.0.1")
    assert ALICE not in str(refused.value)
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "none.toml", "127.0.0.1")
