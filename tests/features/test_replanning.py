"""Planning a site again while it changes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import ParamSpec, TypeVar

from sqlalchemy import update

from backend.compute import InPlace
from backend.features.sessions.desk import open_desk
from backend.features.sessions.replanning import replan_site
from backend.features.sites.models import Site
from tests.conftest import House
from tests.tables import rows_of

P = ParamSpec("P")
R = TypeVar("R")


class Interrupted(InPlace):
    """Computes in place; the first time, the world moves on meanwhile."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._to_come = [meanwhile]

    def run(
        self, function: Callable[P, R], timeout_s: float, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        while self._to_come:
            self._to_come.pop()()
        return super().run(function, timeout_s, *args, **kwargs)


def test_a_plan_made_anew_because_of_a_change_is_not_dated_before_it(sqlite_house: House) -> None:
    house, parts = sqlite_house, sqlite_house.parts
    house.site(chargers=1)
    house.start()
    house.settle()

    def _change() -> None:
        house.clock.shown += timedelta(minutes=45)
        with parts.database.transaction() as db:
            db.execute(update(Site).values(plan_version=Site.plan_version + 1))

    desk = replace(open_desk(parts), compute=Interrupted(_change))
    version = replan_site(parts.database, "site_hq", desk=desk, cause="clock", clock=house.clock)

    (row,) = [one for one in rows_of(parts.database, "site_plans") if one["version"] == version]
    assert row["planned_at"] == house.clock.now()
