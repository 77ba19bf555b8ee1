from datetime import date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.features.sessions.recordings import (
    Recording,
    day_of,
    days_to_measure,
    days_with_statements,
    prices,
    read_sessions,
    with_equipment,
)
from backend.features.sessions.replays import FORESIGHT, POLICIES, live, plot_day, survival
from backend.planning.replay import Array, State, replay

COLUMNS = (
    "session_id,site,station,user,arrival,departure,done_charging,energy_kwh,requested_kwh,"
    "requested_departure,max_kw"
)
FIRST = date(2024, 1, 1)  # a Monday
DAY = FIRST + timedelta(weeks=12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen weeks of workdays: 24 drivers who stay two hours or eight, and all say eight."""
    lines = [COLUMNS]
    for ahead in range(13 * 7):
        day = FIRST + timedelta(days=ahead)
        for driver in range(24) if day.weekday() < 5 else ():
            came = datetime.combine(day, datetime.min.time()) + timedelta(hours=8, minutes=driver)
            left = came + timedelta(hours=2 if driver % 2 else 8)
            said = came + timedelta(hours=8)
            lines.append(
                f"s{ahead}-{driver},home,p{driver},d{driver},{came}-08:00,{left}-08:00,,8.0,,"
                f"{said}-08:00,6.6"
            )
    lines.append(f"fast,home,p99,d99,{DAY}T09:00:00-08:00,{DAY}T10:00:00-08:00,,40,,,50")
    path = tmp_path_factory.mktemp("recorded") / "sessions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def recording(file: Path) -> Recording:
    return read_sessions(file)["home"]


def test_arrivals_are_rounded_up_and_departures_down(recording: Recording) -> None:
    visits = day_of(recording, DAY, cap=0.5).visits

    assert len(visits.demand_kwh) == 24  # the fast charger is left out
    assert visits.arrival[:2].tolist() == [32, 33]
    assert visits.departure[:2].tolist() == [64, 40]


def test_nobody_wants_more_than_the_stay_allows(recording: Recording) -> None:
    visits = day_of(recording, DAY, cap=0.5, step_h=1 / 12).visits

    possible_kwh = visits.max_kw * (visits.departure - visits.arrival) / 12
    assert np.all(visits.demand_kwh <= possible_kwh + 1e-9)


def test_the_limit_is_a_share_of_the_uncontrolled_peak(recording: Recording) -> None:
    free = live(day_of(recording, DAY, cap=float("inf")), "uncontrolled")

    day = day_of(recording, DAY, cap=0.25)

    np.testing.assert_allclose(day.site.limit_kw, 0.25 * free.outcome.peak_kw)


def test_only_what_had_ended_before_the_day_is_learned_from(recording: Recording) -> None:
    day = day_of(recording, DAY, cap=0.5)

    assert all(session.departure.date() < DAY for session in day.past)
    assert all(session.arrival.date() >= DAY - timedelta(days=75) for session in day.past)
    assert len(day.like) == 4


def test_days_to_measure_are_busy_and_have_four_like_days(recording: Recording) -> None:
    days = days_to_measure(recording)

    assert len(days) == 10
    assert days[0] == FIRST + timedelta(weeks=4)
    assert {day.weekday() for day in days} == {0, 1, 2, 3}


def test_statements_are_measured_once_75_days_are_known(recording: Recording) -> None:
    assert days_with_statements(recording)[0] == FIRST + timedelta(days=77)  # a Monday


def test_prices_follow_the_clock() -> None:
    hourly = prices(1.0)

    assert hourly[[7, 8, 11, 12, 17, 18, 22, 23]].tolist() == [
        *(0.05623, 0.0925, 0.0925, 0.26668, 0.26668, 0.0925, 0.0925, 0.05623)
    ]


@pytest.mark.parametrize("policy", [*POLICIES, FORESIGHT])
def test_every_policy_by_name_lives_through_a_day(recording: Recording, policy: str) -> None:
    day = with_equipment(day_of(recording, DAY, cap=0.5, is_stated=True), taper_kwh=1.0)

    lived = live(day, policy)

    codes = {violation.code for violation in lived.replay.violations}
    assert codes == ({"site_limit"} if policy == "uncontrolled" else set())
    assert lived.outcome.delivered_kwh > 0.4 * lived.outcome.demand_kwh


def test_learned_stays_serve_those_who_leave_before_they_said(recording: Recording) -> None:
    day = day_of(recording, DAY, cap=0.6, is_stated=True)

    trusting, learned = live(day, "mpc-naive"), live(day, "mpc-stays")

    assert learned.outcome.met == 24
    assert trusting.outcome.met < 20


def test_without_a_past_the_statement_has_to_do(recording: Recording) -> None:
    day = day_of(recording, FIRST, cap=0.6, is_stated=True)
    seen: list[Array] = []
    chances = survival(day)

    def watching(state: State) -> Array:
        seen.append(chances(state))
        return state.usable_kw

    replay(day.site, day.visits, watching)

    assert set(np.unique(seen[0])) == {0.0, 1.0}
    assert seen[0].sum() == 32  # eight hours


def test_a_day_is_drawn_as_svg_with_every_line(recording: Recording) -> None:
    svg = plot_day(day_of(recording, DAY, cap=0.5), "mpc", planned_at_h=9.0)

    drawn = ET.fromstring(svg)  # noqa: S314 - our own
    texts = {element.text for element in drawn.iter() if element.tag.endswith("text")}
    assert {"actual (mpc)", "planned at 9 h", "uncontrolled", "limit", "price"} <= texts
    assert "nan" not in svg
    assert "inf" not in svg


def test_the_command_line_replays_and_draws(file: Path, tmp_path: Path) -> None:
    runner, out = CliRunner(), tmp_path / "day.svg"

    replayed = runner.invoke(
        app, ["replay", str(file), "--day", str(DAY), "--policy", "llf", "--step-minutes", "5"]
    )
    drawn = runner.invoke(app, ["plot", "day", str(file), str(DAY), "--out", str(out)])

    assert replayed.exit_code == 0
    assert f"home, {DAY}, 24," in replayed.output
    assert drawn.exit_code == 0
    assert out.read_text().startswith("<svg")


def test_a_file_of_something_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")

    refused = CliRunner().invoke(app, ["replay", str(other)])

    assert refused.exit_code == 2
    assert "no file of recorded sessions" in refused.output
