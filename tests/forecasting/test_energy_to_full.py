"""Energy to full and at plug-in: bounded, falling while charging, better than simple rules."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pytest

from backend.forecasting import energy_to_full, plug_in_energy
from backend.forecasting.availability import LEADS, TooLittleTelemetry
from backend.forecasting.availability_features import Known, Questions
from backend.forecasting.energy_to_full import FEATURE_NAMES, rows_of, while_charging
from backend.forecasting.history import FloatArray
from backend.forecasting.plug_in_energy import Expected, PastCharges, charges_of
from backend.forecasting.telemetry_features import Fleet, fleet_of
from backend.forecasting.vehicle_forecast import Answers, foresee
from tests.features.fleets import commuters
from tests.forecasting.vehicles import MONDAY, trace

END = MONDAY + timedelta(days=42, hours=12)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    start = END.replace(hour=0) - timedelta(days=42)
    traces = commuters(until=END, days=42, vehicles=4)
    return fleet_of(traces, start=start, end=END, timezone="UTC", country=None)


def charging_fleet(minutes: int = 60) -> Fleet:
    """One vehicle that charges 10 kW into 50 kWh, 20 points an hour, from 40 % on."""
    points = list(range(0, minutes + 1, 5))
    made = trace(
        [float(one) for one in points],
        soc=[min(40 + one / 3, 100) for one in points],
        plugged=[1] * len(points),
        power_kw=[10.0] * len(points),
    )
    end = MONDAY + timedelta(minutes=minutes)
    return fleet_of([made], start=MONDAY, end=end, timezone="UTC", country=None)


def test_the_guess_is_the_state_of_charge_and_what_the_power_adds() -> None:
    fleet = charging_fleet()
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    lead = np.array([2, 4, 48])
    asked = Questions(np.zeros(3, dtype=np.int64), np.full(3, 4), lead)

    rows = rows_of(fleet, known, asked)

    np.testing.assert_allclose(rows.guess, [30, 20, 0])  # at 60 % after an hour
    np.testing.assert_allclose(rows.power_rule, [30, 20, 0])
    np.testing.assert_allclose(rows.last_soc_rule, [40, 40, 40])


def test_after_a_gap_the_last_state_of_charge_is_old_and_not_the_present() -> None:
    fleet = charging_fleet()
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    asked = Questions(np.zeros(1, dtype=np.int64), np.full(1, 4), np.array([4]))

    row = rows_of(fleet, known, asked, silence_h=np.array([0.5]))

    given = dict(zip(FEATURE_NAMES, row.features[0].tolist(), strict=True))
    assert np.isnan([given[name] for name in ("soc_percent", "soc_lag_1", "is_plugged_in")]).all()
    assert given["last_to_full"] == 50  # at half past
    assert given["last_heard_h"] == 0.5


def test_features_do_not_change_with_what_is_said_after_the_origin(fleet: Fleet) -> None:
    origin = fleet.plugs.slots - 300
    moment = MONDAY.fromtimestamp(int(fleet.moment_s[origin]), tz=MONDAY.tzinfo)
    shorter = fleet_of(
        fleet.traces, start=fleet.plugs.start, end=moment, timezone="UTC", country=None
    )
    leads = np.array(LEADS)
    asked = Questions(np.zeros(len(leads), dtype=np.int64), np.full(len(leads), origin), leads)

    whole, known = (
        rows_of(one, Known.of(one.plugs, slots_ahead=max(LEADS)), asked).features
        for one in (fleet, shorter)
    )

    np.testing.assert_allclose(whole, known, rtol=1e-5)


def test_the_model_beats_the_last_state_and_power_by_time(fleet: Fleet) -> None:
    model = energy_to_full.train(fleet)

    assert model.metrics["mae_points"] < model.metrics["last_soc_mae_points"]
    assert model.metrics["mae_points"] < model.metrics["power_mae_points"]
    assert model.metrics["skill_pct"] > 0


def test_a_day_is_too_little() -> None:
    with pytest.raises(TooLittleTelemetry):
        energy_to_full.train(charging_fleet(24 * 60))


def _always(said: float, rows: FloatArray) -> FloatArray:
    return np.full(len(rows), said)


def test_whatever_the_model_says_energy_to_full_stays_between_zero_and_a_hundred() -> None:
    fleet = charging_fleet()

    for absurd in (-500.0, 500.0):
        answers = Answers(energy_to_full=partial(_always, absurd))
        outlook = foresee(fleet, vehicle=0, answers=answers)
        assert np.all((outlook.to_full_percent >= 0) & (outlook.to_full_percent <= 100))


def test_while_a_vehicle_charges_energy_to_full_does_not_rise() -> None:
    path = np.array([41.0, 30.0, 35.0, 10.0, 60.0])
    chances = np.array([0.9, 0.8, 0.7, 0.4, 0.9])

    falling = while_charging(path, now_to_full=40.0, plug_probability=chances)

    np.testing.assert_array_equal(falling, [40.0, 30.0, 30.0, 10.0, 60.0])


def test_a_charging_vehicle_without_models_is_taken_at_its_last_word() -> None:
    outlook = foresee(charging_fleet(), vehicle=0, answers=Answers())

    assert (outlook.source, outlook.energy_source) == ("like_day", "last_soc")
    assert outlook.is_charging
    assert not outlook.is_after_gap
    np.testing.assert_allclose(outlook.to_full_percent, 40.0)


# Energy at plug-in


def past(count: int = 400, drivers: int = 8, seed: int = 0) -> PastCharges:
    """Drivers who charge about the same each time, less after a short absence."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(count // drivers), drivers)
    driver = np.tile(np.arange(drivers), count // drivers)
    plug_in_s = int(MONDAY.timestamp()) + 86_400 * day + 28_800 + 60 * driver
    energy = 5.0 + 2 * driver + rng.normal(0, 1, len(day))
    return PastCharges(
        driver=driver,
        plug_in_s=plug_in_s,
        plug_out_s=plug_in_s + 25_000,
        local_hour=8.0 + driver / 60,
        weekday=day % 7,
        energy_kwh=energy,
        charge_end_s=plug_in_s + 9_000,
    )


def test_energy_at_plug_in_is_learned_per_driver() -> None:
    found = plug_in_energy.train(past()).metrics

    assert found["mae_kwh"] < 1.2
    assert found["mae_kwh"] < found["last_mae_kwh"]


def test_the_first_charge_of_a_driver_is_the_fleets() -> None:
    rows = plug_in_energy.features(past())

    usual = plug_in_energy.usual_kwh(rows)

    assert np.isnan(rows[0, plug_in_energy.FEATURE_NAMES.index("last_kwh")])
    assert usual[0] == 0  # nobody has charged
    assert usual[-1] == pytest.approx(5 + 2 * 7, abs=1)


def test_a_charge_that_has_not_ended_is_not_known() -> None:
    one = past(16)
    later = PastCharges(
        one.driver,
        one.plug_in_s,
        one.plug_out_s + 10 * 86_400,
        one.local_hour,
        one.weekday,
        one.energy_kwh,
        one.charge_end_s,
    )

    charges = plug_in_energy.features(later)[:, plug_in_energy.FEATURE_NAMES.index("charges")]

    assert not charges.any()


def test_few_charges_are_too_little() -> None:
    with pytest.raises(TooLittleTelemetry):
        plug_in_energy.train(past(80))


def test_charges_are_seen_in_telemetry_and_cut_ones_are_not(fleet: Fleet) -> None:
    found = charges_of(fleet)

    assert np.all(np.diff(found.plug_in_s) >= 0)
    assert len(found.energy_kwh) > 60
    assert 5 < np.median(found.energy_kwh) < 20  # 8 to 20 kWh at the meter, a tenth is lost
    stays_h = (found.plug_out_s - found.plug_in_s) / 3600
    assert np.all((stays_h > 4) & (stays_h < 12))
    first = datetime.fromtimestamp(int(found.plug_in_s[0]), tz=MONDAY.tzinfo)
    assert found.local_hour[0] == pytest.approx(first.hour + first.minute / 60)


def test_the_next_charge_is_foretold_from_a_vehicles_own(fleet: Fleet) -> None:
    text = plug_in_energy.fit(plug_in_energy.features(past()), past().energy_kwh, seed=0)
    at_s = int(END.timestamp())

    def foretold(model: str | None, *, of: Fleet = fleet, usual_kwh: float = 12.0) -> Expected:
        return plug_in_energy.foretell(
            of, vehicle=1, at_s=at_s, text=model, fleet_median_kwh=usual_kwh
        )

    own = charges_of(replace(fleet, traces=fleet.traces[1:2])).energy_kwh
    assert foretold(None).source == "usual"
    assert foretold(None).energy_kwh == pytest.approx(float(np.median(own[-20:])))
    assert foretold(text).source == "model"
    assert 0 < foretold(text).energy_kwh < 30
    silent = replace(fleet, traces=(fleet.traces[0], trace([])))
    assert foretold(None, of=silent) == Expected(12.0, "usual")
    assert foretold(None, of=silent, usual_kwh=np.nan).source == "none"


def test_a_plug_in_asked_about_looks_like_one_that_happens(fleet: Fleet) -> None:
    own = charges_of(replace(fleet, traces=fleet.traces[:1]))
    happened = plug_in_energy.features(own)[-1]

    asked = plug_in_energy.row_at(own, at_s=int(own.plug_in_s[-1]), timezone="UTC")

    np.testing.assert_allclose(asked[0, :-1], happened[:-1])  # the last is the fleet's
