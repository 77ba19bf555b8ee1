"""Forecasts over HTTP: before and after training, and what counts as history."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pytest
from sqlalchemy import delete, func, select
from structlog.testing import capture_logs

from backend.compute import Overdue
from backend.database import insert_missing
from backend.features.forecasts.listeners import issue_now, watch_now
from backend.features.forecasts.models import DemandInterval, DemandSeries, SiteForecast
from backend.features.forecasts.queries import IssuedForecast, history_of
from backend.features.forecasts.service import add_demand, observe
from backend.features.forecasts.watching import watch
from backend.features.sites.models import Site
from backend.forecasting.backtest import check_no_leak
from backend.forecasting.features import rows_of
from backend.forecasting.history import FloatArray, SiteHistory
from tests.conftest import NOON, House, house_on

P = ParamSpec("P")
R = TypeVar("R")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Late:
    """Computes nothing in time."""

    def run(
        self,
        function: Callable[P, R],
        timeout_s: float,
        *_args: P.args,
        **_kwargs: P.kwargs,
    ) -> R:
        raise Overdue(f"{function.__name__} took over {timeout_s} s")

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        pass


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def forecast(house: House, site_id: str = "site_hq", **query: int) -> dict[str, Any]:
    answer = house.get(f"/forecasts/site/{site_id}", params=query)
    assert answer.status_code == 200, answer.text
    given: dict[str, Any] = answer.json()
    return given


def history(house: House, site_id: str = "site_hq") -> SiteHistory:
    with house.parts.database.reading() as db:
        return history_of(db, db.get_one(Site, site_id), until=house.clock.now())


def check(given: dict[str, Any], *, hours: int, first: datetime) -> None:
    slots = given["forecasts"]
    assert [when(one["time_slot"]) for one in slots] == [first + i * HOUR for i in range(hours)]
    for one in slots:
        assert 0 <= one["confidence_lower"] <= one["predicted_total_kwh"]
        assert one["predicted_total_kwh"] <= one["confidence_upper"]
        assert one["predicted_active_sessions"] >= 0


# Before training


def test_before_training_like_days_answer(demo_house: House) -> None:
    given = forecast(demo_house)

    assert given["site_id"] == "site_hq"
    assert given["source"] == "like_day"
    assert given["model_id"] is None
    assert given["issued_at"] == "2026-03-10T10:00:00Z"
    assert given["history_until"] == "2026-03-10T10:00:00Z"
    assert given["is_stale"] is False
    check(given, hours=24, first=NOON)
    by_hour = [one["predicted_total_kwh"] for one in given["forecasts"]]
    assert sum(by_hour[20:24]) > sum(by_hour[12:16])  # the morning rush beats the night


@pytest.mark.parametrize("hours", [1, 48])
def test_so_many_hours_are_forecast_as_were_asked_for(demo_house: House, hours: int) -> None:
    check(forecast(demo_house, hours_ahead=hours), hours=hours, first=NOON)


@pytest.mark.parametrize("hours", ["0", "49", "-1", "x"])
def test_hours_out_of_bounds_are_malformed(sqlite_house: House, hours: str) -> None:
    sqlite_house.site()

    answer = sqlite_house.get(f"/forecasts/site/site_hq?hours_ahead={hours}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/hours_ahead"


def test_a_site_that_was_never_observed_is_forecast_without_demand(house: House) -> None:
    house.site()

    given = forecast(house)

    check(given, hours=24, first=NOON)
    assert given["history_until"] is None
    assert given["is_stale"] is False
    assert {one["predicted_total_kwh"] for one in given["forecasts"]} == {0}


def test_an_unknown_site_has_no_forecast(house: House) -> None:
    answer = house.get("/forecasts/site/site_nowhere")

    assert answer.status_code == 404
    assert answer.json()["code"] == "site_not_found"


def test_training_needs_two_days_of_history(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=47)
    house.post(f"/sessions/{session_id}/complete", {})

    answer = house.post("/forecasts/train")

    assert answer.status_code == 409
    assert answer.json()["code"] == "not_enough_history"
    assert house.get("/forecasts/models").json()["data"] == []


# Training


@dataclass(frozen=True)
class Trained:
    """A database and its artifacts after training, to copy."""

    folder: Path
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def training(generated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Training on the demonstration's data."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(generated_sqlite, folder / "tasco.db")
    with house_on(f"sqlite:///{folder / 'tasco.db'}", folder) as house:
        answer = house.post("/forecasts/train")
    assert answer.status_code == 200, answer.text
    return Trained(folder, answer.json())


@pytest.fixture
def trained(training: Trained, tmp_path: Path) -> Iterator[House]:
    """A house with a model in service."""
    folder = tmp_path / "trained"
    shutil.copytree(training.folder, folder)
    url = f"sqlite:///{folder / 'tasco.db'}"
    with house_on(url, folder, log_level="warning") as house:
        yield house


def test_training_answers_with_its_metrics(training: Trained) -> None:
    answer = training.answer

    assert answer["status"] == "success"
    assert "rows of 5 sites" in answer["message"]
    metrics = answer["metrics"]
    assert {
        "train_r2",
        "test_r2",
        "mae",
        "rmse",
        "wape",
        "skill_vs_seasonal_naive",
    } <= metrics.keys()
    assert 0.5 < metrics["test_r2"] <= metrics["train_r2"] <= 1
    assert 0 < metrics["mae"] <= metrics["rmse"]
    assert metrics["skill_vs_seasonal_naive"] > 0


def test_a_trained_model_answers(trained: House, training: Trained) -> None:
    given = forecast(trained)

    assert given["source"] == "lightgbm"
    assert given["model_id"] == training.answer["model_id"]
    check(given, hours=24, first=NOON)


def test_the_demonstrations_weather_says_that_it_is_simulated(
    trained: House, demo_house: House
) -> None:
    simulated = {"name": "temperature_c", "source": "simulated", "is_simulated": True}

    known = history(trained)

    assert forecast(trained)["known_in_advance"] == [simulated]
    assert known.temperature_c is not None
    assert np.isfinite(known.temperature_c[: known.hours + 48]).all()
    assert forecast(demo_house)["known_in_advance"] == []  # like days know no weather


def test_a_trained_model_is_listed_with_its_hash_and_metrics(
    trained: House, training: Trained
) -> None:
    [model] = trained.get("/forecasts/models").json()["data"]

    assert model["id"] == training.answer["model_id"]
    assert model["status"] == "champion"
    assert model["metrics"] == training.answer["metrics"]
    assert len(model["sha256"]) == 64
    assert model["trained_at"] == "2026-03-10T10:00:00Z"


def test_the_files_of_a_model_are_text_with_a_manifest_and_hashes(
    trained: House, training: Trained
) -> None:
    folder = trained.settings.artifacts_dir / training.answer["model_id"]
    manifest = json.loads((folder / "manifest.json").read_text())

    files = {path.name for path in folder.iterdir()} - {"manifest.json"}

    assert files == set(manifest["files"])
    assert {name.rsplit(".", 1)[1] for name in files} == {"txt", "json"}
    for name, sha256 in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        assert content.startswith(b"tree") or json.loads(content)
    [model] = trained.get("/forecasts/models").json()["data"]
    assert manifest["sha256"] == model["sha256"]
    assert manifest["metrics"] == training.answer["metrics"]
    assert manifest["features"]
    assert manifest["library_versions"]


def _append(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("file", ["mean.lightgbm.txt", "manifest.json"])
@pytest.mark.parametrize("harm", [_append, _cut, _remove])
def test_an_altered_model_is_not_used_and_the_log_says_so(
    trained: House, training: Trained, file: str, harm: Callable[[Path], None]
) -> None:
    if file == "manifest.json" and harm is _append:
        pytest.skip("white space does not alter a manifest")
    harm(trained.settings.artifacts_dir / training.answer["model_id"] / file)

    with capture_logs() as lines:
        given = forecast(trained)

    assert given["source"] == "like_day"
    assert given["model_id"] is None
    check(given, hours=24, first=NOON)
    [line] = [one for one in lines if one["event"] == "model.unusable"]
    assert line["model_id"] == training.answer["model_id"]


def test_a_prediction_that_is_overdue_is_replaced_by_like_days(trained: House) -> None:
    trained.app.state.parts = replace(trained.parts, compute=Late())

    with capture_logs() as lines:
        given = forecast(trained)

    assert given["source"] == "like_day"
    assert [one["event"] for one in lines] == ["model.unusable"]


def test_training_in_the_background_on_the_same_data_finds_the_same_model(
    trained: House, training: Trained
) -> None:
    answer = trained.post("/forecasts/train?wait=false")
    assert answer.status_code == 202
    job = answer.json()
    assert job["kind"] == "forecasts.train"
    assert answer.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    until = time.monotonic() + 120
    while job["state"] not in ("succeeded", "failed") and time.monotonic() < until:
        time.sleep(0.1)
        job = trained.get(f"/jobs/{job['id']}").json()

    assert job["state"] == "succeeded"
    assert job["result"]["model_id"] == training.answer["model_id"]
    assert "same model" in job["result"]["message"]
    assert len(trained.get("/forecasts/models").json()["data"]) == 1
    with trained.parts.database.reading() as db:  # plans use it from now on
        newest = select(SiteForecast.model_id).order_by(SiteForecast.issued_at.desc())
        assert db.scalar(newest.limit(1)) == training.answer["model_id"]


def test_a_model_that_does_worse_than_like_days_stays_a_challenger(house: House) -> None:
    house.site(chargers=1)
    noise = np.random.default_rng(1)
    by_hour = noise.exponential(5, 24)  # every day alike but for the last: like days cannot lose
    with house.parts.database.transaction() as db:
        for hour in range(24 * 12, 0, -1):
            start = NOON - hour * HOUR
            kwh = float(by_hour[start.hour] + 0.01 * noise.random())
            add_demand(
                db, "site_hq", start=start, end=start + HOUR, energy_kwh=kwh, now=start + HOUR
            )

    answer = house.post("/forecasts/train").json()

    assert answer["metrics"]["test_r2"] < answer["metrics"]["like_day_r2"]
    assert "stays a challenger" in answer["message"]
    assert house.get("/forecasts/models").json()["data"][0]["status"] == "challenger"
    assert house.get("/forecasts/site/site_hq").json()["source"] == "like_day"


def test_training_works_on_every_database(demo_house: House) -> None:
    answer = demo_house.post("/forecasts/train")

    assert answer.status_code == 200
    assert forecast(demo_house)["source"] == "lightgbm"


# History


def test_unobserved_hours_are_not_zero(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=2, minutes=40)
    house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 8})
    house.clock.advance(hours=7)

    known = history(house)

    assert known.start == NOON
    assert known.end == NOON + 2 * HOUR  # observed until 12:40: the hour from 12:00 only partly
    assert known.occupancy.tolist() == [1, 1]
    assert known.sessions_started.tolist() == [1, 0]


def test_an_hour_observed_from_its_middle_on_is_left_out(house: House) -> None:
    house.site()
    house.clock.advance(minutes=20)
    session_id = house.start()["session_id"]
    house.clock.advance(hours=3)
    house.post(f"/sessions/{session_id}/complete", {})

    known = history(house)

    assert (known.start, known.end) == (NOON + HOUR, NOON + 3 * HOUR)
    assert known.sessions_started.tolist() == [0, 0]


def test_within_the_observation_a_quiet_hour_is_zero(house: House) -> None:
    house.site()
    for _ in range(2):
        session_id = house.start()["session_id"]
        house.clock.advance(hours=1)
        house.post(f"/sessions/{session_id}/complete", {"energy_delivered_kwh": 6})
        house.clock.advance(hours=2)

    known = history(house)

    assert known.energy_kwh.tolist() == pytest.approx([6, 0, 0, 6])


def test_a_quiet_site_stays_observed_while_the_service_runs(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=1)
    house.post(f"/sessions/{session_id}/complete", {})

    for _ in range(5):
        house.clock.advance(hours=1)
        issue_now(house.parts)

    assert history(house).end == house.clock.now()
    house.clock.advance(hours=3)  # the service slept
    issue_now(house.parts)
    assert history(house).end == house.clock.now() - 3 * HOUR


def test_every_hour_a_forecast_is_issued_for_plans_to_use(house: House) -> None:
    house.site()
    session_id = house.start()["session_id"]
    house.clock.advance(hours=1)
    house.post(f"/sessions/{session_id}/complete", {})
    before = house.start()["plan"]["forecast_source"]

    issue_now(house.parts)

    after = house.start(number=2, charger=2)["plan"]["forecast_source"]
    assert (before, after) == (None, "like_day")
    with house.parts.database.reading() as db:
        [issued] = db.scalars(select(SiteForecast)).all()
    assert issued.first_hour_at == house.clock.now()
    assert len(issued.mean_kwh) == 48


def test_a_site_whose_records_ended_long_ago_is_forecast_from_their_end(
    demo_house: House,
) -> None:
    demo_house.clock.shown = NOON + 15 * DAY

    given = forecast(demo_house)

    assert given["is_stale"] is True
    assert given["history_until"] == "2026-03-10T10:00:00Z"
    check(given, hours=24, first=NOON)
    at_the_end = [one["predicted_total_kwh"] for one in given["forecasts"]]
    assert sum(at_the_end) > 0
    demo_house.clock.shown = NOON
    assert [one["predicted_total_kwh"] for one in forecast(demo_house)["forecasts"]] == at_the_end


def test_a_trained_model_forecasts_old_records_from_their_end_too(trained: House) -> None:
    trained.clock.shown = NOON + 400 * DAY

    given = forecast(trained)

    assert (given["source"], given["is_stale"]) == ("lightgbm", True)
    check(given, hours=24, first=NOON)


def test_a_gap_of_days_is_forecast_from_now_on(demo_house: House) -> None:
    demo_house.clock.shown = NOON + 13 * DAY

    given = forecast(demo_house)

    assert given["is_stale"] is False
    assert given["history_until"] == "2026-03-10T10:00:00Z"
    check(given, hours=24, first=NOON + 13 * DAY)


def test_forecasts_of_old_records_are_not_issued(demo_house: House) -> None:
    demo_house.clock.shown = NOON + 15 * DAY

    issue_now(demo_house.parts)

    with demo_house.parts.database.reading() as db:
        newest = db.scalar(select(func.max(SiteForecast.issued_at)))
    assert newest == NOON


def test_a_clock_before_the_history_is_answered_too(demo_house: House) -> None:
    demo_house.clock.shown = NOON - 60 * DAY

    given = forecast(demo_house)

    check(given, hours=24, first=NOON - 60 * DAY)
    assert given["history_until"] is None


def test_after_a_long_gap_the_newer_observation_counts(house: House) -> None:
    house.site()
    spans = [
        (NOON - 400 * DAY, NOON - 300 * DAY),
        (NOON - 20 * DAY, NOON - 10 * DAY),
        (NOON - 200 * DAY, NOON - 100 * DAY),  # older than what is known
        (NOON - 9 * DAY, NOON - 8 * DAY),  # a short gap is a quiet time
    ]
    seen = []

    for since, until in spans:
        with house.parts.database.transaction() as db:
            observe(db, "site_hq", since=since, until=until)
        with house.parts.database.reading() as db:
            series = db.get_one(DemandSeries, "site_hq")
            seen.append((series.observed_from, series.observed_to))

    assert seen == [spans[0], spans[1], spans[1], (spans[1][0], spans[3][1])]


# Quarter-hours, bands, explanations


def test_quarter_hours_sum_up_to_their_hours(trained: House) -> None:
    hours = forecast(trained)["forecasts"]
    given = trained.get("/forecasts/site/site_hq?resolution=15min").json()

    quarters = given["forecasts"]
    assert given["resolution"] == "15min"
    assert [when(one["time_slot"]) for one in quarters] == [
        NOON + i * timedelta(minutes=15) for i in range(96)
    ]
    for place, hour in enumerate(hours):
        of_hour = [one["predicted_total_kwh"] for one in quarters[4 * place : 4 * place + 4]]
        assert sum(of_hour) == pytest.approx(hour["predicted_total_kwh"])
    for one in quarters:
        assert one["confidence_lower"] <= one["predicted_total_kwh"] <= one["confidence_upper"]
        assert one["confidence_lower"] >= 0


def test_a_trained_model_tells_the_median_and_the_sessions_to_come(trained: House) -> None:
    slots = forecast(trained)["forecasts"]

    assert all(one["predicted_median_kwh"] >= 0 for one in slots)
    assert sum(one["predicted_sessions_started"] for one in slots) > 3


def test_an_explanation_multiplies_to_the_mean(trained: House) -> None:
    slots = forecast(trained)["forecasts"]

    given = trained.get("/forecasts/site/site_hq/explanation").json()

    assert given["model_id"] == forecast(trained)["model_id"]
    for slot, one in zip(slots, given["slots"], strict=True):
        assert one["time_slot"] == slot["time_slot"]
        whole = one["level_kwh"] * one["base_factor"] * one["other_factors"]
        for factor in one["factors"].values():
            whole *= factor
        assert whole == pytest.approx(slot["predicted_total_kwh"], rel=1e-6)


def test_without_a_model_there_is_nothing_to_explain(house: House) -> None:
    house.site()

    given = house.get("/forecasts/site/site_hq/explanation").json()

    assert (given["model_id"], given["slots"]) == (None, [])
    assert given["reason"]


# The chain of fallbacks


def test_the_answer_says_why_the_model_did_not_make_it(demo_house: House) -> None:
    assert forecast(demo_house)["fallback_reason"] == "no model has been trained"


def test_a_model_is_refused_when_too_much_is_unknown(trained: House) -> None:
    with trained.parts.database.transaction() as db:
        series = db.get_one(DemandSeries, "site_hq")
        series.observed_from = series.observed_to - 3 * DAY
        since = series.observed_to
        db.execute(
            delete(DemandInterval).where(
                DemandInterval.site_id == "site_hq", DemandInterval.start_at < since - 3 * DAY
            )
        )
    trained.clock.shown = NOON + 9 * DAY

    given = forecast(trained)

    assert given["source"] == "like_day"
    assert given["model_id"] is None
    assert "unknown" in given["fallback_reason"]


def test_a_new_site_is_expected_to_do_what_its_kind_does(demo_house: House) -> None:
    demo_house.site("site_new", chargers=8)

    given = forecast(demo_house, "site_new")

    assert given["source"] == "site_class"
    check(given, hours=24, first=NOON)
    expected = sum(one["predicted_total_kwh"] for one in given["forecasts"])
    peer = sum(one["predicted_total_kwh"] for one in forecast(demo_house)["forecasts"])
    assert 0.2 * peer < expected < 5 * peer


# What is known in advance


def test_a_closure_is_forecast_as_a_day_off(trained: House) -> None:
    before = forecast(trained, hours_ahead=48)["forecasts"]

    answer = trained.post(
        "/forecasts/site/site_hq/closures",
        {"closures": [{"day": "2026-03-11", "reason": "Inventory"}]},
    )

    assert answer.status_code == 200
    assert trained.get("/forecasts/site/site_hq/closures").json() == answer.json()
    after = forecast(trained, hours_ahead=48)["forecasts"]

    def wednesday(slots: list[dict[str, Any]]) -> float:
        day = [one for one in slots if "2026-03-11T05" <= one["time_slot"] < "2026-03-11T17"]
        return float(sum(one["predicted_total_kwh"] for one in day))

    assert wednesday(after) < 0.6 * wednesday(before)
    assert trained.post("/forecasts/site/site_hq/closures", {"closures": []}).status_code == 200
    assert forecast(trained, hours_ahead=48)["forecasts"] == before


def test_regressors_reach_into_the_future_and_the_newest_word_wins(house: House) -> None:
    house.site()
    with house.parts.database.transaction() as db:
        observe(db, "site_hq", since=NOON - 2 * DAY, until=NOON)
    body = {
        "name": "temperature_c",
        "source": "test",
        "is_simulated": True,
        "values": [
            {"valid_at": f"2026-03-10T{hour:02d}:00:00Z", "value": hour} for hour in (9, 14)
        ],
    }

    first = house.post("/forecasts/site/site_hq/regressors", body)
    body["values"] = [{"valid_at": "2026-03-10T14:00:00Z", "value": -3.5}]
    house.post("/forecasts/site/site_hq/regressors", body)

    assert first.json() == {"site_id": "site_hq", "name": "temperature_c", "stored": 2}
    temperature_c = history(house).temperature_c
    assert temperature_c is not None
    assert temperature_c[47] == 9
    assert temperature_c[52] == -3.5
    assert np.isnan(temperature_c[50])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/forecasts/site/site_nowhere/closures", {"closures": []}, 404),
        ("/forecasts/site/site_hq/closures", {"closures": [{"day": "11.3.2026"}]}, 422),
        (
            "/forecasts/site/site_hq/regressors",
            {"name": "humidity", "source": "x", "values": []},
            422,
        ),
    ],
)
def test_impossible_inputs_are_refused(
    sqlite_house: House, path: str, body: dict[str, Any], status: int
) -> None:
    sqlite_house.site()

    assert sqlite_house.post(path, body).status_code == status


# Accuracy, drift, promotion


def _steady_weeks(house: House, *, days: int, factor_after: dict[int, float] | None = None) -> None:
    """Work days of six hours of charging, made at once."""
    rng = np.random.default_rng(3)
    start = (NOON - days * DAY).replace(hour=0)
    rows = []
    factor = 1.0
    for day in range(days + 1):
        factor = (factor_after or {}).get(day, factor)
        for hour in range(7, 13):
            at = start + day * DAY + hour * HOUR
            if at.weekday() < 5 and at < NOON:
                energy = factor * rng.normal(20, 3)
                rows.append(
                    {
                        "site_id": "site_hq",
                        "start_at": at,
                        "energy_kwh": energy,
                        "occupancy": 2.0,
                        "sessions_started": 1,
                        "available_at": at,
                    }
                )
    with house.parts.database.transaction() as db:
        insert_missing(db, DemandInterval, rows)
        observe(db, "site_hq", since=start, until=NOON)


def test_accuracy_compares_issued_forecasts_with_what_happened(house: House) -> None:
    house.site()
    _steady_weeks(house, days=40)
    for back in range(48, 0, -6):
        house.clock.shown = NOON - back * HOUR
        issue_now(house.parts)
    house.clock.shown = NOON

    given = house.get("/forecasts/site/site_hq/accuracy").json()

    every = given["by_lead"][-1]
    assert (every["from_lead_h"], every["to_lead_h"]) == (1, 48)
    assert every["hours"] == sum(one["hours"] for one in given["by_lead"][:-1]) > 100
    assert 0 < every["wape"] < 0.5
    assert 0 <= every["coverage_80"] <= 1
    assert given["backtest"] is None


def test_a_lost_half_is_found_widens_bands_and_asks_for_training(sqlite_house: House) -> None:
    sqlite_house.site()
    _steady_weeks(sqlite_house, days=190, factor_after={180: 0.4})
    calm = sqlite_house.get("/forecasts/drift").json()

    watch(sqlite_house.parts.database, compute=sqlite_house.parts.compute, now=NOON)
    watch(sqlite_house.parts.database, compute=sqlite_house.parts.compute, now=NOON)

    given = sqlite_house.get("/forecasts/drift").json()
    assert calm["sites"][0]["alarms"] == []
    [site] = given["sites"]
    assert any(one["is_sure"] for one in site["alarms"])
    assert site["has_wide_band"]
    assert site["population_stability"] > 0
    assert site["work_days"] > 100
    assert given["retrain_reasons"] == []  # there is no model to replace
    assert forecast(sqlite_house)["has_wide_band"] is True


def test_a_week_later_the_model_is_trained_anew_as_a_challenger_and_judged(
    trained: House, training: Trained
) -> None:
    trained.clock.shown = NOON + 8 * DAY
    with trained.parts.database.transaction() as db:
        for day in range(8):
            start = NOON + day * DAY
            for hour in range(6):
                add_demand(
                    db,
                    "site_hq",
                    start=start + hour * HOUR,
                    end=start + (hour + 1) * HOUR,
                    energy_kwh=20.0 + hour,
                    now=start + (hour + 1) * HOUR,
                )
        observe(db, "site_hq", since=NOON, until=trained.clock.now())

    job_id = watch_now(trained.parts)

    assert job_id is not None
    until = time.monotonic() + 120
    while trained.get(f"/jobs/{job_id}").json()["state"] not in ("succeeded", "failed"):
        assert time.monotonic() < until
        time.sleep(0.1)
    models = trained.get("/forecasts/models").json()["data"]
    assert [one["status"] for one in models] == ["challenger", "champion"]
    assert models[0]["content_hash"] != models[1]["content_hash"]
    assert watch_now(trained.parts) is None  # the challenger is being watched
    trained.clock.shown += 6 * DAY
    with trained.parts.database.transaction() as db:
        observe(db, "site_hq", since=NOON, until=trained.clock.now())
    watch_now(trained.parts)
    judged = trained.get("/forecasts/models").json()["data"][0]
    assert judged["decision"]["days"] >= 5
    assert judged["decision"]["is_better"] == (judged["status"] == "champion")
    assert forecast(trained)["model_id"] in {one["id"] for one in models}
    assert training.answer["model_id"] == models[1]["id"]


# What was known when


def test_what_became_known_late_says_since_when(house: House) -> None:
    house.site()
    begins = NOON - 10 * HOUR
    with house.parts.database.transaction() as db:
        observe(db, "site_hq", since=NOON - 2 * DAY, until=NOON)
        add_demand(
            db, "site_hq", start=begins, end=begins + 3 * HOUR, energy_kwh=9.0, now=NOON - 5 * HOUR
        )

    known = history(house)

    assert known.energy_kwh[38:42].tolist() == pytest.approx([3, 3, 3, 0])
    assert known.available_at_h is not None
    assert known.available_at_h[37:42].tolist() == [38, 43, 43, 43, 42]


def test_the_past_knows_nothing_that_came_later(house: House) -> None:
    house.site()
    begins = NOON - 10 * HOUR
    with house.parts.database.transaction() as db:
        observe(db, "site_hq", since=NOON - 2 * DAY, until=NOON)
        add_demand(
            db, "site_hq", start=begins, end=begins + 3 * HOUR, energy_kwh=9.0, now=NOON - 5 * HOUR
        )
    with house.parts.database.reading() as db:
        site = db.get_one(Site, "site_hq")
        before = history_of(db, site, until=NOON - 6 * HOUR)
        today = history_of(db, site, until=NOON)

    honest = today.known_at(before.hours)

    assert np.isnan(before.energy_kwh[38:41]).all()
    np.testing.assert_array_equal(before.energy_kwh, honest.energy_kwh)
    check_no_leak(_last_features, today, origins=[before.hours, 40, 43, 47])
    unmarked = replace(today, available_at_h=None)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(before.energy_kwh, unmarked.known_at(before.hours).energy_kwh)


def _last_features(seen: SiteHistory, origin: int) -> FloatArray:
    return rows_of(seen, origin=np.full(3, origin), lead_h=np.array([1, 6, 24])).features


def test_records_entered_long_afterwards_count_as_in_time(house: House) -> None:
    house.site()
    with house.parts.database.transaction() as db:
        observe(db, "site_hq", since=NOON - 20 * DAY, until=NOON)
        begins = NOON - 19 * DAY
        add_demand(db, "site_hq", start=begins, end=begins + HOUR, energy_kwh=5.0, now=NOON)

    known = history(house)

    assert known.available_at_h is None
    assert known.energy_kwh[24] == pytest.approx(5)


# Bands that miss


def _issued_daily(house: House, *, days: int, narrow_for_last: int) -> None:
    """A forecast of every midnight; those of the last days have bands that hold nothing."""
    rows = []
    for back in range(days, 0, -1):
        at = (NOON - back * DAY).replace(hour=0)
        edge = 0.1 if back <= narrow_for_last else 60.0
        rows.append(
            {
                "site_id": "site_hq",
                "issued_at": at,
                "source": "like_day",
                "model_id": None,
                "first_hour_at": at,
                "mean_kwh": [20.0] * 24,
                "p10_kwh": [max(20.0 - edge, 0.0)] * 24,
                "p90_kwh": [20.0 + edge] * 24,
                "occupancy": [1.0] * 24,
                "sessions_started": None,
                "quantiles_kwh": None,
            }
        )
    with house.parts.database.transaction() as db:
        insert_missing(db, SiteForecast, rows)


def test_bands_that_begin_to_miss_are_found(house: House) -> None:
    house.site()
    _steady_weeks(house, days=150)
    _issued_daily(house, days=140, narrow_for_last=20)

    watch(house.parts.database, compute=house.parts.compute, now=NOON - 10 * DAY)
    watch(house.parts.database, compute=house.parts.compute, now=NOON)

    [site] = house.get("/forecasts/drift").json()["sites"]
    assert {one["signal"] for one in site["alarms"] if one["is_sure"]} == {"misses"}


def test_one_forecast_a_day_is_kept_for_the_watch(house: House) -> None:
    house.site()
    with house.parts.database.transaction() as db:
        observe(db, "site_hq", since=NOON - 2 * DAY, until=NOON)
    _issued_daily(house, days=450, narrow_for_last=0)
    with house.parts.database.transaction() as db:
        row = db.scalars(select(SiteForecast).limit(1)).one()
        values = {name: getattr(row, name) for name in IssuedForecast.__dataclass_fields__}
        extra = [
            values | {"issued_at": NOON - back * DAY, "first_hour_at": NOON - back * DAY}
            for back in (100, 50)
        ]
        insert_missing(db, SiteForecast, extra)

    issue_now(house.parts)

    with house.parts.database.reading() as db:
        kept = db.scalars(select(SiteForecast.first_hour_at).order_by("first_hour_at")).all()
    assert kept[0] >= NOON - 401 * DAY
    assert len([one for one in kept if one.hour == 0]) == 399
    assert NOON - 50 * DAY in kept
    assert NOON - 100 * DAY not in kept
