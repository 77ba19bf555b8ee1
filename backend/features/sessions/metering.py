"""Meter readings of a session."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.credentials.holder import Holder
from backend.features.forecasts.service import add_demand
from backend.features.sessions import accounts, queries
from backend.features.sessions.completion import open_for_change
from backend.features.sessions.models import ChargingSession, MeterValue
from backend.features.sessions.problems import (
    EnergyImplausible,
    MeterWentBackwards,
    ReadingOutsideSession,
)
from backend.features.sessions.schemas import MeterAccepted, MeterReading, MeterReadings
from backend.features.vehicles import telemetry

CLOCK_TOLERANCE = timedelta(minutes=5)
DEVIATION_KWH, DEVIATION_SHARE = 1.0, 0.1  # from here on the plan no longer fits the meter


def add_readings(
    db: Session,
    session_id: str,
    readings: MeterReadings,
    *,
    holder: Holder,
    is_demo: bool,
    now: datetime,
) -> MeterAccepted:
    """Take a session's meter readings, all or none; readings that came before count once.

    Raises:
        MeterWentBackwards: If energy or time runs backwards.
        ReadingOutsideSession: If a reading is older than the session or lies ahead.
        EnergyImplausible: If more energy flowed than charger and time allow (marked in the demo).
    """
    session = open_for_change(db, session_id, holder=holder, changes_plan=False)
    known = {row.at: row for row in queries.readings_of(db, session_id)}
    since, before_kwh = session.energy_metered_at, _net_kwh(session)
    accepted, implausible = 0, []
    for reading in readings.values:
        before = known.get(reading.at)
        if before is not None and _is_same(before, reading):
            continue
        _check_order(session, reading, now=now)
        reason = accounts.implausible(
            session, energy_kwh=reading.energy_delivered_kwh, until=reading.at
        ) or accounts.not_discharged(
            session, discharged_kwh=reading.energy_discharged_kwh, until=reading.at
        )
        if reason is not None and not is_demo:
            raise EnergyImplausible(reason)
        implausible += [reason] if reason else []
        _add(db, session, reading, is_plausible=reason is None, now=now)
        accepted += 1
    if accepted:
        _tell(db, session, now=now)
        _tell_if_deviating(db, session, since=since, before_kwh=before_kwh, now=now)
    return MeterAccepted(
        session_id=session_id,
        accepted=accepted,
        repeated=len(readings.values) - accepted,
        energy_delivered_kwh=session.energy_delivered_kwh,
        implausible=implausible,
    )


def _is_same(before: MeterValue, reading: MeterReading) -> bool:
    told = (reading.energy_delivered_kwh, reading.energy_discharged_kwh)
    return (before.energy_kwh, before.discharged_kwh) == told


def _check_order(session: ChargingSession, reading: MeterReading, *, now: datetime) -> None:
    if reading.at < session.started_at or reading.at > now + CLOCK_TOLERANCE:
        raise ReadingOutsideSession(f"{reading.at.isoformat()} is outside the session.")
    is_late = reading.at < session.energy_metered_at
    is_same_moment = reading.at == session.energy_metered_at != session.started_at
    runs_back = (
        reading.energy_delivered_kwh < session.energy_delivered_kwh
        or reading.energy_discharged_kwh < session.energy_discharged_kwh
    )
    if is_late or is_same_moment or runs_back:
        raise MeterWentBackwards(
            f"{reading.energy_delivered_kwh} kWh at {reading.at.isoformat()} follows "
            f"{session.energy_delivered_kwh} kWh at {session.energy_metered_at.isoformat()}."
        )


def _add(
    db: Session,
    session: ChargingSession,
    reading: MeterReading,
    *,
    is_plausible: bool,
    now: datetime,
) -> None:
    db.add(
        MeterValue(
            session_id=session.id,
            at=reading.at,
            energy_kwh=reading.energy_delivered_kwh,
            discharged_kwh=reading.energy_discharged_kwh,
            power_kw=reading.power_kw,
            soc_percent=reading.soc_percent,
            is_plausible=is_plausible,
        )
    )
    add_demand(
        db,
        session.site_id,
        start=session.energy_metered_at,
        end=reading.at,
        energy_kwh=reading.energy_delivered_kwh - session.energy_delivered_kwh,
        now=now,
    )
    session.energy_delivered_kwh = reading.energy_delivered_kwh
    session.energy_discharged_kwh = reading.energy_discharged_kwh
    session.energy_metered_at = reading.at
    if session.status == "suspended":
        session.status = "active"
    telemetry.note(
        db,
        session.vehicle_did,
        at=reading.at,
        is_plugged_in=True,
        soc_percent=reading.soc_percent,
        power_kw=reading.power_kw,
        now=now,
    )


def _tell(db: Session, session: ChargingSession, *, now: datetime) -> None:
    db.flush()
    facts = {"session_id": session.id, "energy_delivered_kwh": session.energy_delivered_kwh}
    ids = {"site_id": session.site_id, "session_id": session.id}
    record(db, "session.metered", facts, now=now, **ids)


def _net_kwh(session: ChargingSession) -> float:
    return session.energy_delivered_kwh - session.energy_discharged_kwh


def _tell_if_deviating(
    db: Session, session: ChargingSession, *, since: datetime, before_kwh: float, now: datetime
) -> None:
    """Have the site planned again when the meter is off what the plans foresaw since it spoke."""
    planned = queries.followed(db, session.id, since=since, until=session.energy_metered_at)
    planned_kwh = sum(one.energy_kwh for one in planned)
    off_kwh = _net_kwh(session) - before_kwh - planned_kwh
    if abs(off_kwh) > max(DEVIATION_KWH, DEVIATION_SHARE * abs(planned_kwh)):
        facts = {"session_id": session.id, "off_by_kwh": off_kwh}
        ids = {"site_id": session.site_id, "session_id": session.id}
        record(db, "meter.deviated", facts, now=now, **ids)
