"""How close the trip model comes to AAA's, Geotab's and ADAC's measurements and to FASTSim.

FASTSim (PyPI: fastsim, version 3) is an oracle for tests only: its figures are left out when it
cannot be imported. Its vehicles lend mass, drag, tyres, auxiliaries and one figure for the
efficiency of their drive.
"""

import argparse
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from backend.planning import charging_losses
from backend.planning.charging_losses import MOTOR_CHARGER, USUAL_CHARGER, OnboardCharger
from backend.planning.road import Weather, drive_energy, wltc_route
from backend.planning.routes import Array, Route, mean_speed_route, route_from_speeds
from backend.planning.vehicle_classes import CLASSES, ClassName, VehicleParameters

AAA_CARS: tuple[ClassName, ...] = ("compact", "compact", "compact", "compact", "sedan")
"""BMW i3s, Chevrolet Bolt, Nissan Leaf, VW e-Golf; Tesla Model S 75D."""

AAA_CITY = {"mean_speed_km_h": 31.5, "stops_per_km": 17 / 11.99}
AAA_HIGHWAY = {"mean_speed_km_h": 77.7, "stops_per_km": 1 / 16.51}
AAA_KM = 150.0
AAA_BASE_C = 23.9
AAA_RANGE_LOSS = {
    # (temperature in °C, with heating or cooling): range in percent of that at 75 °F
    (-6.7, True): 59.0,
    (-6.7, False): 88.0,
    (35.0, True): 83.0,
    (35.0, False): 96.0,
}

GEOTAB_RATED_RANGE = {-15.0: 54.0, 21.5: 115.0}
GEOTAB_AT_LEAST_RATED_C = (10.0, 31.0)
GEOTAB_TRIP_KM = 20.0
GEOTAB_TRIP_KM_H = 50.0
"""Geotab does not say how its trips look; these are taken for all of its temperatures."""

GEOTAB_BEST_MPH: dict[tuple[ClassName, float], float] = {
    ("sedan", 20.0): 19.0,
    ("sedan", 0.0): 37.0,
    ("van", 20.0): 16.0,
    ("van", 0.0): 25.0,
}
KM_PER_MILE = 1.609344

ADAC_LOSSES: tuple[tuple[str, float, float, OnboardCharger], ...] = (
    ("zoe", 11.0, 9.7, MOTOR_CHARGER),
    ("zoe", 2.3, 24.2, MOTOR_CHARGER),
    ("id3", 11.0, 9.0, USUAL_CHARGER),
    ("id3", 5.5, 9.2, USUAL_CHARGER),
    ("id3", 2.3, 13.6, USUAL_CHARGER),
    ("model3", 11.0, 7.7, USUAL_CHARGER),
    ("model3", 3.5, 11.4, USUAL_CHARGER),
    ("model3", 2.3, 15.2, USUAL_CHARGER),
    ("500e", 11.0, 6.3, USUAL_CHARGER),
    ("500e", 3.6, 13.9, USUAL_CHARGER),
    ("500e", 2.3, 12.7, USUAL_CHARGER),
)

FASTSIM_VEHICLES = (
    "2016 Nissan Leaf 30 kWh thrml.yaml",
    "2020 Chevrolet Bolt EV thrml.yaml",
    "2022 Tesla Model 3 RWD thrml.yaml",
    "2022_Renault_Zoe_ZE50_R135.yaml",
)
FASTSIM_VAN = "2022_Renault_Zoe_ZE50_R135.yaml"
"""FASTSim's library has no van: our van's body on these parts, the motor grown to 150 kW."""


def winter_figures() -> dict[str, float]:
    """Model against AAA and Geotab; errors in points of range, worst as the bench's key."""
    figures = aaa_figures() | geotab_figures() | best_speed_figures()
    worst = max(abs(error) for name, error in figures.items() if name.endswith("_error_points"))
    return figures | {"trip_winter_error_points": worst}


def aaa_figures() -> dict[str, float]:
    """Range of AAA's five cars on a dynamometer, by their classes, against what AAA measured."""
    figures = {}
    for (temperature_c, has_climate), measured in AAA_RANGE_LOSS.items():
        shares = [_aaa_range(name, temperature_c, has_climate=has_climate) for name in AAA_CARS]
        name = f"aaa_{temperature_c:.0f}c_{'climate' if has_climate else 'no_climate'}"
        figures[f"{name}_range_pct"] = mean(shares)
        figures[f"{name}_error_points"] = mean(shares) - measured
    return figures


def geotab_figures() -> dict[str, float]:
    """Range as a share of the rated one (WLTC) against Geotab's curve, mean of two classes."""
    figures = {}
    for temperature_c, measured in GEOTAB_RATED_RANGE.items():
        share = _geotab_range(temperature_c)
        figures[f"geotab_{temperature_c:g}c_range_pct"] = share
        figures[f"geotab_{temperature_c:g}c_error_points"] = share - measured
    for temperature_c in GEOTAB_AT_LEAST_RATED_C:
        share = _geotab_range(temperature_c)
        figures[f"geotab_{temperature_c:g}c_range_pct"] = share
        figures[f"geotab_{temperature_c:g}c_error_points"] = min(0.0, share - 100)
    return figures


def best_speed_figures() -> dict[str, float]:
    """Speed of the longest range, and the range lost at Geotab's best speed instead of ours."""
    figures = {}
    speeds_mph = np.arange(8.0, 60.0, 0.25)
    for (name, temperature_c), best_mph in GEOTAB_BEST_MPH.items():
        ranges = [1 / _steady_kwh(name, mph, temperature_c) for mph in speeds_mph]
        there = 1 / _steady_kwh(name, best_mph, temperature_c)
        figures[f"best_mph_{name}_{temperature_c:.0f}c"] = float(speeds_mph[np.argmax(ranges)])
        figures[f"best_speed_{name}_{temperature_c:.0f}c_error_points"] = 100 * (
            there / max(ranges) - 1
        )
    return figures


def losses_figures() -> dict[str, float]:
    """Charging losses against ADAC's eleven measurements; errors in points of metered energy."""
    figures = {
        f"adac_{car}_{power_kw:g}kw_error_points": 100
        * charging_losses.loss_share(power_kw, charger)
        - measured
        for car, power_kw, measured, charger in ADAC_LOSSES
    }
    return figures | {"trip_losses_error_points": max(map(abs, figures.values()))}


def has_fastsim() -> bool:
    """Whether the oracle can be imported."""
    return importlib.util.find_spec("fastsim") is not None


def fastsim_figures() -> dict[str, float]:
    """Energy out of the battery against FASTSim's, five vehicles on three cycles, in percent.

    Raises:
        ModuleNotFoundError: If FASTSim is not there.
    """
    fastsim: Any = importlib.import_module("fastsim")
    cycles = fastsim_cycles(fastsim)
    figures = {}
    for name, oracle in fastsim_vehicles(fastsim).items():
        for cycle_name, speed_m_s in cycles.items():
            theirs = _fastsim_kwh_per_km(fastsim, oracle, speed_m_s)
            ours = _same_vehicle(oracle), route_from_speeds(speed_m_s)
            energy = drive_energy(*ours, Weather(20.0, air_density_kg_per_m3=1.2))
            figures[f"fastsim_{name}_{cycle_name}_error_pct"] = 100 * (
                energy.battery_kwh / energy.distance_km / theirs - 1
            )
    return figures | {"trip_fastsim_error_pct": max(map(abs, figures.values()))}


def fastsim_cycles(fastsim: Any) -> dict[str, Array]:  # noqa: ANN401 - a module without types
    """UDDS and HWFET from the package; US06, which it lacks, from the file beside this one."""
    cycles = {
        name: np.array(
            fastsim.Cycle.from_resource(f"{name}.csv").to_dict()["speed_meters_per_second"]
        )
        for name in ("udds", "hwfet")
    }
    return cycles | {"us06": us06_m_s()}


def us06_m_s() -> Array:
    """Speed of the US06 cycle second by second, shape (601,)."""
    _, *lines = Path(__file__).with_name("us06.txt").read_text(encoding="utf-8").splitlines()
    return np.array([float(mph) for line in lines for mph in line.split()]) * KM_PER_MILE / 3.6


def fastsim_vehicles(fastsim: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - no types
    """Four battery vehicles of FASTSim's library and our van, as its dictionaries."""
    vehicles = {
        file.split(".")[0].removesuffix(" thrml").replace(" ", "_"): fastsim.Vehicle.from_resource(
            file
        ).to_dict()
        for file in FASTSIM_VEHICLES
    }
    van = fastsim.Vehicle.from_resource(FASTSIM_VAN).to_dict()
    body = CLASSES["van"]
    van["mass_kilograms"] = body.mass_kg
    van["chassis"] |= {
        "drag_coef": 0.36,
        "frontal_area_square_meters": body.drag_area_m2 / 0.36,
        "wheel_rr_coef": body.rolling_coefficient,
        "glider_mass_kilograms": None,
        "cargo_mass_kilograms": None,
    }
    van["pt_type"]["BEV"]["em"]["pwr_out_max_watts"] = 150e3
    return vehicles | {"van": van}


def _aaa_range(name: ClassName, temperature_c: float, *, has_climate: bool) -> float:
    """Range in percent of that at 75 °F, city and highway combined as SAE J1634 does."""
    vehicle = CLASSES[name]
    tested = (
        vehicle
        if has_climate
        else replace(vehicle, heating_kw_per_k=0.0, cooling_kw_per_k=0.0, warm_up_kwh_per_k=0.0)
    )
    return 100 * _combined_range(tested, temperature_c) / _combined_range(vehicle, AAA_BASE_C)


def _combined_range(vehicle: VehicleParameters, temperature_c: float) -> float:
    """Kilometres per kWh on a dynamometer."""
    weather = Weather(temperature_c, air_density_kg_per_m3=1.2)
    city, highway = (
        AAA_KM / drive_energy(vehicle, _cycle_by_figures(**figures), weather).battery_kwh
        for figures in (AAA_CITY, AAA_HIGHWAY)
    )
    return 0.55 * city + 0.45 * highway


def _cycle_by_figures(*, mean_speed_km_h: float, stops_per_km: float) -> Route:
    return mean_speed_route(
        distance_km=AAA_KM,
        mean_speed_km_h=mean_speed_km_h,
        stops=stops_per_km * AAA_KM,
        speed_spread=0.0,
    )


def _geotab_range(temperature_c: float) -> float:
    """Range in percent of the rated one."""
    route = mean_speed_route(distance_km=GEOTAB_TRIP_KM, mean_speed_km_h=GEOTAB_TRIP_KM_H)
    shares = []
    for name in ("compact", "sedan"):
        vehicle = CLASSES[name]
        rated = drive_energy(vehicle, wltc_route(), Weather(23.0))
        real = drive_energy(vehicle, route, Weather(temperature_c))
        shares.append(rated.battery_kwh / rated.distance_km / real.battery_kwh * real.distance_km)
    return 100 * mean(shares)


def _steady_kwh(name: ClassName, speed_mph: float, temperature_c: float) -> float:
    """Energy of 500 km at one speed, warmed up."""
    route = mean_speed_route(
        distance_km=500.0, mean_speed_km_h=speed_mph * KM_PER_MILE, stops=1, speed_spread=0.0
    )
    vehicle = CLASSES[name]
    return drive_energy(vehicle, route, Weather(temperature_c), is_preconditioned=True).battery_kwh


def _fastsim_kwh_per_km(
    fastsim: Any,  # noqa: ANN401 - a module without types
    vehicle: dict[str, Any],
    speed_m_s: Array,
) -> float:
    """Energy FASTSim takes from the cells; its 22 °C inside and out ask for no climate power."""
    cycle = fastsim.Cycle.from_dict(
        {
            "time_seconds": [float(second) for second in range(speed_m_s.size)],
            "speed_meters_per_second": speed_m_s.tolist(),
        }
    )
    # US06 asks more of some motors than they have; FASTSim then drives as fast as it can.
    parameters = fastsim.SimParams.default().to_dict() | {"trace_miss_opts": "Allow"}
    drive = fastsim.SimDrive(
        fastsim.Vehicle.from_dict(vehicle), cycle, fastsim.SimParams.from_dict(parameters)
    )
    drive.walk()
    battery = drive.to_dict()["veh"]["pt_type"]["BEV"]["res"]["state"]
    metres = float(drive.to_dict()["veh"]["state"]["dist_meters"])
    return float(battery["energy_out_chemical_joules"]) / 3600 / metres


def _same_vehicle(vehicle: dict[str, Any]) -> VehicleParameters:
    """FASTSim's vehicle in our words; how much of its braking is recuperated stays ours."""
    chassis = vehicle["chassis"]
    return replace(
        CLASSES["sedan"],
        mass_kg=vehicle["mass_kilograms"],
        drag_area_m2=chassis["drag_coef"] * chassis["frontal_area_square_meters"],
        rolling_coefficient=chassis["wheel_rr_coef"],
        drive_efficiency=_drive_efficiency(vehicle["pt_type"]["BEV"]),
        auxiliary_kw=vehicle["pwr_aux_base_watts"] / 1000,
        max_recuperation_kw=vehicle["pt_type"]["BEV"]["em"]["pwr_out_max_watts"] / 1000,
    )


def _drive_efficiency(powertrain: dict[str, Any]) -> float:
    """One figure for gears and motor: the motor's mean where cycles mostly load it, 4 to 40 %.

    FASTSim's constant efficiency of the cells is left out: ours grows with the power.
    """
    motor = powertrain["em"]["eff_interp_achieved"]["data"]
    load, efficiency = (np.array(part["data"]) for part in (motor["grid"][0], motor["values"]))
    used = (load >= 0.04) & (load <= 0.4)  # noqa: PLR2004 - said above
    return float(powertrain["transmission"]["eff_interp"] * efficiency[used].mean())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    parts = [winter_figures, losses_figures]
    if has_fastsim():
        parts.append(fastsim_figures)
    figures = {name: round(value, 2) for part in parts for name, value in part().items()}
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<52}{value:>10.2f}")
    if not has_fastsim():
        print("FASTSim is not installed; its comparison is left out.")


if __name__ == "__main__":
    main()
