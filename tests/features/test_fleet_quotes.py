"""Several vehicles asked about at once: they compete for one site, and nothing is stored."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import pytest

from backend.compute import InPlace
from backend.features.sessions.desk import open_desk
from tests.conftest import House
from tests.features.test_sessions import refused
from tests.tables import row_counts

P = ParamSpec("P")
R = TypeVar("R")
WEAK = "did:denso:charger:site_hq_weak"


class Counting(InPlace):
    """Computes in place and counts."""

    runs = 0

    def run(
        self, function: Callable[P, R], timeout_s: float, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        self.runs += 1
        return super().run(function, timeout_s, *args, **kwargs)


def vehicle(house: House, number: int, *, hours: float = 2, **values: Any) -> dict[str, Any]:
    wishes = {"soc_percent": 10, "distance_km": 200, "hours": hours, **values}
    start = house.start_body(number=number, **wishes)
    return {"vehicle": start["vehicle"], "trip": start["trip"]}


def ask(house: House, *vehicles: dict[str, Any]) -> dict[str, Any]:
    answer = house.post("/fleet/quote", {"site_id": "site_hq", "vehicles": list(vehicles)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(answer: dict[str, Any]) -> list[str | None]:
    return [one["code"] for one in answer["vehicles"]]


def test_vehicles_that_fit_alone_compete_together(house: House) -> None:
    house.site(grid_limit_kw=30)
    before = row_counts(house.parts.database)

    alone = [ask(house, vehicle(house, number)) for number in (1, 2)]
    both = ask(house, vehicle(house, 1), vehicle(house, 2))

    assert [one["infeasible"] for one in alone] == [[], []]
    (late,) = both["infeasible"]
    (short,) = [one for one in both["vehicles"] if not one["is_feasible"]]
    assert (short["vehicle_did"], short["code"]) == (late, "short_of_energy")
    energy = sum(one["quote"]["planned_energy_kwh"] for one in both["vehicles"])
    assert energy == pytest.approx(30 * 2, abs=0.1)
    assert short["quote"]["short_by_kwh"] == pytest.approx(2 * 35.7 - energy, abs=0.01)
    assert short["reason"].startswith(f"{short['quote']['short_by_kwh']:.1f} kWh would be missing")
    assert both["message"] == "1 of 2 vehicles would not be ready."
    assert row_counts(house.parts.database) == before


def test_the_answer_is_what_the_starts_then_give(house: House) -> None:
    house.site()
    chain = {"distance_km": 50, "charge_kwh_at_stop": 3}
    chained = vehicle(house, 2)
    chained["trip"] = {**chained["trip"], "legs": [chain, {"distance_km": 50}]}
    del chained["trip"]["distance_km"]

    answer = ask(house, vehicle(house, 1), chained)

    assert answer["infeasible"] == []
    for number, one in enumerate(answer["vehicles"], 1):
        body = house.start_body(number=number, charger=number)
        asked = (vehicle(house, 1), chained)[number - 1]
        body |= {**asked, "charger": {"did": one["quote"]["charger_did"]}}
        plan = house.post("/sessions/start", body).json()["plan"]
        assert one["quote"]["planned_energy_kwh"] == pytest.approx(plan["planned_energy_kwh"])
        assert one["quote"]["planned_cost_eur"] == pytest.approx(plan["planned_cost_eur"])
        assert one["needed_trip_energy_kwh"] == plan["needed_trip_energy_kwh"]
        assert (one["trip_model"], one["legs"]) == (plan["trip_model"], plan["legs"])


def test_all_are_planned_in_one_go(sqlite_house: House) -> None:
    sqlite_house.site()
    compute = Counting()
    shared = sqlite_house.parts.shared
    shared["desk"] = replace(open_desk(sqlite_house.parts), compute=compute)

    ask(sqlite_house, *(vehicle(sqlite_house, number) for number in (1, 2, 3)))

    assert compute.runs == 1


def test_each_gets_a_charger_of_its_own_and_the_weak_one_goes_where_it_suffices(
    house: House,
) -> None:
    house.site(chargers=2)
    house.post("/chargers", {"did": WEAK, "site_id": "site_hq", "max_power_kw": 11})
    relaxed = vehicle(house, 2, hours=8)

    answer = ask(house, vehicle(house, 1), relaxed, vehicle(house, 3), vehicle(house, 4, hours=1))

    chargers = [one["quote"]["charger_did"] if one["quote"] else None for one in answer["vehicles"]]
    strong = [f"did:denso:charger:site_hq_chr0{number}" for number in (1, 2)]
    assert chargers[1] is None
    assert answer["vehicles"][1]["code"] == "nothing_free"
    assert {chargers[3]} < set(strong)
    assert len(set(chargers) - {None}) == 3
    less = ask(house, vehicle(house, 1), relaxed, vehicle(house, 3))
    assert less["vehicles"][1]["quote"]["charger_did"] == WEAK
    assert less["infeasible"] == []


def test_who_could_not_start_is_named_with_the_reason_and_the_others_are_planned(
    house: House,
) -> None:
    house.site()
    house.start(number=3, charger=1)
    unknown = {"vehicle": {"did": "did:x:new"}, "trip": {"energy_kwh": 5}}
    taken = {**vehicle(house, 5), "charger": {"did": "did:denso:charger:site_hq_chr01"}}
    named = {"charger": {"did": "did:denso:charger:site_hq_chr02"}}

    answer = ask(
        house,
        vehicle(house, 1),
        vehicle(house, 1),
        unknown,
        vehicle(house, 3),
        taken,
        {**vehicle(house, 6), **named},
        {**vehicle(house, 7), **named},
    )

    assert codes(answer) == [
        None,
        "vehicle_in_use",
        "vehicle_specification_missing",
        "vehicle_in_use",
        "charger_in_use",
        None,
        "charger_in_use",
    ]
    assert answer["vehicles"][1]["reason"] == "did:denso:vehicle:vehicle001 is asked for twice."
    assert answer["vehicles"][5]["quote"]["charger_did"] == named["charger"]["did"]
    assert answer["vehicles"][0]["quote"]["charger_did"] != named["charger"]["did"]
    assert len(answer["infeasible"]) == 5


def test_a_charger_elsewhere_is_not_of_this_site(house: House) -> None:
    house.site()
    house.site("site_mall")
    there = {"charger": {"did": "did:denso:charger:site_mall_chr01"}}

    answer = ask(house, {**vehicle(house, 1), **there})

    assert codes(answer) == ["charger_not_found"]
    assert (answer["method"], answer["others_made_short"]) == (None, 0)


def test_open_sessions_that_would_lose_energy_are_counted(house: House) -> None:
    house.site(grid_limit_kw=20)
    house.start(number=1, soc_percent=10, distance_km=200, hours=2)
    urgent = {"driver": {"did": "did:denso:driver:driver002", "credentials": ["PrioritySlot:x"]}}

    answer = ask(house, {**vehicle(house, 2), **urgent})

    assert answer["others_made_short"] == 1


def test_a_question_for_no_site_or_no_vehicle_is_refused(sqlite_house: House) -> None:
    one = vehicle(sqlite_house, 1)

    nowhere = sqlite_house.post("/fleet/quote", {"site_id": "site_x", "vehicles": [one]})
    nobody = sqlite_house.post("/fleet/quote", {"site_id": "site_x", "vehicles": []})
    crowd = sqlite_house.post("/fleet/quote", {"site_id": "site_x", "vehicles": [one] * 101})

    refused(nowhere, 404, "site_not_found")
    refused(nobody, 422, "malformed_request")
    refused(crowd, 422, "malformed_request")
