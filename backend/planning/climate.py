"""What temperature does to air, tyres, battery and cabin.

Every effect is monotone in the distance from 21 °C, and what heat would spare (thinner air,
softer tyres) is not credited: a plan errs to the safe side.
"""

from typing import Final

import numpy as np

from backend.planning.routes import Array
from backend.planning.vehicle_classes import VehicleParameters

BEST_C: Final = 21.0
"""Where a vehicle goes furthest (Geotab: 21.5 °C)."""

HEATING_BELOW_C: Final = 13.0
"""Driver, sun and waste heat keep the cabin warm down to this temperature."""

COOLING_ABOVE_C: Final = 24.0

ROLLING_PER_K: Final = 0.006
"""Rise of rolling resistance per kelvin below 20 °C; ISO 28580 corrects tyres by 0.8 %."""

DRIVE_LOSS_PER_K: Final = 0.003
"""Further loss in battery and drive per kelvin below 15 °C and above 21 °C.

Together with the tyres this is what AAA measured without heating or cooling: range -12 % at -7 °C
and -4 % at 35 °C.
"""

COLD_BATTERY_C: Final = 15.0
FROZEN_BATTERY_C: Final = -10.0
FROZEN_RECUPERATION: Final = 0.3
"""Share of the warm recuperation power a battery takes at -10 °C and below; an estimate."""

HEAT_PUMP_WARM: Final = 0.5
HEAT_PUMP_LOSS_PER_K: Final = 0.025
"""A heat pump draws half of what resistance does at 0 °C and all of it at -20 °C."""


def air_density_kg_per_m3(temperature_c: Array, height_m: Array | float = 0.0) -> Array:
    """Density of dry air by the gas law and the standard atmosphere's pressure at that height.

    Above 21 °C the density of 21 °C is kept.

    Source: ICAO standard atmosphere, 101 325 Pa and 6.5 K/km.
    """
    pressure_pa = 101_325 * (1 - 2.25577e-5 * np.asarray(height_m)) ** 5.25588
    kelvin = 273.15 + np.minimum(temperature_c, BEST_C)
    return np.asarray(pressure_pa / (287.05 * kelvin))


def rolling_factor(temperature_c: Array) -> Array:
    """Rolling resistance as a multiple of that at 20 °C."""
    return np.asarray(1 + ROLLING_PER_K * np.maximum(0, 20 - temperature_c))


def drive_loss_factor(temperature_c: Array) -> Array:
    """Energy drawn for the wheels as a multiple of that of a battery at its best."""
    away_k = np.maximum(0, COLD_BATTERY_C - temperature_c) + np.maximum(0, temperature_c - BEST_C)
    return np.asarray(1 + DRIVE_LOSS_PER_K * away_k)


def recuperation_limit_factor(temperature_c: Array) -> Array:
    """Share of the warm recuperation power that a cold battery takes."""
    return np.interp(temperature_c, [FROZEN_BATTERY_C, COLD_BATTERY_C], [FROZEN_RECUPERATION, 1])


def climate_power_kw(vehicle: VehicleParameters, temperature_c: Array) -> Array:
    """Steady electric power that keeps the cabin comfortable."""
    heating_kw = np.minimum(
        vehicle.heating_kw_per_k * _cold_k(temperature_c), vehicle.max_climate_kw
    )
    cooling_kw = vehicle.cooling_kw_per_k * np.maximum(0, temperature_c - COOLING_ABOVE_C)
    pumped_kw = heating_kw * _heat_pump_factor(vehicle, temperature_c)
    return np.asarray(pumped_kw + np.minimum(cooling_kw, vehicle.max_climate_kw))


def warm_up_kwh(vehicle: VehicleParameters, temperature_c: float) -> float:
    """Electric energy that brings a cold vehicle up to temperature, once per leg."""
    cold = np.asarray(temperature_c)
    heat_kwh = vehicle.warm_up_kwh_per_k * _cold_k(cold)
    return float(heat_kwh * _heat_pump_factor(vehicle, cold))


def _cold_k(temperature_c: Array) -> Array:
    return np.maximum(0, HEATING_BELOW_C - temperature_c)


def _heat_pump_factor(vehicle: VehicleParameters, temperature_c: Array) -> Array:
    if not vehicle.has_heat_pump:
        return np.ones_like(temperature_c)
    return np.clip(HEAT_PUMP_WARM + HEAT_PUMP_LOSS_PER_K * np.maximum(0, -temperature_c), 0, 1)
