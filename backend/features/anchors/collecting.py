"""Records become items that wait to be anchored: by event, and whatever no event brought."""

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event
from backend.database import insert_missing, new_id
from backend.features.anchors import records
from backend.features.anchors.batching import alone
from backend.features.anchors.models import AnchorItem
from backend.features.anchors.records import Record, Settled
from backend.features.anchors.rounds import tell_round
from backend.features.credentials import audit
from backend.features.sessions import queries
from backend.features.sessions.models import ChargeDetailRecord, ChargingSession
from backend.features.sites.models import SalesTariff
from backend.proofs.canonical import SALT_BYTES, item_hash
from backend.proofs.checkpoints import checkpoint
from backend.proofs.merkle import Kind

Make = Callable[[bytes], Record]
SESSION_ENDS = ("session.completed", "session.cancelled", "session.expired")
_NAMED_BY = {
    "credential.issued": (Kind.CREDENTIAL_ISSUED, "credential_id", False),
    "credential.revoked": (Kind.CREDENTIAL_REVOKED, "credential_id", True),
    "credential.suspended": (Kind.CREDENTIAL_REVOKED, "credential_id", True),
    "credential.reinstated": (Kind.CREDENTIAL_REVOKED, "credential_id", True),
    "model.registered": (Kind.MODEL, "model_id", False),
    "model.promoted": (Kind.MODEL, "model_id", True),
    "federated.round.closed": (Kind.FEDERATED_ROUND, "round_id", False),
    "issuers.changed": (Kind.TRUST_SNAPSHOT, "epoch", True),
}
FACTS = tuple(_NAMED_BY)
OF_MODELS = (Kind.MODEL, Kind.FEDERATED_ROUND)
FLEET_FLOWS = "fleet.flows.metered"
_SPAN = {"from_at": "start", "to_at": "end"}


def enter_fact(db: Session, event: Event, *, now: datetime) -> None:
    """Enter what an event told; what can happen again to the same thing carries the event's id."""
    kind, member, is_repeatable = _NAMED_BY[event.type]
    about = str(event.data.get(member, event.id))
    name = f"{about}#{event.id}" if is_repeatable else about
    record = records.event_record(event.type, event.data, event.occurred_at)
    if kind in OF_MODELS:
        alone(db)  # a model's registration and its promotion may come to two processes at once
    item = _enter(db, kind, name, lambda _salt: record, now=now)
    if item is not None and kind in OF_MODELS:
        tell_round(db, event, about, commitment=item["item_hash"], salt=item["salt"], now=now)


def enter_session(db: Session, session_id: str, *, now: datetime) -> bool:
    """Enter the receipt of a session that ended, and its charge and discharge for the ledger.

    Returns:
        Whether it was entered now; False if it was before, or has no bill.
    """
    settled = settled_session(db, session_id)
    if settled is None:
        return False
    bill = settled.bill
    place = {"session_id": session_id, "site_id": bill.site_id}
    make: Make = lambda salt: records.receipt_record(settled, salt)  # noqa: E731 - as below
    if _enter(db, Kind.SESSION_RECEIPT, session_id, make, now=now, **place) is None:
        return False
    span = {"from_at": bill.started_at, "to_at": bill.ended_at}
    flows: list[tuple[Make, dict[str, int]]] = [
        (lambda salt: records.charge_record(settled, salt), {"wh_in": records.wh(bill.energy_kwh)}),
        (
            lambda salt: records.discharge_record(settled, salt),
            {"wh_out": records.wh(bill.discharged_kwh)},
        ),
    ]
    for make_flow, energy in flows:
        if any(energy.values()):
            name = new_id("ltx")  # says nothing about the session
            _enter(db, Kind.LEDGER_RECORD, name, make_flow, now=now, **place, **span, **energy)
    return True


def enter_simulated_flows(db: Session, event: Event, *, now: datetime) -> None:
    """Enter the charges and discharges of a simulated fleet for the next block of the ledger."""
    for number, flow in enumerate(event.data["flows"]):
        side = "wh_in" if flow["type"] == "charge" else "wh_out"
        span = {name: datetime.fromisoformat(flow[f"{word}ed_at"]) for name, word in _SPAN.items()}
        make = partial(records.simulated_record, flow)
        name = f"ltx_{event.id}_{number}"
        _enter(
            db, Kind.LEDGER_RECORD, name, make, now=now, **span, **{side: int(flow["energy_wh"])}
        )


def settled_session(db: Session, session_id: str) -> Settled | None:
    """A session with its bill; None if it has none."""
    bill = queries.record_of(db, session_id)
    if bill is None:
        return None
    plan = queries.newest_plan(db, session_id)
    session = db.get_one(ChargingSession, session_id)
    tariff = db.get_one(SalesTariff, bill.tariff_id)
    return Settled(session, bill, tariff, plan[0].version if plan else None)


def unentered_sessions(db: Session, *, limit: int) -> list[str]:
    """Sessions with a bill and no receipt, such as those that were imported."""
    is_entered = exists().where(
        AnchorItem.kind == int(Kind.SESSION_RECEIPT),
        AnchorItem.name == ChargeDetailRecord.session_id,
    )
    query = select(ChargeDetailRecord.session_id).where(~is_entered)
    return list(db.scalars(query.order_by(ChargeDetailRecord.id).limit(limit)))


def enter_audit_head(db: Session, key: Any, *, now: datetime) -> bool:  # noqa: ANN401 - Ed25519
    """Enter a signed checkpoint of the audit trail, if the trail has grown since the last one."""
    sequence, head = audit.head_of(db)
    previous = newest_audit_checkpoint(db)
    if sequence <= (previous["count"] if previous else 0):
        return False
    seal = checkpoint(
        key,
        previous=previous,
        kind="audit",
        root=bytes.fromhex(head),
        count=sequence,
        at=records.moment(now),
    )
    name = f"audit:{sequence}"
    return _enter(db, Kind.AUDIT_HEAD, name, lambda _salt: seal, now=now) is not None


def newest_audit_checkpoint(db: Session) -> dict[str, Any] | None:
    """The last signed checkpoint of the audit trail."""
    query = select(AnchorItem.record).where(AnchorItem.kind == int(Kind.AUDIT_HEAD))
    ordered = query.order_by(func.length(AnchorItem.name).desc(), AnchorItem.name.desc())
    return db.scalar(ordered.limit(1))  # the name counts events; clocks may have been set back


def audit_checkpoints(db: Session) -> list[dict[str, Any]]:
    """All signed checkpoints of the audit trail, in order."""
    query = select(AnchorItem.record).where(AnchorItem.kind == int(Kind.AUDIT_HEAD))
    ordered = query.order_by(func.length(AnchorItem.name), AnchorItem.name)
    return [one for one in db.scalars(ordered) if one is not None]


def _enter(
    db: Session,
    kind: Kind,
    name: str,
    make: Make,
    *,
    now: datetime,
    **values: Any,  # noqa: ANN401 - columns
) -> dict[str, Any] | None:
    """Store a record with a salt of its own; None if the item was entered before."""
    salt = secrets.token_bytes(SALT_BYTES)
    record = make(salt)
    row = {
        "id": new_id("itm"),
        "kind": int(kind),
        "name": name,
        "record": record,
        "salt": salt,
        "item_hash": item_hash(record, salt),
        "created_at": now,
        **values,
    }
    return row if insert_missing(db, AnchorItem, row) == 1 else None
