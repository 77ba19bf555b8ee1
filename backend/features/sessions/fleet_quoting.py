"""Several vehicles asked about at once: planned together, they compete for the same site."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.features.credentials.holder import Holder
from backend.features.sessions import planner, queries
from backend.features.sessions.fleet_schemas import (
    FleetQuote,
    FleetQuoteRequest,
    FleetQuoteVehicle,
    FleetVehicleQuote,
)
from backend.features.sessions.intake import Request, look_up, newcomer_of
from backend.features.sessions.planner import Answer
from backend.features.sessions.problems import ChargerInUse, VehicleInUse
from backend.features.sessions.quoting import NothingFree, free_chargers, quoted
from backend.features.sessions.reservations import ChargerReserved
from backend.features.sessions.schemas import ChargerIn, DriverIn, QuotedCharger, SessionStart
from backend.features.sessions.turns import Desk
from backend.features.sessions.views import SHORT_KWH
from backend.features.sites.service import ChargerNotFound, require_site
from backend.problems import Problem

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Refused:
    """A vehicle that could not start, and the problem that it would be refused with."""

    problem: Problem


@dataclass(slots=True)
class Intake:
    """Looks up one vehicle after the other; each takes a charger from those that are free."""

    read: Session
    asked: FleetQuoteRequest
    free: list[ChargerIn]
    holder: Holder
    desk: Desk
    now: datetime

    def look_up_all(self) -> list[Request | Refused]:
        """The vehicles in the order of the question; two cannot share a charger or be one."""
        found: dict[int, Request | Refused] = {}
        for place in self._in_order_of_need(found):
            found[place] = self._with_charger(self.asked.vehicles[place])
        return [found[place] for place in range(len(self.asked.vehicles))]

    def _in_order_of_need(self, found: dict[int, Request | Refused]) -> Iterator[int]:
        """Named chargers first, then whoever needs the most power; the impossible are left out."""
        seen: set[str] = set()
        needs: list[tuple[float, int]] = []
        for place, one in enumerate(self.asked.vehicles):
            did = one.vehicle.did
            if did in seen:
                found[place] = Refused(VehicleInUse(f"{did} is asked for twice."))
            elif one.charger is not None:
                found[place] = self._at_named(one, one.charger)
            else:
                needs.append((-self._needed_kw(one), place))
            seen.add(did)
        return (place for _, place in sorted(needs))

    def _at_named(self, one: FleetQuoteVehicle, charger: ChargerIn) -> Request | Refused:
        others = [other.charger.did for other in self.asked.vehicles if other.charger]
        first = next(other for other in self.asked.vehicles if other.charger == charger)
        if others.count(charger.did) > 1 and first is not one:
            return Refused(ChargerInUse(f"{charger.did} is asked for twice."))
        looked_up = self._at(one, charger)
        if isinstance(looked_up, Request) and looked_up.site.id != self.asked.site_id:
            return Refused(ChargerNotFound(f"{charger.did} is not at {self.asked.site_id}."))
        self.free = [other for other in self.free if other.did != charger.did]
        return looked_up

    def _needed_kw(self, one: FleetQuoteVehicle) -> float:
        """Mean power its trip asks for; 0 where it cannot be told."""
        looked_up = self._at(one, self.free[-1]) if self.free else None
        if not isinstance(looked_up, Request):
            return 0.0
        hours = max((looked_up.departure.at - self.now) / HOUR, 1e-3)
        return looked_up.energy.extra_energy_needed_kwh / hours

    def _with_charger(self, one: FleetQuoteVehicle) -> Request | Refused:
        """At the weakest free charger that is strong enough, else at the strongest."""
        last: Request | Refused = Refused(NothingFree())
        for charger in list(self.free):
            looked_up = self._at(one, charger)
            if isinstance(looked_up, Refused):
                last = last if isinstance(last, Request) else looked_up
                if isinstance(looked_up.problem, ChargerReserved):
                    continue
                break
            last = looked_up
            if looked_up.energy.is_feasible:
                break
        if isinstance(last, Request):
            self.free = [other for other in self.free if other.did != last.charger.did]
        return last

    def _at(self, one: FleetQuoteVehicle, charger: ChargerIn) -> Request | Refused:
        start = SessionStart(
            driver=one.driver or DriverIn(did=self.holder.did),
            vehicle=one.vehicle,
            charger=charger,
            trip=one.trip,
        )
        try:
            return look_up(self.read, start, holder=self.holder, desk=self.desk, now=self.now)
        except Problem as problem:
            return Refused(problem)


def quote_fleet(
    read: Session, asked: FleetQuoteRequest, *, holder: Holder, desk: Desk, now: datetime
) -> FleetQuote:
    """Plan the site as if all the vehicles plugged in now, in one go.

    Raises:
        SiteNotFound: If there is no such site.
    """
    site = require_site(read, asked.site_id)
    free = free_chargers(read, site.id)
    found = Intake(read, asked, free, holder, desk, now).look_up_all()
    newcomers = {
        place: newcomer_of(read, one, now=now)
        for place, one in enumerate(found)
        if isinstance(one, Request)
    }
    situation = queries.situation_of(read, site, now=now)
    read.commit()  # let go of the snapshot, keep what was read: planning takes a while
    for newcomer in newcomers.values():
        situation = situation.joined_by(newcomer)
    answer = None
    if newcomers:
        answer = planner.plan_site(
            situation, compute=desk.compute, timeout_s=desk.plan_timeout_s, now=now
        )
    ids = {place: newcomer.session_id for place, newcomer in newcomers.items()}
    vehicles = [
        _judged(one, answer, ids[place])
        if isinstance(one, Request) and answer is not None
        else _refused(asked.vehicles[place].vehicle.did, one)
        for place, one in enumerate(found)
    ]
    warnings = [one.departure.warning for one in found if isinstance(one, Request)]
    return FleetQuote(
        site_id=site.id,
        vehicles=vehicles,
        infeasible=[one.vehicle_did for one in vehicles if not one.is_feasible],
        others_made_short=_made_short(answer, set(ids.values())) if answer else 0,
        method=_method(answer),
        message=_message(vehicles),
        warnings=[one for one in warnings if one],
        assurance=holder.assurance,
    )


def _judged(request: Request, answer: Answer, session_id: str) -> FleetVehicleQuote:
    option = quoted(request, answer, answer.situation.place_of(session_id))
    return FleetVehicleQuote(
        vehicle_did=request.start.vehicle.did,
        is_feasible=option.is_feasible,
        code=None if option.is_feasible else "short_of_energy",
        reason=None if option.is_feasible else _why_short(option),
        needed_trip_energy_kwh=request.energy.needed_trip_energy_kwh,
        trip_model=request.trip_model,
        legs=request.legs,
        quote=option,
    )


def _why_short(option: QuotedCharger) -> str:
    texts = " ".join(one.text for one in option.reasons)
    return f"{option.short_by_kwh:.1f} kWh would be missing at departure. {texts}".strip()


def _refused(vehicle_did: str, one: Request | Refused) -> FleetVehicleQuote:
    problem = one.problem if isinstance(one, Refused) else NothingFree()
    return FleetVehicleQuote(
        vehicle_did=vehicle_did,
        is_feasible=False,
        code=problem.code(),
        reason=str(problem),
        needed_trip_energy_kwh=None,
        trip_model=None,
        legs=[],
        quote=None,
    )


def _made_short(answer: Answer, newcomers: set[str]) -> int:
    """Open sessions that were to get all their energy and would not."""
    return sum(
        session.session_id not in newcomers
        and session.previous_short_kwh <= SHORT_KWH < float(short_kwh)
        for session, short_kwh in zip(
            answer.situation.sessions, answer.plan.shortfall_kwh, strict=True
        )
    )


def _method(answer: Answer | None) -> str | None:
    if answer is None:
        return None
    return "fallback" if answer.plan.method == "fallback" else "optimal"


def _message(vehicles: Sequence[FleetVehicleQuote]) -> str:
    missing = [one for one in vehicles if not one.is_feasible]
    if not missing:
        return f"All {len(vehicles)} vehicles would be ready."
    return f"{len(missing)} of {len(vehicles)} vehicles would not be ready."
