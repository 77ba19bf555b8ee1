from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.features.demo.fixtures import EFFECTIVE_SHARE, TIMEZONE, DemoCharger, DemoVehicle
from backend.features.demo.simulation import cheapest_first, on_arrival
from backend.features.demo.world import DemoSession, World, generate_world, oracle_intensity
from backend.forecasting import metrics
from backend.forecasting.history import FloatArray, SiteHistory
from backend.forecasting.models import train
from backend.forecasting.samples import holdout_samples, split_time

END = datetime(2026, 11, 20, 8, tzinfo=UTC)
HELSINKI = ZoneInfo(TIMEZONE)


@pytest.fixture(scope="session")
def world() -> World:
    return generate_world(days=30, end=END)


def of_site(world: World, *site_ids: str) -> list[DemoSession]:
    return [session for session in world.sessions if session.site_id in site_ids]


def chargers(world: World) -> dict[str, DemoCharger]:
    return {charger.did: charger for charger in world.chargers}


def vehicles(world: World) -> dict[str, DemoVehicle]:
    return {vehicle.did: vehicle for vehicle in world.vehicles}


def test_the_fixtures_are_the_documented_ones(world: World) -> None:
    limits = {site.site_id: (site.kind, site.limit_kw) for site in world.sites}
    first = chargers(world)["did:denso:charger:site_hq_chr01"]

    assert limits == {
        "site_hq": ("workplace", 600.0),
        "site_depot": ("depot", 800.0),
        "site_mall": ("retail", 400.0),
        "site_office": ("workplace", 450.0),
        "site_retail": ("retail", 300.0),
    }
    assert [
        sum(charger.site_id == site.site_id for charger in world.chargers) for site in world.sites
    ] == [8, 10, 5, 6, 4]
    assert (first.max_power_kw, first.tariff_eur_per_kwh) == (150.0, 0.35)
    assert (first.latitude, first.longitude) == (60.1699, 24.9384)
    assert chargers(world)["did:denso:charger:site_hq_chr05"].max_power_kw == 22.0
    assert {c.site_id for c in world.chargers if c.max_power_kw == 22.0} == set(limits)
    assert all(11.0 <= charger.max_power_kw <= 150.0 for charger in world.chargers)
    assert [d.did[-9:] for d in world.drivers] == [f"driver{n:03d}" for n in range(1, 21)]
    assert [v.did[-10:] for v in world.vehicles] == [f"vehicle{n:03d}" for n in range(1, 31)]
    example = world.vehicles[0]
    assert (example.battery_capacity_kwh, example.nominal_consumption_wh_per_km) == (75.0, 180.0)
    assert example.max_charge_power_kw == 150.0
    assert world.drivers[0].allowed_sites == ("site_hq",)


def test_a_month_has_about_1200_sessions(world: World) -> None:
    assert 1100 <= len(world.sessions) <= 1300


@pytest.mark.parametrize("end", ["2027-01-10T16:00+00:00", "2026-08-19T16:00+00:00"])
def test_the_number_of_sessions_holds_in_winter_and_summer(end: str) -> None:
    sessions = generate_world(days=30, end=datetime.fromisoformat(end)).sessions

    assert 1100 <= len(sessions) <= 1300


def test_the_number_of_sessions_grows_with_the_days(world: World) -> None:
    week = generate_world(days=7, end=END)

    assert 0.15 < len(week.sessions) / len(world.sessions) < 0.32


def test_the_same_seed_gives_the_same_world(world: World) -> None:
    again = generate_world(days=30, end=END)
    other = generate_world(days=30, end=END, seed=43)

    def told(each: World) -> list[tuple[str, datetime, float]]:
        return [(s.vehicle_did, s.started_at, s.energy_kwh) for s in each.sessions]

    assert told(again) == told(world)
    assert told(other) != told(world)
    np.testing.assert_array_equal(again.demand[0].energy_kwh, world.demand[0].energy_kwh)
    np.testing.assert_array_equal(again.temperature_c, world.temperature_c)


def test_a_charger_and_a_vehicle_are_in_one_session_at_a_time(world: World) -> None:
    for name in ("charger_did", "vehicle_did"):
        by_owner: dict[str, list[DemoSession]] = {}
        for session in world.sessions:
            by_owner.setdefault(getattr(session, name), []).append(session)
        for sessions in by_owner.values():
            assert all(first.ended_at < second.started_at for first, second in pairwise(sessions))


@pytest.mark.parametrize("hour", [1, 7, 13, 18, 22])
def test_every_session_has_ended_before_the_end(hour: int) -> None:
    end = END.replace(hour=hour, minute=37)

    sessions = generate_world(days=3, end=end).sessions

    assert max(session.ended_at for session in sessions) < end
    assert all(session.started_at < session.ended_at for session in sessions)


def test_energy_respects_power_battery_and_state_of_charge(world: World) -> None:
    for session in world.sessions:
        charger = chargers(world)[session.charger_did]
        vehicle = vehicles(world)[session.vehicle_did]
        stay_h = (session.ended_at - session.started_at) / timedelta(hours=1)
        capacity_kwh = vehicle.battery_capacity_kwh

        assert session.site_id == charger.site_id
        assert session.effective_power_kw <= EFFECTIVE_SHARE * charger.max_power_kw
        assert session.effective_power_kw <= EFFECTIVE_SHARE * vehicle.max_charge_power_kw
        assert 1.0 <= session.energy_kwh <= session.effective_power_kw * stay_h + 1e-6
        assert session.energy_kwh <= session.requested_kwh + 1e-6
        assert 5.0 <= session.soc_start_percent < session.soc_end_percent <= 100.0
        gained_kwh = (session.soc_end_percent - session.soc_start_percent) * capacity_kwh / 100
        assert gained_kwh == pytest.approx(session.energy_kwh)


def test_a_battery_never_gains_energy_between_sessions(world: World) -> None:
    last: dict[str, float] = {}
    for session in world.sessions:
        before = last.get(session.vehicle_did, 100.0)
        low = 8.0  # a nearly empty battery arrives with at least this
        assert session.soc_start_percent <= max(before, low) + 1e-9
        last[session.vehicle_did] = session.soc_end_percent


def test_a_profile_stays_within_the_stay_and_the_power(world: World) -> None:
    for session in world.sessions:
        quarter_h = np.arange(session.profile_kwh.size) * 0.25
        first_h = (session.started_at - session.profile_start) / timedelta(hours=1)
        last_h = (session.ended_at - session.profile_start) / timedelta(hours=1)
        stayed_h = np.clip(
            np.minimum(quarter_h + 0.25, last_h) - np.maximum(quarter_h, first_h), 0, 1
        )

        for profile_kwh in (session.profile_kwh, session.uncontrolled_kwh):
            assert profile_kwh.sum() == pytest.approx(session.energy_kwh)
            assert np.all(profile_kwh >= 0)
            assert np.all(profile_kwh <= session.effective_power_kw * stayed_h + 1e-6)


def test_smart_charging_never_costs_more_and_saves_most_at_the_depot(world: World) -> None:
    def saved(sessions: list[DemoSession]) -> float:
        paid = sum(session.purchase_cost_eur for session in sessions)
        return 1 - paid / sum(session.uncontrolled_purchase_cost_eur for session in sessions)

    assert all(
        session.purchase_cost_eur <= session.uncontrolled_purchase_cost_eur + 1e-3
        for session in world.sessions
    )
    assert saved(of_site(world, "site_depot")) > 0.3
    assert saved(of_site(world, "site_hq", "site_office")) > 0.05
    assert 0.1 < saved(list(world.sessions)) < 0.5


def test_a_driver_pays_the_tariff_of_the_charger(world: World) -> None:
    for session in world.sessions:
        tariff = chargers(world)[session.charger_did].tariff_eur_per_kwh
        assert session.sales_cost_eur == pytest.approx(session.energy_kwh * tariff)


def test_drivers_charge_only_where_they_are_allowed(world: World) -> None:
    allowed = {driver.did: driver.allowed_sites for driver in world.drivers}

    assert all(session.site_id in allowed[session.driver_did] for session in world.sessions)


def test_offers_are_sometimes_accepted(world: World) -> None:
    offers = [offer for session in world.sessions for offer in session.offers]
    rates = {
        kind: np.mean([offer.is_accepted for offer in offers if offer.type == kind])
        for kind in ("reward_points", "discount", "priority_slot")
    }

    assert all(0.1 < rate < 0.8 for rate in rates.values())
    assert rates["reward_points"] > rates["priority_slot"]
    assert all((offer.time_slot is not None) == (offer.type == "discount") for offer in offers)


def share(sessions: list[DemoSession], *, first: float, last: float) -> float:
    """Share of arrivals between two local hours of day."""
    local = [session.started_at.astimezone(HELSINKI) for session in sessions]
    hours = np.array([each.hour + each.minute / 60 for each in local])
    return float(np.mean((hours >= first) & (hours < last)))


def test_arrivals_follow_the_kind_of_site(world: World) -> None:
    work = of_site(world, "site_hq", "site_office")
    shops = of_site(world, "site_mall", "site_retail")
    depot = of_site(world, "site_depot")

    assert share(work, first=6.25, last=9.25) > 0.6
    assert share(work, first=11, last=13) > 0.1
    assert share(shops, first=17, last=19) > 0.3
    assert share(shops, first=21, last=24) + share(shops, first=0, last=9) == 0.0
    assert share(depot, first=15.5, last=20.5) > 0.99
    left = [session.ended_at.astimezone(HELSINKI).hour for session in depot]
    assert np.mean([4 <= hour <= 7 for hour in left]) > 0.95


def test_stays_and_energies_look_like_real_ones(world: World) -> None:
    def median(sessions: list[DemoSession], *, energy: bool) -> float:
        stay_h = [(s.ended_at - s.started_at) / timedelta(hours=1) for s in sessions]
        return float(np.median([s.energy_kwh for s in sessions] if energy else stay_h))

    work = of_site(world, "site_hq", "site_office")  # published: 8.6 h and 11.6 kWh
    shops = of_site(world, "site_mall", "site_retail")  # published: 1.1 h and 8.5 kWh

    assert 7.0 < median(work, energy=False) < 9.5
    assert 9.0 < median(work, energy=True) < 18.0
    assert 0.5 < median(shops, energy=False) < 1.5
    assert 6.0 < median(shops, energy=True) < 15.0
    assert 10.0 < median(of_site(world, "site_depot"), energy=False) < 14.0


def test_workplaces_and_depot_rest_on_weekends_and_public_holidays() -> None:
    winter = generate_world(days=30, end=datetime(2027, 1, 8, 8, tzinfo=UTC))

    def arrivals(*days: tuple[int, int]) -> int:
        return sum(
            (local.month, local.day) in days
            for session in of_site(winter, "site_hq", "site_office", "site_depot")
            for local in [session.started_at.astimezone(HELSINKI)]
        )

    assert arrivals((12, 25), (1, 1), (1, 6)) < 0.15 * arrivals((12, 22), (1, 5), (1, 7))
    assert arrivals((12, 19), (12, 20)) < 0.2 * arrivals((12, 21), (12, 22))


def test_cold_days_need_more_energy() -> None:
    def kwh_per_van(month: int) -> tuple[float, float]:
        season = generate_world(days=28, end=datetime(2026, month, 28, 8, tzinfo=UTC))
        energy = [session.energy_kwh for session in of_site(season, "site_depot")]
        return float(np.mean(energy)), float(np.mean(season.temperature_c))

    winter_kwh, winter_c = kwh_per_van(2)
    summer_kwh, summer_c = kwh_per_van(7)

    assert winter_c < summer_c - 10
    assert winter_kwh > 1.1 * summer_kwh


def test_demand_is_the_sum_of_the_sessions(world: World) -> None:
    for demand in world.demand:
        sessions = of_site(world, demand.site_id)
        plugged_h = sum((s.ended_at - s.started_at) / timedelta(hours=1) for s in sessions)

        assert demand.energy_kwh.sum() == pytest.approx(sum(s.energy_kwh for s in sessions))
        assert demand.occupancy.sum() / 4 == pytest.approx(plugged_h)
        assert demand.sessions_started.sum() == len(sessions)
        assert demand.energy_kwh.size == (END - demand.start) / timedelta(minutes=15)
        assert demand.start.astimezone(HELSINKI).hour == 0
        assert np.any(demand.hourly().energy_kwh == 0)
        assert demand.hourly().energy_kwh.sum() == pytest.approx(demand.energy_kwh.sum())
        assert demand.hourly().occupancy.max() <= len(world.chargers)


def test_days_that_change_the_clock_keep_local_habits() -> None:
    autumn = generate_world(days=14, end=datetime(2026, 10, 31, 22, tzinfo=UTC))

    for session in of_site(autumn, "site_depot"):
        assert session.started_at.astimezone(HELSINKI).hour in range(15, 21)
    hours = autumn.hourly_temperature_c().size
    assert hours == autumn.temperature_c.size * 24


@pytest.mark.parametrize(("days", "end"), [(0, END), (3, END.replace(tzinfo=None))])
def test_a_world_without_days_or_zone_is_refused(days: int, end: datetime) -> None:
    with pytest.raises(ValueError, match="at least one day"):
        generate_world(days=days, end=end)


def test_the_simulation_tells_how_far_it_is() -> None:
    told: list[float] = []

    generate_world(days=3, end=END, progress=lambda share, _step: told.append(share))

    assert told == [0.25, 0.5, 0.75, 1.0]


@given(
    limit_kwh=arrays(np.float64, 8, elements=st.floats(0, 5)),
    price=arrays(np.float64, 8, elements=st.sampled_from([0.05, 0.1, 0.2])),
    energy_kwh=st.floats(min_value=0, max_value=50),
)
def test_placing_energy_cheaply_delivers_as_much_for_no_more(
    limit_kwh: FloatArray, price: FloatArray, energy_kwh: float
) -> None:
    smart = cheapest_first(energy_kwh, limit_kwh=limit_kwh, price_eur_per_kwh=price)
    plain = on_arrival(energy_kwh, limit_kwh=limit_kwh)

    for placed in (smart, plain):
        assert placed.sum() == pytest.approx(min(energy_kwh, limit_kwh.sum()))
        assert np.all(placed >= -1e-12)
        assert np.all(placed <= limit_kwh + 1e-9)
    assert smart @ price <= plain @ price + 1e-9


def hourly_histories(world: World) -> list[SiteHistory]:
    return [
        SiteHistory(
            site_id=hourly.site_id,
            timezone=TIMEZONE,
            country="FI",
            start=hourly.start,
            energy_kwh=hourly.energy_kwh,
            occupancy=hourly.occupancy,
            sessions_started=hourly.sessions_started,
        )
        for hourly in (demand.hourly() for demand in world.demand)
    ]


@pytest.mark.parametrize(
    ("seed", "end"),
    [(42, END), (7, END), (2026, END), (42, datetime(2026, 5, 25, 12, tzinfo=UTC))],
)
def test_the_forecast_comes_close_to_the_ceiling_of_the_world(seed: int, end: datetime) -> None:
    histories = hourly_histories(generate_world(days=30, end=end, seed=seed))
    expected_kwh = oracle_intensity(days=30, end=end, seed=seed, replicates=25)

    model = train(histories)

    test = holdout_samples(histories, since=split_time(histories))
    oracle_kwh = np.choose(
        test.site, [expected_kwh[site_id][test.rows.target] for site_id in test.site_ids]
    )
    oracle_r2 = metrics.r2(test.energy_kwh, oracle_kwh)
    model_r2 = model.metrics["test_r2"]
    assert oracle_r2 >= 0.8
    assert model_r2 >= 0.85 * oracle_r2, f"model {model_r2:.3f}, ceiling {oracle_r2:.3f}"
