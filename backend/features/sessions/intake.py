"""A start request with everything looked up and worked out, before anything is planned."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from backend.database import Database, new_id
from backend.features.credentials.holder import Holder, NotAuthenticated
from backend.features.credentials.models import Driver
from backend.features.forecasts.vehicles_queries import issued
from backend.features.sessions import lending, queries
from backend.features.sessions.habits import soc_percent_by, stay_quantiles_h
from backend.features.sessions.models import ChargingSession
from backend.features.sessions.planner import OpenSession
from backend.features.sessions.problems import (
    ChargerInUse,
    ChargerUnavailable,
    DepartureInPast,
    DepartureTooFar,
    NotRegistered,
    SiteNotAllowed,
    VehicleInUse,
    VehicleSpecificationMissing,
)
from backend.features.sessions.proving import Proved, proved_of, require_right
from backend.features.sessions.reservations import check_start
from backend.features.sessions.schemas import (
    Formula,
    Overridden,
    SessionStart,
    TripIn,
    TripModel,
)
from backend.features.sessions.stay_terms import NO_VEHICLE, StayTerms, abilities_of
from backend.features.sessions.turns import Desk
from backend.features.sites.models import Charger, SalesTariff, Site
from backend.features.sites.service import (
    require_charger,
    require_site,
    tariff_for,
)
from backend.features.sites.wiring import charger_equipment_of
from backend.features.vehicles import sheets
from backend.features.vehicles.models import Vehicle
from backend.features.vehicles.sheets import VehicleEquipment
from backend.features.vehicles.trips import LegView, is_physical, journey_of, shown
from backend.planning.explanation import (
    PlanType,
    plan_type,
)
from backend.planning.journeys import Journey, journey_need
from backend.planning.trip import TripFormula, plain_formula, trip_need

LONGEST_STAY = timedelta(days=7)
SOC_IS_OLD = timedelta(hours=4)  # silence after which a forecast knows better
SOONEST = timedelta(hours=1)  # a past departure moves at least this far ahead in the demo


@dataclass(frozen=True, slots=True)
class Departure:
    """When the vehicle leaves and how we know."""

    at: datetime
    source: str
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Specification:
    """The vehicle as this session takes it.

    Attributes:
        c_rate_cap: Highest power as a multiple of the capacity (1/h), by a battery certificate.
    """

    battery_capacity_kwh: float
    consumption_wh_per_km: float
    max_charge_power_kw: float
    soc_percent: float
    soc_source: str
    equipment: VehicleEquipment = NO_VEHICLE
    c_rate_cap: float | None = None

    @property
    def battery_max_power_kw(self) -> float:
        """What vehicle and state of the battery allow."""
        cap = self.c_rate_cap
        at_most_kw = self.max_charge_power_kw
        return at_most_kw if cap is None else min(at_most_kw, cap * self.battery_capacity_kwh)

    @property
    def is_soc_known(self) -> bool:
        """Whether what the battery holds was told."""
        return self.soc_source != "assumed_empty"


@dataclass(frozen=True, slots=True)
class Request:
    """A start request with everything looked up, before anything is planned.

    Attributes:
        formula: What the plain formula says.
        energy: What is planned: the same, or with what road and weather ask for.
        proved: What credentials say.
        said: The request as it came; `start` is without what is merely claimed.
    """

    start: SessionStart
    site: Site
    charger: Charger
    tariff: SalesTariff
    vehicle: Specification
    departure: Departure
    formula: TripFormula
    energy: TripFormula
    trip_model: TripModel
    legs: list[LegView]
    kind: PlanType
    is_new_driver: bool
    is_new_vehicle: bool
    proved: Proved
    said: SessionStart


def site_of(database: Database, charger_did: str) -> str:
    """The site whose turn a start at this charger has to wait for."""
    with database.reading() as db:
        return require_charger(db, charger_did).site_id


def look_up(
    read: Session, start: SessionStart, *, holder: Holder, desk: Desk, now: datetime
) -> Request:
    """Look everything up, check that the driver may and can charge here, work out the energy."""
    said = start
    if holder.assurance != "simulated":
        start = _without_own_word(start)
    elif start.presentation is not None:
        raise NotAuthenticated  # nothing that was presented may count as nothing
    charger = require_charger(read, start.charger.did)
    site = require_site(read, charger.site_id)
    proved = proved_of(holder, start, charger, site, now=now)
    if holder.assurance != "simulated" and not holder.runs(site.id):
        start = start.model_copy(update={"billing_party": proved.payer})
    _check_access(read, start, site, holder=holder, desk=desk, proved=proved)
    if holder.did == start.driver.did:
        vehicle_did = start.vehicle.did
        require_right(read, holder, charger, site, vehicle_did=vehicle_did, now=now)
    _check_free(read, start, charger)
    tariff = tariff_for(read, site_id=site.id, charger_did=charger.did, at=now)
    registered = read.get(Vehicle, start.vehicle.did)
    vehicle = _specification(read, start, registered, proved, now=now)
    departure = departure_of(read, start.trip, site, now=now, is_demo=desk.is_demo)
    check_start(read, charger.did, start.driver.did, departure_at=departure.at, now=now)
    terms = plain_terms(start.trip, start.driver.preferences.comfort_soc_percent, vehicle)
    charger_kw = charging_kw(charger, vehicle.equipment, proved.charger_max_power_kw)
    formula = _formula(terms, charger_kw, tariff, vehicle, departure, now=now)
    physical = physical_terms(start.trip, terms, vehicle)
    return Request(
        start=start,
        site=site,
        charger=charger,
        tariff=tariff,
        vehicle=vehicle,
        departure=departure,
        formula=formula,
        energy=_formula(physical or terms, charger_kw, tariff, vehicle, departure, now=now),
        trip_model=model_of(start.trip, is_physical=physical is not None),
        legs=legs_of(start.trip, vehicle),
        kind=kind_of(start),
        is_new_driver=read.get(Driver, start.driver.did) is None,
        is_new_vehicle=registered is None,
        proved=proved,
        said=said,
    )


def _without_own_word(start: SessionStart) -> SessionStart:
    """The request without credentials that are merely named: who proves things has real ones."""
    return start.model_copy(update={"driver": start.driver.model_copy(update={"credentials": []})})


def _check_access(
    read: Session,
    start: SessionStart,
    site: Site,
    *,
    holder: Holder,
    desk: Desk,
    proved: Proved,
) -> None:
    """The driver may charge here; outside the demo only as themselves and when registered."""
    allowed = start.driver.allowed_sites
    if allowed is not None and site.id not in allowed:
        raise SiteNotAllowed(f"{start.driver.did} may not charge at {site.id}.")
    if holder.assurance == "simulated":
        return
    if holder.did != start.driver.did and not holder.runs(site.id):
        raise SiteNotAllowed
    if desk.is_demo or holder.assurance == "guest":
        return
    # Whoever proved to be the driver has been let in; so is a vehicle that its maker describes.
    is_driver = holder.did == start.driver.did
    if not is_driver and read.get(Driver, start.driver.did) is None:
        raise NotRegistered
    if not proved.has_vehicle and read.get(Vehicle, start.vehicle.did) is None:
        raise NotRegistered


def _check_free(read: Session, start: SessionStart, charger: Charger) -> None:
    if charger.status in ("faulted", "unavailable"):
        raise ChargerUnavailable(f"{charger.did} is {charger.status}.")
    holding = queries.session_holding(read, ChargingSession.charger_did, charger.did)
    if holding is not None:
        raise ChargerInUse(f"A session is open at {charger.did}.")
    holding = queries.session_holding(read, ChargingSession.vehicle_did, start.vehicle.did)
    if holding is not None:
        raise VehicleInUse(f"{start.vehicle.did} is in another session.")


def _specification(
    read: Session,
    start: SessionStart,
    registered: Vehicle | None,
    proved: Proved,
    *,
    now: datetime,
) -> Specification:
    """What the maker signed, else what the request says, else what is registered."""
    stated = start.vehicle
    capacity = (
        proved.capacity_kwh
        or stated.battery_capacity_kwh
        or (registered and registered.battery_capacity_kwh)
    )
    consumption = (
        proved.consumption_wh_per_km
        or stated.nominal_consumption_wh_per_km
        or (registered and registered.consumption_wh_per_km)
    )
    power = (
        proved.max_charge_power_kw
        or stated.max_charge_power_kw
        or (registered and registered.max_charge_power_kw)
    )
    if not (capacity and consumption and power):
        raise VehicleSpecificationMissing
    soc, source = _soc(read, stated.current_soc_percent, registered, now=now)
    equipment = stated.equipment or sheets.equipment_of(registered) or NO_VEHICLE
    cap = proved.c_rate_cap
    return Specification(capacity, consumption, power, soc, source, equipment, cap)


def _soc(
    read: Session, stated: float | None, registered: Vehicle | None, *, now: datetime
) -> tuple[float, str]:
    """State of charge: as stated, else by telemetry, else so that the whole trip is charged.

    Where the telemetry is old and a model foretells how far from full the vehicle is, that counts.
    """
    if stated is not None:
        return stated, "request"
    if registered is None or registered.last_soc_percent is None or registered.last_soc_at is None:
        return 0.0, "assumed_empty"
    if registered.last_soc_at < now - SOC_IS_OLD:
        outlook = issued(read, [registered.did], now=now).get(registered.did)
        foretold = soc_percent_by(outlook, now=now)
        if foretold is not None:
            return foretold, "forecast"
    return registered.last_soc_percent, "telemetry"


def departure_of(
    read: Session, trip: TripIn, site: Site, *, now: datetime, is_demo: bool
) -> Departure:
    """When the vehicle leaves.

    Raises:
        DepartureTooFar: If it is over seven days ahead.
        DepartureInPast: If it has passed; the demo moves it to the clock time's next occurrence.
    """
    stated = trip.departure_time
    if stated is None:
        return Departure(now + queries.usual_stay(read, site.id), "usual_stay")
    if stated > now:
        if stated - now > LONGEST_STAY:
            raise DepartureTooFar
        return Departure(stated, "request")
    if not is_demo:
        raise DepartureInPast
    days = -((stated - now - SOONEST) // timedelta(days=1))
    moved = stated + days * timedelta(days=1)
    warning = (
        f"The departure {stated:%Y-%m-%d %H:%M} UTC lies in the past; "
        f"the demo moved it to {moved:%Y-%m-%d %H:%M} UTC."
    )
    return Departure(moved, "moved_to_next_day", warning)


@dataclass(frozen=True, slots=True)
class Terms:
    """The trip in exactly one of its forms, and the comfort wanted beside it.

    Attributes:
        beyond_battery_kwh: What later legs of a chain need beyond a full battery.
    """

    distance_km: float | None
    energy_kwh: float | None
    target_soc_percent: float | None
    comfort_soc_percent: float | None
    beyond_battery_kwh: float = 0.0

    @classmethod
    def of(cls, trip: TripIn, comfort_soc_percent: float | None) -> "Terms":
        """The terms as the caller stated them."""
        return cls(trip.distance_km, trip.energy_kwh, trip.target_soc_percent, comfort_soc_percent)


def plain_terms(trip: TripIn, comfort_soc_percent: float | None, vehicle: Specification) -> Terms:
    """The trip as it is stated; a chain as the energy that the plain formula gives its legs."""
    if trip.legs is None:
        return Terms.of(trip, comfort_soc_percent)
    return _chain_terms(_journey(trip, vehicle, by_road=False), comfort_soc_percent)


def _chain_terms(journey: Journey, comfort_soc_percent: float | None) -> Terms:
    need = journey_need(journey)
    return Terms(None, need.departure_kwh, None, comfort_soc_percent, need.beyond_battery_kwh)


def _journey(trip: TripIn, vehicle: Specification, *, by_road: bool = True) -> Journey:
    return journey_of(
        trip.legs or [],
        trip.conditions,
        capacity_kwh=vehicle.battery_capacity_kwh,
        consumption_wh_per_km=vehicle.consumption_wh_per_km,
        by_road=by_road,
    )


def legs_of(trip: TripIn, vehicle: Specification) -> list[LegView]:
    """What each leg of a chain asks of the battery; nothing for a trip that is none."""
    return [] if trip.legs is None else shown(_journey(trip, vehicle))


def model_of(trip: TripIn, *, is_physical: bool) -> TripModel:
    """What the planned energy of a trip was worked out by."""
    if trip.legs is not None:
        return "physical_chain" if is_physical else "plain_formula_chain"
    return "physical" if is_physical else "plain_formula"


def physical_terms(trip: TripIn, terms: Terms, vehicle: Specification) -> Terms | None:
    """The trip as the energy that road and weather ask for; None if nothing is known of them."""
    known = trip.conditions
    if trip.legs is not None:
        journey = _journey(trip, vehicle)
        is_known = is_physical(trip.legs, known)
        return _chain_terms(journey, terms.comfort_soc_percent) if is_known else None
    if known is None or trip.distance_km is None:
        return None
    conditions = known.driving()
    if not conditions.says_anything:
        return None
    need = trip_need(
        distance_km=trip.distance_km,
        consumption_wh_per_km=vehicle.consumption_wh_per_km,
        conditions=conditions,
        vehicle_class=known.vehicle_class,
        has_heat_pump=known.has_heat_pump,
    )
    return Terms(None, need.needed_trip_energy_kwh, None, terms.comfort_soc_percent)


def _formula(
    terms: Terms,
    charger_kw: float,
    tariff: SalesTariff,
    vehicle: Specification,
    departure: Departure,
    *,
    now: datetime,
) -> TripFormula:
    return plain_formula(
        capacity_kwh=vehicle.battery_capacity_kwh,
        consumption_wh_per_km=vehicle.consumption_wh_per_km,
        soc_percent=vehicle.soc_percent,
        charger_max_power_kw=charger_kw,
        vehicle_max_power_kw=vehicle.max_charge_power_kw,
        tariff_eur_per_kwh=float(tariff.eur_per_kwh),
        hours_to_departure=(departure.at - now) / timedelta(hours=1),
        distance_km=terms.distance_km,
        energy_kwh=terms.energy_kwh,
        trip_target_soc_percent=terms.target_soc_percent,
        comfort_soc_percent=terms.comfort_soc_percent,
        c_rate_cap=vehicle.c_rate_cap,
        beyond_battery_kwh=terms.beyond_battery_kwh,
    )


def charging_kw(
    charger: Charger, vehicle: VehicleEquipment, proved_kw: float | None = None
) -> float:
    """Rated power of a charger on the lines that the vehicle uses.

    A specification may say less than was registered: then the charger can do less. Were it to say
    more, the site's wiring was still planned for what was registered.
    """
    rated_kw = min(charger.max_power_kw, proved_kw or charger.max_power_kw)
    wired = charger_equipment_of(charger)
    return rated_kw if wired is None else wired.highest_kw(rated_kw, vehicle.onboard_phases)


def stay_terms(request: Request) -> StayTerms:
    """What is settled for the stay: tiers of its energy, what charges, what the driver lends."""
    vehicle, consent = request.vehicle, request.start.driver.preferences.v2g
    v2g = None
    if consent is not None and v2g_obstacle(request) is None:
        v2g = lending.lent(
            consent,
            vehicle.equipment,
            request.tariff,
            needed_kwh=request.energy.needed_trip_energy_kwh,
            capacity_kwh=vehicle.battery_capacity_kwh,
        )
    return lending.terms_of(
        request.energy,
        vehicle.equipment,
        capacity_kwh=vehicle.battery_capacity_kwh,
        is_soc_known=vehicle.is_soc_known,
        has_reserve=has_reserve(request.start.trip),
        v2g=v2g,
    )


def has_reserve(trip: TripIn) -> bool:
    """Whether the formula added a reserve: who states energy or a target has counted it."""
    return trip.target_soc_percent is None and trip.energy_kwh is None


def v2g_obstacle(request: Request) -> str | None:
    """Why the site borrows no energy from this vehicle; None if it may."""
    return lending.obstacle(
        request.start.driver.preferences.v2g,
        request.vehicle.equipment,
        lending.Place(charger_equipment_of(request.charger), request.tariff),
        is_soc_known=request.vehicle.is_soc_known,
    )


def kind_of(start: SessionStart) -> PlanType:
    """What the driver's wishes make of the plan."""
    wishes = start.driver.preferences
    return plan_type(wishes.priority, carbon_conscious=wishes.carbon_conscious)


def has_priority_slot(request: Request) -> bool:
    """Whether the driver presents a priority slot; in the demo naming one is enough."""
    named = request.start.driver.credentials
    return request.proved.has_slot or any(claim.startswith("PrioritySlot:") for claim in named)


def newcomer_of(read: Session, request: Request, *, now: datetime) -> OpenSession:
    """This session as the planner sees it."""
    formula = request.energy
    target_kwh = formula.extra_energy_needed_kwh - formula.exceeds_battery_kwh
    stays = stay_quantiles_h(
        read,
        request.site,
        driver_did=request.start.driver.did,
        charging_h=formula.charging_time_h,
        now=now,
    )
    return OpenSession(
        session_id=new_id("ses"),
        started_at=now,
        departure_at=request.departure.at,
        not_before_at=None,
        effective_power_kw=formula.effective_charge_power_kw,
        remaining_kwh=target_kwh,
        priority="carbon" if request.kind == "GREEN" else request.start.driver.preferences.priority,
        has_priority_slot=has_priority_slot(request),
        priority_tier=request.proved.tier,
        stay_quantiles_h=stays,
        abilities=abilities_of(
            stay_terms(request),
            charger_equipment_of(request.charger),
            charger_did=request.charger.did,
            capacity_kwh=request.vehicle.battery_capacity_kwh,
            power_kw=formula.effective_charge_power_kw,
            target_kwh=target_kwh,
            remaining_kwh=target_kwh,
        ),
    )


def overridden_by(request: Request) -> list[Overridden]:
    """Statements of the request that registered or verified values replaced."""
    stated, charger = request.said.charger, request.charger
    vehicle, used = request.said.vehicle, request.vehicle
    place = {"lat": charger.latitude, "lon": charger.longitude}
    pairs = {
        "charger.site_id": (stated.site_id, charger.site_id),
        "charger.max_power_kw": (
            stated.max_power_kw,
            min(charger.max_power_kw, request.proved.charger_max_power_kw or charger.max_power_kw),
        ),
        "charger.location": (
            stated.location.model_dump()
            if stated.location and charger.latitude is not None
            else None,
            place,
        ),
        "charger.current_availability": (stated.current_availability, True),
        "charger.current_tariff_eur_per_kwh": (
            stated.current_tariff_eur_per_kwh,
            float(request.tariff.eur_per_kwh),
        ),
        "vehicle.battery_capacity_kwh": (vehicle.battery_capacity_kwh, used.battery_capacity_kwh),
        "vehicle.nominal_consumption_wh_per_km": (
            vehicle.nominal_consumption_wh_per_km,
            used.consumption_wh_per_km,
        ),
        "vehicle.max_charge_power_kw": (vehicle.max_charge_power_kw, used.battery_max_power_kw),
        "driver.credentials": (
            request.said.driver.credentials or None,
            request.start.driver.credentials,
        ),
        "billing_party": (request.said.billing_party, request.start.billing_party),
    }
    return [
        Overridden(field=field, stated=said, used=used)
        for field, (said, used) in pairs.items()
        if said is not None and said != used
    ]


def formula_view(formula: TripFormula) -> dict[str, Any]:
    """The formula as plans carry it."""
    return Formula(
        needed_trip_energy_kwh=formula.needed_trip_energy_kwh,
        current_energy_kwh=formula.current_energy_kwh,
        extra_energy_needed_kwh=formula.extra_energy_needed_kwh,
        target_soc_percent=formula.target_soc_percent,
        effective_charge_power_kw=formula.effective_charge_power_kw,
        charging_time_hours=formula.charging_time_h,
        cost_eur=formula.cost_eur,
        is_feasible=formula.is_feasible,
    ).model_dump()
