"""Records become sessions, bills and demand; sites, chargers, drivers and vehicles are created."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import Database, insert_missing
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.credentials.models import Driver
from backend.features.forecasts.models import DemandSeries
from backend.features.sessions.accounts import Stretch, beyond_power, purchase_eur
from backend.features.sessions.archive import EndedSession, add_ended
from backend.features.sessions.models import ChargeDetailRecord, ChargingSession
from backend.features.sessions.records import ids
from backend.features.sessions.records.demand import DemandSums
from backend.features.sessions.records.outcome import Outcome, shown
from backend.features.sessions.records.reading import HOUR, Record, RowRefused
from backend.features.sites.models import Charger, PurchasePrice, SalesTariff, Site
from backend.features.sites.schemas import ChargerNew, SiteKind, SiteNew
from backend.features.sites.service import create_charger, create_site
from backend.features.vehicles.models import Vehicle
from backend.planning.trip import POWER_DERATE

CONTROL = dict.fromkeys((*range(0x20), 0x7F), " ")
ASSUMED_CAPACITY_KWH = 60.0  # records know no batteries; who took more has a larger one
ASSUMED_CONSUMPTION_WH_PER_KM = 180.0
IMPORTER = Holder("did:denso:service:import", frozenset({"administrator"}), "simulated")
REPEATED = "session_id stands in an earlier row of the same site"
NO_TARIFF = "the site had no sales tariff at arrival"
OTHER_SITE = "the charger is registered at another site"
TOO_MUCH = "more energy than max_kw can deliver in the stay, bill marked implausible"
OVERLAPPING = "arrived while another session held the charger"


@dataclass(frozen=True, slots=True)
class NewSites:
    """What is said of the sites that are new."""

    kind: SiteKind
    timezone: str


@dataclass
class _Place:
    """A site with what its energy costs, newest version first."""

    site: Site
    is_new: bool
    tariffs: Sequence[SalesTariff]
    prices: Sequence[PurchasePrice]
    kept: int = 0

    def tariff(self, charger_did: str, *, at: datetime) -> SalesTariff | None:
        """The tariff in force; the charger's own beats the site's."""
        valid = [one for one in self.tariffs if one.valid_from <= at]
        own = (one for one in valid if one.charger_did == charger_did)
        return next(own, next((one for one in valid if one.charger_did is None), None))

    def price(self, *, at: datetime) -> PurchasePrice | None:
        """The purchase price in force."""
        return next((one for one in self.prices if one.valid_from <= at), None)


@dataclass
class _Car:
    """What a vehicle's sessions show of it, and whether the database knows."""

    capacity_kwh: float = ASSUMED_CAPACITY_KWH
    power_kw: float = 0.0
    is_stored: bool = False
    has_grown: bool = False

    def has_shown(self, capacity_kwh: float, power_kw: float) -> None:
        """Learn what it can at least do."""
        seen = max(self.capacity_kwh, capacity_kwh), max(self.power_kw, power_kw)
        self.has_grown |= seen != (self.capacity_kwh, self.power_kw)
        self.capacity_kwh, self.power_kw = seen


class Books:
    """Writes records into a running transaction; `close` once when all are written.

    Args:
        db: The transaction.
        database: For looking at what was committed before.
        outcome: Counts along.
        new_sites: What is said of sites that are new.
        salt: Goes into the pseudonyms.
        now: When all this is registered.
    """

    def __init__(
        self,
        db: Session,
        database: Database,
        outcome: Outcome,
        new_sites: NewSites,
        *,
        salt: str,
        now: datetime,
    ) -> None:
        self._db, self._database, self._outcome = db, database, outcome
        self._new_sites, self._salt, self._now = new_sites, salt, now
        self._places: dict[str, _Place] = {}
        self._chargers: dict[str, Charger] = {}
        self._new_chargers: set[str] = set()
        self._cars: dict[str, _Car] = {}
        self._demand = DemandSums(db)

    def add(self, records: Sequence[Record]) -> None:
        """Store the sessions that are not stored yet."""
        kept: list[tuple[Record, EndedSession]] = []
        for one, keys in self._unknown(records):
            try:
                kept.append((one, self._ended(one, *keys)))
            except RowRefused as reason:
                self._outcome.refuse(str(reason), f"line {one.lines}")
        self._register({ended.vehicle_did for _, ended in kept})
        add_ended(self._db, [ended for _, ended in kept])
        for one, ended in kept:
            stay = Stretch(one.arrival, one.departure, one.energy_kwh)
            self._demand.add(ended.site_id, stay, charged_until=one.charged_until)
            self._count(one, ended)

    def _unknown(self, records: Sequence[Record]) -> Iterator[tuple[Record, tuple[str, str]]]:
        """The records that are not stored yet, with ids of session and bill.

        The bill's id depends on nothing but site and session_id, so it tells a record again.
        """
        keys = [
            ids.session_ids_of(ids.site_id_of(one.site), one.session_id, arrival=one.arrival)
            for one in records
        ]
        query = select(ChargeDetailRecord.id)
        query = query.where(ChargeDetailRecord.id.in_([bill_id for _, bill_id in keys]))
        taken = set(self._db.scalars(query))
        with self._database.reading() as committed:
            earlier = set(committed.scalars(query))
        for one, (session_id, bill_id) in zip(records, keys, strict=True):
            if bill_id in earlier:
                self._outcome.known += 1
            elif bill_id in taken:
                self._outcome.refuse(REPEATED, f"line {one.lines}")
            else:
                taken.add(bill_id)
                yield one, (session_id, bill_id)

    def _ended(self, one: Record, session_id: str, bill_id: str) -> EndedSession:
        """The session with what its bill needs; creates its site and charger.

        Raises:
            RowRefused: If the charger stands elsewhere or nothing says what the energy cost.
        """
        site_id = ids.site_id_of(one.site)
        charger_did = ids.charger_did_of(site_id, one.station)
        charger = self._chargers.get(charger_did) or self._db.get(Charger, charger_did)
        if charger is not None and charger.site_id != site_id:
            raise RowRefused(OTHER_SITE)
        place = self._place(site_id, one.site)
        tariff = place.tariff(charger_did, at=one.arrival)
        if tariff is None:
            raise RowRefused(NO_TARIFF)
        self._use(charger or self._create_charger(charger_did, site_id, one.max_kw), one.max_kw)
        name = ids.pseudonym_of(one.user, charger_did=charger_did, salt=self._salt)
        vehicle_did = f"did:denso:vehicle:{name}"
        car = self._cars.setdefault(vehicle_did, _Car())
        car.has_shown(one.energy_kwh, one.max_kw)
        charging = Stretch(one.arrival, one.charged_until, one.energy_kwh)
        cost_eur = purchase_eur([charging], place.price(at=one.arrival), place.site.timezone)
        stay_h = (one.departure - one.arrival) / HOUR
        return EndedSession(
            site_id=site_id,
            charger_did=charger_did,
            driver_did=f"did:denso:driver:{name}",
            vehicle_did=vehicle_did,
            tariff=tariff,
            started_at=one.arrival,
            departure_at=one.requested_departure or one.departure,
            ended_at=one.departure,
            energy_kwh=one.energy_kwh,
            target_kwh=one.energy_kwh if one.requested_kwh is None else one.requested_kwh,
            battery_capacity_kwh=car.capacity_kwh,
            effective_power_kw=one.max_kw * POWER_DERATE,
            rated_power_kw=one.max_kw,
            soc_percent_at_start=None,
            soc_percent_at_end=None,
            purchase_eur=float(cost_eur),
            uncontrolled_purchase_eur=float(cost_eur),  # nobody steered it: nothing was saved
            priority=None,
            source="record",
            assurance="record",
            session_id=session_id,
            bill_id=bill_id,
            implausible_because=beyond_power(
                one.energy_kwh, rated_power_kw=one.max_kw, hours=stay_h
            ),
        )

    def _place(self, site_id: str, name: str) -> _Place:
        if site_id not in self._places:
            # Everybody locks in this order: site, session, demand.
            known = self._db.get(Site, site_id, with_for_update={"key_share": True})
            site = known or self._create_site(site_id, name)
            tariffs = select(SalesTariff).where(SalesTariff.site_id == site_id)
            prices = select(PurchasePrice).where(PurchasePrice.site_id == site_id)
            self._places[site_id] = _Place(
                site=site,
                is_new=known is None,
                tariffs=self._db.scalars(tariffs.order_by(SalesTariff.version.desc())).all(),
                prices=self._db.scalars(prices.order_by(PurchasePrice.version.desc())).all(),
            )
        return self._places[site_id]

    def _create_site(self, site_id: str, name: str) -> Site:
        new = SiteNew(
            site_id=site_id,
            name=name.translate(CONTROL)[:120],
            kind=self._new_sites.kind,
            timezone=self._new_sites.timezone,
            grid_limit_kw=1.0,  # until every charger is known
        )
        self._outcome.sites.append(site_id)
        return create_site(self._db, new, holder=IMPORTER, now=self._now)

    def _create_charger(self, did: str, site_id: str, max_kw: float) -> Charger:
        self._new_chargers.add(did)
        self._outcome.chargers += 1
        new = ChargerNew(did=did, site_id=site_id, max_power_kw=max_kw)
        return create_charger(self._db, new, holder=IMPORTER, now=self._now)

    def _use(self, charger: Charger, max_kw: float) -> None:
        """Remember the charger; a new one can do what the strongest of its sessions says."""
        self._chargers[charger.did] = charger
        if charger.did in self._new_chargers:
            charger.max_power_kw = max(charger.max_power_kw, max_kw)

    def _register(self, vehicle_dids: set[str]) -> None:
        """Register vehicles that are new, and their drivers."""
        missing = sorted(did for did in vehicle_dids if not self._cars[did].is_stored)
        for known in self._db.scalars(select(Vehicle).where(Vehicle.did.in_(missing))):
            car = self._cars[known.did]
            learnt = car.capacity_kwh, car.power_kw
            car.capacity_kwh, car.power_kw = known.battery_capacity_kwh, known.max_charge_power_kw
            car.is_stored, car.has_grown = True, False
            car.has_shown(*learnt)
        if not missing:
            return
        new = [did for did in missing if not self._cars[did].is_stored]
        drivers = [did.replace(":vehicle:", ":driver:", 1) for did in missing]
        self._outcome.drivers += insert_missing(
            self._db, Driver, [{"did": did, "registered_at": self._now} for did in drivers]
        )
        if new:
            self._outcome.vehicles += insert_missing(
                self._db, Vehicle, [self._vehicle(did) for did in new]
            )
        for did in new:
            self._cars[did].is_stored, self._cars[did].has_grown = True, False

    def _vehicle(self, did: str) -> dict[str, Any]:
        return {
            "did": did,
            "battery_capacity_kwh": self._cars[did].capacity_kwh,
            "consumption_wh_per_km": ASSUMED_CONSUMPTION_WH_PER_KM,
            "max_charge_power_kw": self._cars[did].power_kw,
            "registered_at": self._now,
        }

    def _count(self, one: Record, ended: EndedSession) -> None:
        self._places[ended.site_id].kept += 1
        self._outcome.kept += 1
        self._outcome.energy_kwh += one.energy_kwh
        for remark in (*one.remarks, *([TOO_MUCH] if ended.implausible_because else [])):
            self._outcome.remark(remark, f"line {one.lines}")

    def close(self) -> None:
        """Store the demand history and what only the whole file shows."""
        self._raise_vehicles()
        self._limit_new_sites()
        before = self._observed_from()
        spans = self._demand.finish()
        after = self._observed_from()
        for site_id, span in spans.items():
            if after[site_id] > min(before.get(site_id, span[0]), span[0]):
                self._outcome.notes.append(
                    f"{site_id}: a long time without sessions parts old from new; forecasts use "
                    f"those from {after[site_id]:%Y-%m-%d} on, analytics all."
                )
            self._note_overlaps(site_id, *span)
            self._tell(site_id)

    def _raise_vehicles(self) -> None:
        grown = {did: car for did, car in self._cars.items() if car.has_grown}
        rows = [
            {
                "did": did,
                "battery_capacity_kwh": car.capacity_kwh,
                "max_charge_power_kw": car.power_kw,
            }
            for did, car in grown.items()
        ]
        if rows:
            self._db.execute(update(Vehicle), rows)

    def _limit_new_sites(self) -> None:
        """Let a new site draw what its chargers can; others keep the limit they have."""
        keeping = set()
        for did, charger in self._chargers.items():
            if did in self._new_chargers and not self._places[charger.site_id].is_new:
                keeping.add(charger.site_id)
        for site_id, place in self._places.items():
            if place.is_new:
                its = (one for one in self._chargers.values() if one.site_id == site_id)
                place.site.grid_limit_kw = sum(one.max_power_kw for one in its)
        if keeping:
            self._outcome.notes.append(
                f"New chargers at sites that keep their grid limit: {shown(sorted(keeping))}."
            )

    def _observed_from(self) -> dict[str, datetime]:
        query = select(DemandSeries.site_id, DemandSeries.observed_from)
        rows = self._db.execute(query.where(DemandSeries.site_id.in_(self._places)))
        return {row.site_id: row.observed_from for row in rows}

    def _note_overlaps(self, site_id: str, since: datetime, until: datetime) -> None:
        """Count sessions of that time that began while another held the charger."""
        table = ChargingSession
        free_at = func.max(table.ended_at).over(
            partition_by=table.charger_did, order_by=(table.started_at, table.id), rows=(None, -1)
        )
        stays = (
            select(table.charger_did, table.started_at, free_at.label("free_at"))
            .where(table.site_id == site_id, table.started_at.between(since, until))
            .subquery()
        )
        query = select(stays.c.charger_did, stays.c.started_at)
        for did, at in self._db.execute(query.where(stays.c.free_at > stays.c.started_at)):
            self._outcome.remark(OVERLAPPING, f"{did} at {at:%Y-%m-%d %H:%M} UTC")

    def _tell(self, site_id: str) -> None:
        facts = {"site_id": site_id, "sessions": self._places[site_id].kept}
        note(
            self._db,
            now=self._now,
            actor=IMPORTER.did,
            action="sessions.imported",
            object_id=site_id,
            facts=facts,
        )
        record(self._db, "sessions.imported", facts, now=self._now, site_id=site_id)
