"""Days for the tests of replay and policies: small ones by hand, random ones for properties."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from backend.planning.replay import Site, Visits


def flat_site(limit_kw: float, *, steps: int = 8, step_h: float = 1.0, charge: float = 0.0) -> Site:
    """A site at one price, 0.2 per kWh."""
    return Site(step_h, np.full(steps, 0.2), np.full(steps, limit_kw), charge)


def visits(*rows: Sequence[float]) -> Visits:
    """Vehicles as (arrival, departure, demand in kWh, highest power in kW)."""
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 4).T
    return Visits(columns[0].astype(np.intp), columns[1].astype(np.intp), columns[2], columns[3])


@st.composite
def any_days(draw: st.DrawFn) -> tuple[Site, Visits]:
    """Up to eight vehicles under a tight limit, with minimums, tapers and false statements."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, steps = draw(st.integers(0, 8)), draw(st.integers(2, 12))
    step_h = draw(st.sampled_from([0.25, 1 / 12]))
    arrival = np.sort(rng.integers(0, steps, count))
    departure = arrival + 1 + rng.integers(0, steps, count)
    max_kw = rng.choice([3.7, 6.656, 11.0], count)
    site = Site(
        step_h=step_h,
        price_eur_per_kwh=rng.choice([0.05, 0.1, 0.3], steps),
        limit_kw=np.full(steps, rng.uniform(0, 1) * max(1.0, max_kw.sum())),
        demand_charge_eur_per_kw=draw(st.sampled_from([0.0, 0.5])),
    )
    return site, Visits(
        arrival=arrival,
        departure=np.minimum(departure, steps),
        demand_kwh=rng.uniform(0.01, 1.2, count) * max_kw * step_h * (departure - arrival),
        max_kw=max_kw,
        stated_departure=draw(st.sampled_from([None, rng.integers(0, steps + 1, count)])),
        min_kw=draw(st.sampled_from([None, np.full(count, 1.38)])),
        taper_kwh=draw(st.sampled_from([None, 0.5 * max_kw * step_h])),
    )
