"""What a way costs the battery: road load, recuperation, auxiliaries, heating and cooling.

Per piece of a route, with the symbols of T. D. Gillespie, "Fundamentals of Vehicle Dynamics",
1992: the work at the wheels is m*g*h + m*v²/2 + C_rr*m*g*s + rho/2*C_d*A*(v+w)²*s. Slopes are small
enough for their cosine to be 1, which errs to the safe side.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from statistics import NormalDist

import numpy as np

from backend.planning import climate
from backend.planning.routes import Array, Route, mean_speed_route
from backend.planning.vehicle_classes import CLASSES, VehicleParameters

GRAVITY_M_S2 = 9.80665

ROTATING_MASS = 1.03
"""Wheels and motor turn as well: 3 % more than the mass alone to speed up and to brake."""

J_PER_KWH = 3.6e6

COLDEST_C = -60.0

NOMINAL_C = 23.0

WLTC_PHASES = ((3.095, 18.9, 7), (4.756, 39.5, 4), (7.162, 56.6, 3), (8.254, 92.0, 2))
"""Length in km, mean speed in km/h and stops of each phase of the WLTC, class 3b.

A stated consumption is measured on it. It slows down more often than it stops; the stops are those
that cost the same, so that each class comes within 4 % of the cycle itself.
"""

WLTC_SPREAD = 0.3
"""Spread of speed within a phase."""

SCALE_LIMITS = (0.6, 1.8)
"""A stated consumption further than this from its class is not believed beyond it."""

DRIVING_SPREAD = 0.10
CLIMATE_SPREAD = 0.25
AUXILIARY_SPREAD = 0.20
"""Relative standard deviations of drivers and traffic, heating and cooling, and auxiliaries.

Estimates of ours, no narrower than the model's own error: with one efficiency for all, 18 vehicles
of FASTSim 2.1.5 are met within -9 and 12 % on UDDS, HWFET and US06, and a mean speed in place of
the cycle itself costs 5 % less, 11 % more and 18 % less on average.
"""


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Weather:
    """The air a vehicle drives through.

    Attributes:
        temperature_c: Of the air, for the whole way or per piece, shape (pieces,).
        headwind_m_s: Against the vehicle, negative from behind; for the whole way or per piece.
        temperature_std_k: How wrong the temperature may be, a standard deviation.
        headwind_std_m_s: How wrong the wind may be, a standard deviation.
        air_density_kg_per_m3: Given for a dynamometer, whose rollers hold the drag of 20 °C.
    """

    temperature_c: float | Array = climate.BEST_C
    headwind_m_s: float | Array = 0.0
    temperature_std_k: float = 2.0
    headwind_std_m_s: float = 2.0
    air_density_kg_per_m3: float | None = None

    def __post_init__(self) -> None:
        for name in ("temperature_c", "headwind_m_s"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} must be finite")
        if np.min(self.temperature_c) < COLDEST_C:
            raise ValueError(f"temperature_c must be at least {COLDEST_C}")

    def shifted(self, *, temperature_k: float = 0.0, headwind_m_s: float = 0.0) -> "Weather":
        """The same air, further from 21 °C by so many kelvin and blowing harder."""
        away = np.where(np.asarray(self.temperature_c) < climate.BEST_C, -1, 1)
        return replace(
            self,
            temperature_c=np.maximum(COLDEST_C, self.temperature_c + away * temperature_k),
            headwind_m_s=self.headwind_m_s + headwind_m_s,
        )


@dataclass(frozen=True, slots=True)
class DriveEnergy:
    """Where the energy of a way goes.

    Attributes:
        traction_kwh: Out of the battery for the wheels.
        recuperated_kwh: Back into the battery; less when it is cold or full.
        auxiliary_kwh: For everything that always runs.
        climate_kwh: For heating and cooling, the warm-up included.
        std_kwh: Standard deviation of ``battery_kwh``.
        distance_km: Length of the way.
        duration_h: Time it takes.
    """

    traction_kwh: float
    recuperated_kwh: float
    auxiliary_kwh: float
    climate_kwh: float
    std_kwh: float
    distance_km: float
    duration_h: float

    @property
    def battery_kwh(self) -> float:
        """Expected energy the battery gives; negative when a long descent fills it."""
        return self.traction_kwh - self.recuperated_kwh + self.auxiliary_kwh + self.climate_kwh

    def quantile_kwh(self, quantile: float) -> float:
        """Energy that suffices with this probability, by a normal distribution.

        Raises:
            ValueError: If the quantile is not between 0 and 1.
        """
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, not {quantile}")
        return self.battery_kwh + NormalDist().inv_cdf(quantile) * self.std_kwh


def drive_energy(
    vehicle: VehicleParameters,
    route: Route,
    weather: Weather | None = None,
    *,
    payload_kg: float = 0.0,
    free_battery_kwh: float | None = None,
    is_preconditioned: bool = False,
) -> DriveEnergy:
    """Work out what a way costs the battery, and how sure that is.

    The spread adds up four independent causes: drivers and traffic, heating and cooling,
    auxiliaries, and weather that turns out different (the way is worked out again in it).

    Args:
        vehicle: Who drives.
        route: Where and how fast.
        weather: The air; still and at 21 °C if None.
        payload_kg: Passengers and goods beyond the driver.
        free_battery_kwh: Room in the battery at the start; recuperation beyond it is braked away.
        is_preconditioned: Whether cabin and battery were warmed from the grid.

    Raises:
        ValueError: If the payload or the room is negative or not finite.
    """
    if not 0 <= payload_kg < math.inf:
        raise ValueError(f"payload_kg must be finite and not negative, not {payload_kg}")
    if free_battery_kwh is not None and not free_battery_kwh >= 0:
        raise ValueError(f"free_battery_kwh must not be negative, not {free_battery_kwh}")
    weather = weather or Weather()

    def in_weather(air: Weather) -> DriveEnergy:
        return _expected(
            vehicle,
            route,
            air,
            payload_kg=payload_kg,
            free_battery_kwh=free_battery_kwh,
            is_preconditioned=is_preconditioned,
        )

    expected = in_weather(weather)
    colder = in_weather(weather.shifted(temperature_k=weather.temperature_std_k))
    windier = in_weather(weather.shifted(headwind_m_s=weather.headwind_std_m_s))
    std_kwh = math.hypot(
        DRIVING_SPREAD * (expected.traction_kwh - expected.recuperated_kwh),
        CLIMATE_SPREAD * expected.climate_kwh,
        AUXILIARY_SPREAD * expected.auxiliary_kwh,
        colder.battery_kwh - expected.battery_kwh,
        windier.battery_kwh - expected.battery_kwh,
    )
    return replace(expected, std_kwh=std_kwh)


def wltc_route() -> Route:
    """The driving cycle of stated consumptions, by the figures of its four phases."""
    phases = [
        mean_speed_route(
            distance_km=km, mean_speed_km_h=km_h, stops=stops, speed_spread=WLTC_SPREAD
        )
        for km, km_h, stops in WLTC_PHASES
    ]
    return reduce(Route.then, phases)


def calibrated(vehicle: VehicleParameters, consumption_wh_per_km: float) -> VehicleParameters:
    """The class fitted to one vehicle's stated consumption, as measured on the WLTC at 23 °C.

    Only what the wheels take is scaled; auxiliaries stay. A consumption that no vehicle of the
    class could have is followed to ``SCALE_LIMITS`` only; 0 means not known.
    """
    if not consumption_wh_per_km > 0:
        return vehicle
    nominal = _nominal_energy(replace(vehicle, consumption_scale=1.0))
    stated_kwh = nominal.distance_km * consumption_wh_per_km / 1000
    wheels_kwh = nominal.traction_kwh - nominal.recuperated_kwh
    scale = (stated_kwh - nominal.auxiliary_kwh) / wheels_kwh
    return replace(vehicle, consumption_scale=float(np.clip(scale, *SCALE_LIMITS)))


@lru_cache(maxsize=64)  # a fleet asks for few kinds of vehicle, many times
def _nominal_energy(vehicle: VehicleParameters) -> DriveEnergy:
    return drive_energy(vehicle, wltc_route(), Weather(NOMINAL_C))


def class_near(consumption_wh_per_km: float) -> VehicleParameters:
    """The class whose own consumption on the WLTC is nearest, fitted to the stated one."""
    fitted = [calibrated(vehicle, consumption_wh_per_km) for vehicle in CLASSES.values()]
    return min(fitted, key=lambda vehicle: abs(math.log(vehicle.consumption_scale)))


def _expected(
    vehicle: VehicleParameters,
    route: Route,
    weather: Weather,
    *,
    payload_kg: float,
    free_battery_kwh: float | None,
    is_preconditioned: bool,
) -> DriveEnergy:
    temperature_c = np.broadcast_to(weather.temperature_c, route.length_m.shape)
    work_j = _wheel_work_j(vehicle, route, weather, vehicle.mass_kg + payload_kg)
    drawn_kwh, returned_kwh = _through_the_drive(vehicle, route, temperature_c, work_j)
    hours = route.duration_s / 3600
    auxiliary_kwh = vehicle.auxiliary_kw * hours
    climate_kwh = climate.climate_power_kw(vehicle, temperature_c) * hours
    if route.length_m.any() and not is_preconditioned:
        climate_kwh[0] += climate.warm_up_kwh(vehicle, float(temperature_c[0]))
    used_kwh = drawn_kwh + auxiliary_kwh + climate_kwh - returned_kwh
    return DriveEnergy(
        traction_kwh=float(drawn_kwh.sum()),
        recuperated_kwh=float(returned_kwh.sum()) - _spilled_kwh(used_kwh, free_battery_kwh),
        auxiliary_kwh=float(auxiliary_kwh.sum()),
        climate_kwh=float(climate_kwh.sum()),
        std_kwh=0.0,
        distance_km=route.distance_km,
        duration_h=route.duration_h,
    )


def _wheel_work_j(
    vehicle: VehicleParameters, route: Route, weather: Weather, mass_kg: float
) -> Array:
    """Work at the wheels per piece; wind from behind faster than the vehicle does not push."""
    temperature_c = np.asarray(weather.temperature_c)
    density = (
        climate.air_density_kg_per_m3(temperature_c, route.height_m)
        if weather.air_density_kg_per_m3 is None
        else weather.air_density_kg_per_m3
    )
    rolling_n = (
        vehicle.rolling_coefficient * climate.rolling_factor(temperature_c) * mass_kg * GRAVITY_M_S2
    )
    through_air_m_s = np.maximum(0, route.speed_m_s + weather.headwind_m_s)
    drag_n = density / 2 * vehicle.drag_area_m2 * through_air_m_s**2
    motion_j = mass_kg * (GRAVITY_M_S2 * route.rise_m + ROTATING_MASS * route.kinetic_j_per_kg)
    return np.asarray(motion_j + (rolling_n + drag_n) * route.length_m)


def _through_the_drive(
    vehicle: VehicleParameters, route: Route, temperature_c: Array, work_j: Array
) -> tuple[Array, Array]:
    """Energy drawn and returned per piece in kWh, after efficiency, cold and power limit."""
    loss = climate.drive_loss_factor(temperature_c)
    drawn_kwh = np.maximum(0, work_j) / vehicle.drive_efficiency * loss / J_PER_KWH
    hours = route.duration_s / 3600
    drawn_kw = np.divide(drawn_kwh, hours, out=np.zeros_like(drawn_kwh), where=hours > 0)
    drawn_kwh *= (1 + vehicle.cell_loss_per_kw * drawn_kw) * vehicle.consumption_scale
    limit_kw = vehicle.max_recuperation_kw * climate.recuperation_limit_factor(temperature_c)
    caught_j = np.minimum(
        vehicle.recuperation_share * np.maximum(0, -work_j), 3.6e6 * limit_kw * hours
    )
    returned_kwh = caught_j * vehicle.drive_efficiency / loss / J_PER_KWH
    return drawn_kwh, returned_kwh * vehicle.consumption_scale


def _spilled_kwh(used_kwh: Array, free_battery_kwh: float | None) -> float:
    """Energy returned to a full battery: what the sum ever exceeds the room by."""
    if free_battery_kwh is None or not used_kwh.size:
        return 0.0
    return max(0.0, float(np.max(-np.cumsum(used_kwh))) - free_battery_kwh)
