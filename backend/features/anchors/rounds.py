"""Models for the chain: a round for each that was registered or learned together, and verdicts.

The round's commitment is the hash of the item that is anchored for it: whoever holds the item's
record and salt can show what the round rests upon. `docs/anchors.md` says what the events carry.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event
from backend.adapters.ledger.contracts import MODELS
from backend.database import new_id
from backend.features.anchors import records
from backend.features.anchors.models import AnchorItem, ChainNotice
from backend.proofs.merkle import Kind

log = structlog.get_logger("tasco.anchors")
OPEN, VERDICT = "open", "verdict"
PROMOTED = "model.promoted"
BEST, MOST = 10_000, 256  # score; verdicts of one round, whose record holds them all
NOTHING = "0" * 64
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a model.

    Attributes:
        trainer: Who trained it; the chain sees a pseudonym.
        score: 0 to 10,000.
    """

    sha256: str
    trainer: str
    score: int
    is_accepted: bool


def tell_round(
    db: Session, event: Event, name: str, *, commitment: bytes, salt: bytes, now: datetime
) -> None:
    """Write down the round of an event about models, and its verdicts.

    Args:
        db: The transaction that entered the item.
        event: A model was registered, promoted, or a federated round was closed.
        name: What the item is about: the round's name.
        commitment: The item's hash.
        salt: The item's salt.
        now: The present.
    """
    judged, base = list(_judged(event))[:MOST], _hash_in(event.data, "parent_sha256")
    if event.type == PROMOTED:
        opened = _opening(db, name)
        if opened is None or not judged:
            return  # its registration is still to come, or was before rounds were told
        commitment = bytes.fromhex(opened.facts["commitment"])
    elif _model_in(event) is None:
        log.warning("anchors.round_without_model", event_type=event.type, name=name)
        return
    else:
        facts = {"base": base or NOTHING, "commitment": commitment.hex()}
        _add(db, OPEN, name, facts, now=now)
    for one in judged:
        _add(db, VERDICT, name, _facts(one, commitment, salt), now=now)
    if event.type == "model.registered":
        _catch_up(db, name, commitment, now=now)


def _catch_up(db: Session, name: str, commitment: bytes, *, now: datetime) -> None:
    """Tell the verdict of a promotion that was heard of before the registration."""
    promotions = select(AnchorItem).where(
        AnchorItem.kind == int(Kind.MODEL), AnchorItem.name.startswith(f"{name}#", autoescape=True)
    )
    for item in db.scalars(promotions.order_by(AnchorItem.id)):
        told, salt = item.record or {}, item.salt or b""
        model = _hash_in(told.get("facts", {}), "sha256")
        if told.get("event") == PROMOTED and model is not None:
            one = Judged(model, name, BEST, is_accepted=True)
            _add(db, VERDICT, name, _facts(one, commitment, salt), now=now)


def _model_in(event: Event) -> str | None:
    """The hash of the model that an event is about."""
    is_round = event.type == "federated.round.closed"
    return _hash_in(event.data, "model_sha256" if is_round else "sha256")


def _judged(event: Event) -> Iterator[Judged]:
    """The model first, then the updates; each hash once: a copy is no second model."""
    model, data = _model_in(event), event.data
    is_closed = event.type == "federated.round.closed"
    is_judged = is_closed or event.type == PROMOTED or data.get("status") == "champion"
    if model is None or not is_judged:
        return  # registered, and judged when it is promoted
    trainer = str(data.get("round_id") or data.get("model_id"))
    yield Judged(model, trainer, _score(data, is_accepted=True), is_accepted=True)
    seen = {model}
    for update in _updates(data):
        sha256, is_accepted = _hash_in(update, "sha256"), update.get("verdict") == "accepted"
        if sha256 is None or sha256 in seen:
            continue
        seen.add(sha256)
        score = _score(update, is_accepted=is_accepted)
        trainer = str(update.get("participant") or sha256)  # rounds need not name anybody
        yield Judged(sha256, trainer, score, is_accepted)


def _updates(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    updates = data.get("updates")
    found = updates if isinstance(updates, list) else []
    return [one for one in found if isinstance(one, Mapping)]


def _hash_in(data: Mapping[str, Any], member: str) -> str | None:
    found = str(data.get(member) or "").removeprefix("0x")
    return found if _HASH.fullmatch(found) and found != NOTHING else None


def _score(data: Mapping[str, Any], *, is_accepted: bool) -> int:
    """A score from 0 to 1 as the contract counts; without one, the verdict is all there is."""
    score = data.get("score")
    if not isinstance(score, int | float) or isinstance(score, bool) or score != score:  # noqa: PLR0124 - NaN
        return BEST if is_accepted else 0
    return round(BEST * min(1.0, max(0.0, score)))


def _facts(one: Judged, commitment: bytes, salt: bytes) -> dict[str, Any]:
    pseudonym = records.salted(one.trainer, salt)
    return {
        "commitment": commitment.hex(),
        "trainer": "0x" + pseudonym[-40:],
        "model": one.sha256,
        "score": one.score,
        "is_accepted": one.is_accepted,
    }


def _opening(db: Session, name: str) -> ChainNotice | None:
    query = select(ChainNotice).where(ChainNotice.action == OPEN, ChainNotice.name == name)
    return db.scalar(query)


def _add(db: Session, action: str, name: str, facts: dict[str, Any], *, now: datetime) -> None:
    of_it = (ChainNotice.action == action, ChainNotice.name == name)
    notice = ChainNotice(
        id=new_id("ntc"),
        contract=MODELS,
        action=action,
        name=name,
        part=db.scalar(select(func.count()).where(*of_it)),
        version=0,
        facts=facts,
        created_at=now,
    )
    db.add(notice)
    db.flush()
