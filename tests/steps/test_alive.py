"""A model that lives at a provider can die: what is asked, when, and what follows."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from motools.artifacts import Model
from motools.cache import Action, Cache, Entry
from motools.cache.marks import PIN
from motools.cache.reindex import reindex
from motools.errors import BackendUnavailableError, ReleasedError
from motools.steps import alive
from motools.tasks.perform import perform
from tests.training.lab import opened, training
from tests.training.openai_api import OpenAIAPI, Refused

ALWAYS = {"revalidate_hours": 0.0}


def trained(cache: Cache, seed: int = 0) -> Entry:
    model, _ = perform(training(seed), cache)
    assert model.key is not None
    return cache.entry(model.key)


def path_of(entry: Entry) -> str:
    assert entry.remote is not None
    return f"/models/{entry.remote.id}"


def evaluated(cache: Cache, model: Model) -> Entry:
    """Something that was made of a model."""
    assert model.digest is not None
    action = Action("eval", inputs={"model": model.digest})
    return cache.get_or_run(action, lambda context: {"scores": {}})


def test_a_model_that_was_just_made_is_not_asked_after(api: OpenAIAPI) -> None:
    cache = opened()
    entry = trained(cache)
    asked = api.count("GET", path_of(entry))
    assert asked == 1
    assert perform(training(), cache)[1]
    assert api.count("GET", path_of(entry)) == asked
    assert entry.cost == len(api.contents["file-1"])


def test_after_its_time_an_answer_is_asked_for_again_once(api: OpenAIAPI) -> None:
    cache = opened()
    entries = [trained(cache, seed) for seed in range(3)]
    before = len(api.requests)
    alive.checked(cache, entries, hours=0.0)
    assert len(api.requests) - before == 3
    alive.checked(cache, entries, hours=1.0)
    assert len(api.requests) - before == 3


def test_a_cache_that_forgot_asks(api: OpenAIAPI) -> None:
    """What comes from a colleague has not been asked after here."""
    cache = opened()
    entry = trained(cache)
    with cache.database.write() as transaction:
        transaction.run("DELETE FROM memos")
    perform(training(), cache)
    assert api.count("GET", path_of(entry)) == 2


def test_a_retired_model_is_released_and_what_was_made_of_it_stays(api: OpenAIAPI) -> None:
    cache = opened(**ALWAYS)
    model, _ = perform(training(), cache)
    scored = evaluated(cache, model)
    del api.models[model.remote.id]
    cache.marks.set(model.key, PIN)  # which keeps nothing that is at a provider
    again, hit = perform(training(), cache)
    assert (again, hit) == (model, True)
    entry = cache.entry(model.key)
    assert entry.released
    assert "retired or deleted at the provider, as it said on 20" in alive.why_released(
        cache, entry
    )
    assert evaluated(cache, again).hit and evaluated(cache, again).key == scored.key
    asked = len(api.requests)
    perform(training(), cache)
    assert len([r for r in api.requests[asked:] if r.path.startswith("/models")]) == 0


def test_a_step_that_needs_a_retired_model_names_the_cost_of_another(api: OpenAIAPI) -> None:
    cache = opened(**ALWAYS)
    entry = trained(cache)
    alive.require_there(cache, entry)
    del api.models[entry.remote.id]
    with pytest.raises(ReleasedError, match=rf"again takes \d+ s and {entry.cost:,.2f} in money"):
        alive.require_there(cache, entry)


def test_without_a_price_the_cost_is_unknown(
    api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTOOLS_PRICES", "{}")
    entry = trained(opened())
    assert entry.cost is None
    assert "an unknown sum of money" in alive.remaking(entry)


def test_refresh_makes_a_retired_model_again(api: OpenAIAPI) -> None:
    cache = opened(**ALWAYS)
    first = trained(cache)
    del api.models[first.remote.id]
    assert perform(training(), cache)[1]
    model, hit = perform(training(), cache, refresh=True)
    assert not hit and model.remote != first.remote
    assert len(api.jobs) == 2
    assert not cache.entry(first.key).released
    assert perform(training(), cache) == (model, True)


def test_the_reason_survives_the_database(api: OpenAIAPI) -> None:
    cache = opened(**ALWAYS)
    entry = trained(cache)
    del api.models[entry.remote.id]
    perform(training(), cache)
    cache.close()
    for file in cache.root.glob("cache.db*"):
        file.unlink()
    reindex(cache.root)
    found = opened().entry(entry.key)
    assert found.released
    assert "at the provider" in alive.why_released(opened(), found)


@pytest.mark.parametrize("status", [400, 401, 403, 410, 500, 503])
def test_an_answer_that_does_not_tell_is_an_error(api: OpenAIAPI, status: int) -> None:
    cache = opened(**ALWAYS)
    entry = trained(cache)
    api.fault(Refused(status, {"x-should-retry": "false"}), "GET", path_of(entry))
    with pytest.raises(BackendUnavailableError, match="is there still is not known"):
        perform(training(), cache)
    assert not cache.entry(entry.key).released
    assert perform(training(), cache)[1]


def test_not_there_in_another_account_says_nothing(api: OpenAIAPI) -> None:
    cache = opened(**ALWAYS)
    entry = trained(cache)
    del api.models[entry.remote.id]
    api.project = "proj-other"
    with pytest.raises(BackendUnavailableError, match="nothing is known"):
        alive.is_there(cache, entry)
    assert not cache.entry(entry.key).released


def test_who_has_no_backend_of_that_account_cannot_know(
    api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened()
    entry = trained(cache)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MOTOOLS_BACKENDS", f'{{other = {{base_url="{api.url}", scope="mine"}}}}')
    with pytest.raises(BackendUnavailableError, match="other: is mine at"):
        alive.is_there(opened(), entry, hours=0.0)


def test_the_account_is_found_whatever_its_nickname_is_by_now(
    api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = trained(opened())
    monkeypatch.setenv(
        "MOTOOLS_BACKENDS",
        f'{{renamed = {{base_url="{api.url}", api_key_env="TESTS_API_KEY"}}}}',
    )
    assert alive.is_there(opened(), entry, hours=0.0) is entry


def test_a_day_ahead_is_a_warning_on_every_hit(
    api: OpenAIAPI, caplog: pytest.LogCaptureFixture
) -> None:
    cache = opened()
    entry = trained(cache)
    day = (datetime.now(UTC) + timedelta(days=20)).date()
    api.models[entry.remote.id]["shutdown_date"] = day.isoformat()
    assert alive.warning(cache, entry) is None
    alive.is_there(cache, entry, hours=0.0)
    caplog.clear()
    perform(training(), cache)
    [said] = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert f"is shut down at {entry.remote.provider} on {day}, in " in said
    assert alive.expiries(cache, [entry]) == {
        entry.key: datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    }


def test_a_model_whose_day_has_come_was_retired_on_it(api: OpenAIAPI) -> None:
    cache = opened(**ALWAYS)
    entry = trained(cache)
    api.models[entry.remote.id]["shutdown_date"] = "2020-01-01"
    alive.is_there(cache, entry)
    del api.models[entry.remote.id]
    now = alive.is_there(cache, entry)
    assert alive.why_released(cache, now) == "retired at the provider on 2020-01-01"


def test_the_day_that_was_known_when_it_was_made_is_kept(
    api: OpenAIAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    born = api.add_model
    monkeypatch.setattr(api, "add_model", lambda name: born(name, shutdown_date="2031-02-03"))
    entry = trained(opened())
    assert entry.remote.expires_at == datetime(2031, 2, 3, tzinfo=UTC).timestamp()


def test_entries_of_this_machine_are_left_alone(api: OpenAIAPI) -> None:
    cache = opened()
    made = cache.get_or_run(Action("function", config={"n": 1}), lambda context: 1)
    assert alive.checked(cache, [made], hours=0.0) == {}
    assert api.requests == []
