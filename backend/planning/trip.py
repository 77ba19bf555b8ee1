"""What a trip needs from the battery.

By the plain formula every plan can be checked against, or by the road once a caller says more
about the trip; the formula stays its floor.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from backend.planning.road import Weather, calibrated, class_near, drive_energy
from backend.planning.routes import Array, Route, mean_speed_route, route_from_speeds
from backend.planning.vehicle_classes import CLASSES, ClassName

RESERVE_FACTOR = 1.2
"""A trip stated as a distance gets 20 % on top of its nominal consumption."""

POWER_DERATE = 0.85
"""Share of the rated power that charging has on average; it slows charging, it is not billed."""


USUAL_C = 20.0
USUAL_KM_H = 50.0
"""What is taken for temperature and mean speed when a caller states other conditions only."""

TripModel = Literal["formula", "physical"]


@dataclass(frozen=True, slots=True)
class TripFormula:
    """What the plain formula says about one vehicle and its next trip.

    Attributes:
        needed_trip_energy_kwh: Energy the battery must hold at departure for the trip.
        current_energy_kwh: Energy in the battery now.
        extra_energy_needed_kwh: Energy to charge, for the trip and for comfort if it was asked for.
        target_soc_percent: State of charge at departure, at most 100.
        effective_charge_power_kw: Power the vehicle charges with on average.
        charging_time_h: Time the extra energy takes at that power.
        cost_eur: The extra energy at the sales tariff.
        is_feasible: Whether charging ends by the departure.
        exceeds_battery_kwh: Extra energy for which the battery has no room; 0 for most trips.
    """

    needed_trip_energy_kwh: float
    current_energy_kwh: float
    extra_energy_needed_kwh: float
    target_soc_percent: float
    effective_charge_power_kw: float
    charging_time_h: float
    cost_eur: float
    is_feasible: bool
    exceeds_battery_kwh: float


def plain_formula(
    *,
    capacity_kwh: float,
    consumption_wh_per_km: float,
    soc_percent: float,
    charger_max_power_kw: float,
    vehicle_max_power_kw: float,
    tariff_eur_per_kwh: float,
    hours_to_departure: float,
    distance_km: float | None = None,
    energy_kwh: float | None = None,
    trip_target_soc_percent: float | None = None,
    comfort_soc_percent: float | None = None,
    c_rate_cap: float | None = None,
    beyond_battery_kwh: float = 0.0,
) -> TripFormula:
    """Work out energy, time and cost of the charging one trip asks for.

    A trip is given in exactly one of three forms: its distance (a 20 % reserve is added), the
    energy it uses (nothing is added: who states energy has counted the reserve), or the state of
    charge wanted at departure.

    Args:
        capacity_kwh: Usable battery capacity.
        consumption_wh_per_km: Nominal consumption.
        soc_percent: State of charge now.
        charger_max_power_kw: Rated power of the charger.
        vehicle_max_power_kw: Highest power the vehicle takes.
        tariff_eur_per_kwh: Sales tariff.
        hours_to_departure: Time left for charging.
        distance_km: The trip as a distance.
        energy_kwh: The trip as an energy.
        trip_target_soc_percent: The trip as a state of charge at departure.
        comfort_soc_percent: State of charge wanted at departure whatever the trip needs.
        c_rate_cap: Highest power as a multiple of the capacity (1/h), from a battery certificate.
        beyond_battery_kwh: What later legs of a chain need beyond a full battery.

    Raises:
        ValueError: If not exactly one trip form is given, or a value is impossible.
    """
    _require_possible(
        positive={
            "capacity_kwh": capacity_kwh,
            "charger_max_power_kw": charger_max_power_kw,
            "vehicle_max_power_kw": vehicle_max_power_kw,
            "c_rate_cap": c_rate_cap,
        },
        not_negative={
            "consumption_wh_per_km": consumption_wh_per_km,
            "tariff_eur_per_kwh": tariff_eur_per_kwh,
            "distance_km": distance_km,
            "energy_kwh": energy_kwh,
            "beyond_battery_kwh": beyond_battery_kwh,
        },
        percent={
            "soc_percent": soc_percent,
            "trip_target_soc_percent": trip_target_soc_percent,
            "comfort_soc_percent": comfort_soc_percent,
        },
    )
    needed_kwh = _needed_kwh(
        distance_km=distance_km,
        energy_kwh=energy_kwh,
        trip_target_soc_percent=trip_target_soc_percent,
        consumption_wh_per_km=consumption_wh_per_km,
        capacity_kwh=capacity_kwh,
    )
    current_kwh = capacity_kwh * soc_percent / 100
    wanted_kwh = max(needed_kwh, capacity_kwh * (comfort_soc_percent or 0.0) / 100)
    lacking_kwh = max(0.0, wanted_kwh - current_kwh)
    extra_kwh = lacking_kwh + beyond_battery_kwh
    power_kw = effective_power_kw(
        charger_max_power_kw=charger_max_power_kw,
        vehicle_max_power_kw=vehicle_max_power_kw,
        c_rate_cap=c_rate_cap,
        capacity_kwh=capacity_kwh,
    )
    charging_time_h = extra_kwh / power_kw
    return TripFormula(
        needed_trip_energy_kwh=needed_kwh + beyond_battery_kwh,
        current_energy_kwh=current_kwh,
        extra_energy_needed_kwh=extra_kwh,
        target_soc_percent=min(100.0, 100 * (current_kwh + lacking_kwh) / capacity_kwh),
        effective_charge_power_kw=power_kw,
        charging_time_h=charging_time_h,
        cost_eur=extra_kwh * tariff_eur_per_kwh,
        is_feasible=charging_time_h <= max(0.0, hours_to_departure),
        exceeds_battery_kwh=max(0.0, current_kwh + lacking_kwh - capacity_kwh) + beyond_battery_kwh,
    )


def effective_power_kw(
    *,
    charger_max_power_kw: float,
    vehicle_max_power_kw: float,
    capacity_kwh: float,
    c_rate_cap: float | None = None,
) -> float:
    """The weaker of charger and vehicle, derated, and what the battery certificate allows."""
    power_kw = min(charger_max_power_kw, vehicle_max_power_kw) * POWER_DERATE
    return power_kw if c_rate_cap is None else min(power_kw, c_rate_cap * capacity_kwh)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class DrivingConditions:
    """What a caller knows about a trip beyond its distance; each may be missing.

    Attributes:
        temperature_c: Of the air.
        headwind_m_s: Against the vehicle, negative from behind.
        payload_kg: Passengers and goods beyond the driver.
        mean_speed_km_h: Length over time.
        stops: How often the vehicle stops.
        climb_m: Sum of all that goes up.
        descent_m: Sum of all that goes down.
        start_height_m: Height above the sea at the start.
        speed_km_h: Speed second by second, stretched to the distance, shape (instants,).
        height_m: Height above the sea at each of those, shape (instants,).
        is_preconditioned: Whether cabin and battery are warmed from the grid before.
    """

    temperature_c: float | None = None
    headwind_m_s: float | None = None
    payload_kg: float | None = None
    mean_speed_km_h: float | None = None
    stops: float | None = None
    climb_m: float | None = None
    descent_m: float | None = None
    start_height_m: float | None = None
    speed_km_h: Array | None = None
    height_m: Array | None = None
    is_preconditioned: bool | None = None

    @property
    def says_anything(self) -> bool:
        """Whether at least one condition is known."""
        return any(getattr(self, name) is not None for name in self.__slots__)


@dataclass(frozen=True, slots=True)
class TripNeed:
    """Energy a trip needs in the battery at departure.

    Attributes:
        needed_trip_energy_kwh: What the plan must provide; never below the formula.
        formula_kwh: The plain formula's.
        expected_kwh: What the trip is expected to use; None by the formula.
        std_kwh: Standard deviation of that; None by the formula.
        trip_model: Which of the two was used.
    """

    needed_trip_energy_kwh: float
    formula_kwh: float
    expected_kwh: float | None
    std_kwh: float | None
    trip_model: TripModel


def trip_need(
    *,
    distance_km: float,
    consumption_wh_per_km: float,
    conditions: DrivingConditions | None = None,
    vehicle_class: ClassName | None = None,
    has_heat_pump: bool = False,
    free_battery_kwh: float | None = None,
    quantile: float = 0.9,
    reserve_kwh: float = 0.0,
) -> TripNeed:
    """Work out the energy a trip needs, by the road if the caller says anything about it.

    Args:
        distance_km: Length of the trip.
        consumption_wh_per_km: Nominal consumption; the class is fitted to it.
        conditions: What else is known; the plain formula is used if that is nothing.
        vehicle_class: Kind of vehicle; the one nearest in consumption if None.
        has_heat_pump: Whether its heat is pumped.
        free_battery_kwh: Room in the battery at departure, for recuperation.
        quantile: Probability with which the energy suffices.
        reserve_kwh: What must be left at arrival by the road; the formula has its own.

    Raises:
        ValueError: If a value is impossible.
    """
    _require_possible(
        positive={},
        not_negative={
            "distance_km": distance_km,
            "consumption_wh_per_km": consumption_wh_per_km,
            "reserve_kwh": reserve_kwh,
        },
        percent={},
    )
    formula_kwh = distance_km * consumption_wh_per_km * RESERVE_FACTOR / 1000
    if conditions is None or not conditions.says_anything:
        return TripNeed(formula_kwh, formula_kwh, None, None, "formula")
    vehicle = (
        class_near(consumption_wh_per_km)
        if vehicle_class is None
        else calibrated(CLASSES[vehicle_class], consumption_wh_per_km)
    )
    energy = drive_energy(
        replace(vehicle, has_heat_pump=has_heat_pump),
        _route(distance_km, conditions),
        _weather(conditions),
        payload_kg=conditions.payload_kg or 0.0,
        free_battery_kwh=free_battery_kwh,
        is_preconditioned=bool(conditions.is_preconditioned),
    )
    return TripNeed(
        needed_trip_energy_kwh=max(formula_kwh, energy.quantile_kwh(quantile) + reserve_kwh),
        formula_kwh=formula_kwh,
        expected_kwh=energy.battery_kwh,
        std_kwh=energy.std_kwh,
        trip_model="physical",
    )


def _weather(conditions: DrivingConditions) -> Weather:
    """The air as far as it is known; what is not stated is less sure."""
    return Weather(
        temperature_c=USUAL_C if conditions.temperature_c is None else conditions.temperature_c,
        headwind_m_s=conditions.headwind_m_s or 0.0,
        temperature_std_k=8.0 if conditions.temperature_c is None else 2.0,
        headwind_std_m_s=3.0 if conditions.headwind_m_s is None else 1.0,
    )


def _route(distance_km: float, conditions: DrivingConditions) -> Route:
    if conditions.speed_km_h is None:
        if conditions.height_m is not None:
            raise ValueError("height_m needs speed_km_h")
        return mean_speed_route(
            distance_km=distance_km,
            mean_speed_km_h=(
                USUAL_KM_H if conditions.mean_speed_km_h is None else conditions.mean_speed_km_h
            ),
            stops=conditions.stops,
            climb_m=conditions.climb_m or 0.0,
            descent_m=conditions.descent_m or 0.0,
            start_height_m=conditions.start_height_m or 0.0,
        )
    traced = route_from_speeds(
        np.asarray(conditions.speed_km_h, float) / 3.6, height_m=conditions.height_m
    )
    return traced.stretched(distance_km)


def _needed_kwh(
    *,
    distance_km: float | None,
    energy_kwh: float | None,
    trip_target_soc_percent: float | None,
    consumption_wh_per_km: float,
    capacity_kwh: float,
) -> float:
    forms = (distance_km, energy_kwh, trip_target_soc_percent)
    if sum(form is not None for form in forms) != 1:
        raise ValueError(
            "a trip is exactly one of distance_km, energy_kwh and trip_target_soc_percent"
        )
    if distance_km is not None:
        return distance_km * consumption_wh_per_km * RESERVE_FACTOR / 1000
    if energy_kwh is not None:
        return energy_kwh
    return capacity_kwh * (trip_target_soc_percent or 0.0) / 100


def _require_possible(
    *,
    positive: dict[str, float | None],
    not_negative: dict[str, float | None],
    percent: dict[str, float | None],
) -> None:
    for name, value in (positive | not_negative | percent).items():
        if value is not None and (not math.isfinite(value) or value < 0):
            raise ValueError(f"{name} must be finite and not negative, not {value}")
    for name, value in positive.items():
        if value == 0:
            raise ValueError(f"{name} must be above 0")
    for name, value in percent.items():
        if value is not None and value > 100:  # noqa: PLR2004 - a percentage
            raise ValueError(f"{name} must be at most 100, not {value}")
