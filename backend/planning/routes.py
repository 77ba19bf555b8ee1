"""A way to drive as pieces: how far, how fast, how high, and how much is braked and accelerated."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACE_M_S2 = 0.8
"""Acceleration and braking between stops; makes UDDS's energy of motion from its mean speed."""

STANDING_S = 15.0
"""Time at each stop: UDDS stands 259 s at 17 stops."""


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Route:
    """Pieces of a way in the order they are driven.

    Attributes:
        length_m: Length of each piece, shape (pieces,).
        speed_m_s: Speed that counts for drag, shape (pieces,).
        duration_s: Time each piece takes, shape (pieces,).
        rise_m: Height won, negative downhill, shape (pieces,).
        kinetic_j_per_kg: Energy of motion won, negative when braking, shape (pieces,).
        height_m: Height above the sea whose air counts, shape (pieces,): the lowest of a way, so
            that no hill pays by its thinner air.
    """

    length_m: Array
    speed_m_s: Array
    duration_s: Array
    rise_m: Array
    kinetic_j_per_kg: Array
    height_m: Array

    @property
    def distance_km(self) -> float:
        """Length of the whole way."""
        return float(self.length_m.sum()) / 1000

    @property
    def duration_h(self) -> float:
        """Time of the whole way, stops included."""
        return float(self.duration_s.sum()) / 3600

    def stretched(self, distance_km: float) -> "Route":
        """The same way of driving over another length: stops, hills and time grow with it.

        Raises:
            ValueError: If this way has no length, or the other is negative.
        """
        if not (self.distance_km > 0 and 0 <= distance_km < math.inf):
            raise ValueError("a way to stretch must lead somewhere")
        times = distance_km / self.distance_km
        return replace(
            self,
            length_m=self.length_m * times,
            duration_s=self.duration_s * times,
            rise_m=self.rise_m * times,
            kinetic_j_per_kg=self.kinetic_j_per_kg * times,
        )

    def then(self, other: "Route") -> "Route":
        """This way and the other one after it."""
        return Route(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in Route.__slots__
            )
        )


def usual_stops(distance_km: float, mean_speed_km_h: float) -> float:
    """Number of stops where none is given: many in a town's pace, few on a highway.

    Fitted to the 17 stops of UDDS (12.0 km at 31.5 km/h) and the one of HWFET (16.5 km at 77.7).
    """
    return distance_km * 1.42 * math.exp((31.5 - mean_speed_km_h) / 14.8)


def usual_spread(mean_speed_km_h: float) -> float:
    """Spread of speed where none is given: a fast half of the way at up to 110 km/h.

    The WLTC, 19 to 92 km/h in its phases, has 0.9 as a whole; a highway trip has hardly any.
    """
    return min(0.9, max(0.0, 110 / mean_speed_km_h - 1))


def mean_speed_route(
    *,
    distance_km: float,
    mean_speed_km_h: float,
    stops: float | None = None,
    speed_spread: float | None = None,
    climb_m: float = 0.0,
    descent_m: float = 0.0,
    start_height_m: float = 0.0,
) -> Route:
    """A way known by its length and mean speed only: up, then down, each in equal hops.

    One half of the way is driven faster than the mean, the other slower, so that the time is kept.
    Each hop speeds up, holds its speed and brakes; the speed held is the one that gives the mean
    speed, standing included. What the stops leave no time for is driven as fast as they allow.

    Args:
        distance_km: Length of the way.
        mean_speed_km_h: Length over time, stops included.
        stops: How often the vehicle stops, its arrival included; as usual at that speed if None.
        speed_spread: By how much the faster half exceeds the mean; as usual at that speed if None.
        climb_m: Sum of all that goes up.
        descent_m: Sum of all that goes down.
        start_height_m: Height above the sea at the start.

    Raises:
        ValueError: If a value is impossible: not finite, negative, no speed, a wall of a hill.
    """
    if not 0 < mean_speed_km_h < math.inf:
        raise ValueError(f"mean_speed_km_h must be finite and above 0, not {mean_speed_km_h}")
    spread = usual_spread(mean_speed_km_h) if speed_spread is None else speed_spread
    _require_not_negative(
        distance_km=distance_km,
        stops=stops or 0.0,
        speed_spread=spread,
        climb_m=climb_m,
        descent_m=descent_m,
    )
    if climb_m + descent_m > 1000 * distance_km:
        raise ValueError("climb_m and descent_m are more than the distance")
    if not math.isfinite(start_height_m):
        raise ValueError("start_height_m must be finite")
    fast_km_h = mean_speed_km_h * (1 + spread)
    halves = _halves(distance_km, (fast_km_h / (1 + 2 * spread), fast_km_h), stops)
    up = climb_m / (climb_m + descent_m) if climb_m + descent_m else 1.0
    lowest_m = start_height_m + min(0.0, climb_m - descent_m)
    climb = _slope(halves, up, climb_m, lowest_m)
    descent = _slope(halves, 1 - up, -descent_m, lowest_m)
    return climb.then(descent)


def route_from_speeds(
    speed_m_s: Array, *, step_s: float = 1.0, height_m: Array | None = None
) -> Route:
    """A way known by its speed over time, such as a driving cycle or a trace.

    Args:
        speed_m_s: Speed at each instant, shape (instants,), two at least.
        step_s: Time between instants.
        height_m: Height above the sea at each instant, shape (instants,); level at 0 if None.

    Raises:
        ValueError: If shapes disagree or a value is impossible.
    """
    speed_m_s = np.asarray(speed_m_s, float)
    height_m = np.zeros_like(speed_m_s) if height_m is None else np.asarray(height_m, float)
    if speed_m_s.ndim != 1 or speed_m_s.size <= 1 or height_m.shape != speed_m_s.shape:
        raise ValueError("speed_m_s and height_m must be equally long, two instants at least")
    if not (np.isfinite(speed_m_s).all() and np.isfinite(height_m).all()):
        raise ValueError("speed_m_s and height_m must be finite")
    if speed_m_s.min() < 0 or not 0 < step_s < math.inf:
        raise ValueError("speed_m_s must not be negative and step_s must be above 0")
    before, after = speed_m_s[:-1], speed_m_s[1:]
    return Route(
        length_m=(before + after) / 2 * step_s,
        # The mean of the squared speed over the length of a piece of even acceleration.
        speed_m_s=np.sqrt((before**2 + after**2) / 2),
        duration_s=np.full(before.shape, step_s),
        rise_m=np.diff(height_m),
        kinetic_j_per_kg=(after**2 - before**2) / 2,
        height_m=np.full(before.shape, height_m.min()),
    )


@dataclass(frozen=True, slots=True)
class _Half:
    """One half of a way: length, time and number of stops."""

    distance_m: float
    duration_s: float
    stops: float


def _halves(
    distance_km: float, speeds_km_h: tuple[float, float], stops: float | None
) -> list[_Half]:
    """The slow and the fast half; stops fall where they usually are, at least one in all."""
    usual = [usual_stops(distance_km / 2, speed) for speed in speeds_km_h]
    wanted = max(1.0, sum(usual) if stops is None else stops)
    # Where stops are usually none at all, halves share them.
    weights = usual if sum(usual) > 0 else [1.0, 1.0]
    return [
        _Half(
            distance_m=500 * distance_km,
            duration_s=1800 * distance_km / speed,
            stops=wanted * weight / sum(weights),
        )
        for speed, weight in zip(speeds_km_h, weights, strict=True)
    ]


def _slope(halves: list[_Half], share: float, rise_m: float, height_m: float) -> Route:
    """The share of both halves that goes one way, up or down."""
    slow, fast = (
        _hops(
            distance_m=share * half.distance_m,
            duration_s=share * half.duration_s,
            stops=share * half.stops,
            rise_m=rise_m / 2,
            height_m=height_m,
        )
        for half in halves
    )
    return slow.then(fast)


def _hops(
    *, distance_m: float, duration_s: float, stops: float, rise_m: float, height_m: float
) -> Route:
    """All hops of a part as four pieces: speeding up, holding, braking, standing."""
    if not distance_m * stops:
        return Route(*(np.zeros(0) for _ in Route.__slots__))
    standing_s = min(STANDING_S * stops, duration_s / 2)
    speed = _held_speed_m_s(distance_m / stops, (duration_s - standing_s) / stops)
    ramp_m = stops * speed**2 / (2 * PACE_M_S2)
    ramp_s = stops * speed / PACE_M_S2
    held_m = max(0.0, distance_m - 2 * ramp_m)
    length_m = np.array([ramp_m, held_m, ramp_m, 0.0])
    kinetic = stops * speed**2 / 2
    return Route(
        length_m=length_m,
        speed_m_s=speed * np.array([math.sqrt(0.5), 1.0, math.sqrt(0.5), 0.0]),
        duration_s=np.array([ramp_s, held_m / speed, ramp_s, standing_s]),
        rise_m=rise_m * length_m / distance_m,
        kinetic_j_per_kg=np.array([kinetic, 0.0, -kinetic, 0.0]),
        height_m=np.full(4, height_m),
    )


def _held_speed_m_s(hop_m: float, moving_s: float) -> float:
    """Speed v held between two ramps: hop = v * (moving - v / pace), or the top of two ramps."""
    root = moving_s**2 - 4 * hop_m / PACE_M_S2
    if root <= 0:
        return math.sqrt(hop_m * PACE_M_S2)
    return PACE_M_S2 * (moving_s - math.sqrt(root)) / 2


def _require_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and not negative, not {value}")
