"""What a site is going to do, over HTTP."""

from datetime import timedelta
from itertools import pairwise

import pytest

from tests.conftest import NOON, House
from tests.features.test_sessions import power_at, refused, when


def test_each_step_says_what_is_planned_and_what_would_have_been(house: House) -> None:
    house.site(grid_limit_kw=100)
    price = {"kind": "purchase", "eur_per_kwh_by_hour": [0.3] * 15 + [0.1] * 9}
    house.post("/sites/site_hq/tariffs", price)
    sessions = [
        house.start(number=number, charger=number, soc_percent=10, distance_km=300, hours=6)
        for number in (1, 2)
    ]

    schedule = house.get("/sites/site_hq/schedule").json()

    steps = schedule["steps"]
    plans = [house.get(f"/sessions/{one['session_id']}/plan").json() for one in sessions]
    slots = [slot for plan in plans for slot in plan["slots"]]
    assert (schedule["vehicles"], schedule["method"]) == (2, "optimal")
    assert schedule["version"] == plans[0]["version"]
    assert len(steps) == 24
    assert when(steps[0]["start"]) == NOON
    assert all(before["end"] == step["start"] for before, step in pairwise(steps))
    for step in steps:
        assert step["planned_kw"] == pytest.approx(power_at(slots, when(step["start"])))
        assert step["planned_kw"] <= step["limit_kw"] + 1e-6
        assert (step["limit_kw"], step["base_load_kw"], step["pv_kw"]) == (100, 0, 0)
        is_cheap = when(step["start"]) >= NOON + timedelta(hours=3)
        assert step["purchase_price_eur_per_kwh"] == (0.1 if is_cheap else 0.3)
    assert schedule["planned_peak_kw"] == pytest.approx(100)
    assert [step["uncontrolled_kw"] for step in steps[:4]] == pytest.approx([100] * 4)
    assert schedule["uncontrolled_peak_kw"] == pytest.approx(100)
    assert sum(step["uncontrolled_kw"] for step in steps) / 4 == pytest.approx(114.6, abs=0.1)
    assert sum(step["planned_kw"] for step in steps) / 4 == pytest.approx(114.6, abs=0.01)


def test_base_load_and_sun_are_shown_by_local_hour(house: House) -> None:
    house.site()
    base_kw = [float(hour) for hour in range(24)]
    house.client.patch(
        "/api/v1/sites/site_hq", json={"base_load_kw_by_hour": base_kw, "pv_peak_kw": 100}
    )
    house.start(soc_percent=10, distance_km=300, hours=10)

    steps = house.get("/sites/site_hq/schedule").json()["steps"]

    assert steps[0]["base_load_kw"] == 12  # noon in Helsinki
    assert steps[-1]["base_load_kw"] == 21
    assert 0 < steps[0]["pv_kw"] < 100
    assert steps[-1]["pv_kw"] == 0


def test_nothing_is_scheduled_while_nobody_charges(house: House) -> None:
    house.site()

    before = house.get("/sites/site_hq/schedule").json()
    session_id = house.start(soc_percent=10, distance_km=300)["session_id"]
    house.post(f"/sessions/{session_id}/cancel")
    house.settle()
    after = house.get("/sites/site_hq/schedule").json()

    assert before == after
    assert (after["steps"], after["vehicles"], after["version"]) == ([], 0, None)


def test_who_has_left_is_no_longer_in_the_schedule(house: House) -> None:
    house.site()
    wishes = {"priority": "speed"}
    first, _ = [
        house.start(
            number=number, charger=number, soc_percent=10, distance_km=300, preferences=wishes
        )
        for number in (1, 2)
    ]
    house.post(f"/sessions/{first['session_id']}/cancel")

    schedule = house.get("/sites/site_hq/schedule").json()

    assert schedule["vehicles"] == 1
    assert schedule["steps"][0]["planned_kw"] == pytest.approx(127.5)


def test_steps_that_are_over_are_not_shown(house: House) -> None:
    house.site()
    house.start(soc_percent=10, distance_km=300, hours=6)
    house.clock.advance(minutes=50)

    steps = house.get("/sites/site_hq/schedule").json()["steps"]

    assert when(steps[0]["start"]) == NOON + timedelta(minutes=45)


def test_a_plan_from_before_curves_were_kept_can_be_read(house: House) -> None:
    house.site(grid_limit_kw=80)
    house.start(soc_percent=10, distance_km=300)
    with house.parts.database.writer.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE site_plans SET limit_kw = '[]', base_load_kw = '[]', pv_kw = '[]', "
            "uncontrolled_kw = '[]'"
        )

    step = house.get("/sites/site_hq/schedule").json()["steps"][0]

    assert (step["limit_kw"], step["base_load_kw"], step["uncontrolled_kw"]) == (80, 0, 0)


def test_an_unknown_site_has_no_schedule(house: House) -> None:
    refused(house.get("/sites/site_nowhere/schedule"), 404, "site_not_found")
