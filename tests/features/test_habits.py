"""How long drivers usually stay bears on the plan; their stated time still counts."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import select

from backend.features.sessions.habits import (
    PROBABILITIES,
    likely_departure,
    stay_quantiles_h,
)
from backend.features.sessions.models import ChargingSession
from backend.features.sites.models import Site
from tests.conftest import NOON, House

HOUR = timedelta(hours=1)
STATED = NOON + 8 * HOUR
STAYS_H = np.linspace(1, 10, len(PROBABILITIES)).tolist()  # 5 % leave within 1 h, 95 % within 10 h


def likely(now: datetime, stated: datetime = STATED) -> datetime | None:
    return likely_departure(STAYS_H, started_at=NOON, stated=stated, now=now)


def test_a_fresh_arrival_is_counted_on_for_the_careful_quantile() -> None:
    assert likely(NOON) == pytest.approx(NOON + 2 * HOUR, abs=timedelta(seconds=1))


def test_who_is_still_here_is_counted_on_for_longer() -> None:
    later = likely(NOON + 5 * HOUR)

    assert later is not None
    assert NOON + 5 * HOUR < later <= STATED


def test_nobody_is_counted_on_beyond_the_stated_time() -> None:
    assert likely(NOON, stated=NOON + HOUR) == NOON + HOUR


def test_who_has_stayed_longer_than_almost_anybody_may_leave_at_any_moment() -> None:
    assert likely(NOON + 12 * HOUR, stated=NOON + 20 * HOUR) is None


def test_nothing_is_learned_from_a_handful_of_stays(house: House) -> None:
    house.site()

    with house.parts.database.reading() as db:
        site = db.get_one(Site, "site_hq")
        learned = stay_quantiles_h(
            db, site, driver_did="did:denso:driver:driver001", charging_h=1.0, now=NOON
        )

    assert learned is None


def test_a_start_at_a_site_with_history_learns_its_stays(demo_house: House) -> None:
    session_id = demo_house.start(soc_percent=20)["session_id"]

    with demo_house.parts.database.reading() as db:
        session = db.scalars(select(ChargingSession).where(ChargingSession.id == session_id)).one()

    quantiles_h = session.stay_quantiles_h
    assert quantiles_h is not None
    assert len(quantiles_h) == len(PROBABILITIES)
    assert quantiles_h == sorted(quantiles_h)
    assert 0 < quantiles_h[0] < quantiles_h[-1] < 24
