"""Notices that wait for a chain, as deeds of the sender."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session, aliased

from backend.adapters.ledger.contracts import MODELS, STATUS
from backend.adapters.ledger.deeds import Deed
from backend.adapters.ledger.ledger import Chain
from backend.adapters.ledger.model_deeds import RoundOpening, Verdict
from backend.adapters.ledger.status_deeds import ListPublication, StatusChange
from backend.adapters.ledger.transactions import LIVE, ON_CHAIN, ChainTx
from backend.features.anchors.models import ChainNotice
from backend.features.anchors.rounds import OPEN, VERDICT
from backend.features.anchors.statuses import PUBLISH, REVOKE
from backend.proofs.canonical import item_id


def waiting_revocations(db: Session, chain: Chain, limit: int) -> list[Deed]:
    """Revocations that have no live transaction on a chain."""
    return _waiting(db, chain, limit, ChainNotice.action == REVOKE)


def waiting_statuses(db: Session, chain: Chain, limit: int) -> list[Deed]:
    """Suspensions and their ends, and of each list the newest root."""
    is_newest = or_(ChainNotice.action != PUBLISH, ~_is_outdated())
    others = (ChainNotice.contract == STATUS, ChainNotice.action != REVOKE)
    return _waiting(db, chain, limit, *others, is_newest)


def waiting_models(db: Session, chain: Chain, limit: int) -> list[Deed]:
    """Rounds of models, and the verdicts of those that are opened on the chain."""
    is_opened = or_(ChainNotice.action != VERDICT, _is_opened(chain))
    return _waiting(db, chain, limit, ChainNotice.contract == MODELS, is_opened)


def _waiting(db: Session, chain: Chain, limit: int, *conditions: ColumnElement[bool]) -> list[Deed]:
    """In the order of the versions of their list, whatever the clocks said."""
    query = select(ChainNotice).where(~_has_tx(ChainNotice.id, chain, LIVE), *conditions)
    ordered = query.order_by(ChainNotice.version, ChainNotice.id).limit(limit)
    return [deed_of(one) for one in db.scalars(ordered)]


def _has_tx(subject: Any, chain: Chain, states: tuple[str, ...]) -> ColumnElement[bool]:  # noqa: ANN401 - a column
    return exists().where(
        ChainTx.subject == subject,
        ChainTx.chain_id == chain.chain_id,
        ChainTx.genesis_hash == chain.genesis_hash,
        ChainTx.state.in_(states),
    )


def _is_opened(chain: Chain) -> ColumnElement[bool]:
    opening = aliased(ChainNotice)
    return exists().where(
        opening.action == OPEN,
        opening.name == ChainNotice.name,
        ChainTx.subject == opening.id,
        ChainTx.chain_id == chain.chain_id,
        ChainTx.genesis_hash == chain.genesis_hash,
        ChainTx.state.in_(ON_CHAIN),
    )


def _is_outdated() -> ColumnElement[bool]:
    later = aliased(ChainNotice)
    return exists().where(
        later.action == PUBLISH, later.name == ChainNotice.name, later.part > ChainNotice.part
    )


def deed_of(notice: ChainNotice) -> Deed:
    """What the sender does for a notice."""
    return _DEEDS.get(notice.action, _status_change)(notice, notice.facts)


def _status_change(notice: ChainNotice, facts: Mapping[str, Any]) -> Deed:
    return StatusChange(notice.id, notice.action, tuple(facts["indices"]))


def _publication(notice: ChainNotice, facts: Mapping[str, Any]) -> Deed:
    return ListPublication(notice.id, item_id(notice.name), bytes.fromhex(facts["root"]))


def _opening(notice: ChainNotice, facts: Mapping[str, Any]) -> Deed:
    base, commitment = bytes.fromhex(facts["base"]), bytes.fromhex(facts["commitment"])
    return RoundOpening(notice.id, base, commitment)


def _verdict(notice: ChainNotice, facts: Mapping[str, Any]) -> Deed:
    return Verdict(
        notice.id,
        bytes.fromhex(facts["commitment"]),
        int(facts["trainer"], 16),
        bytes.fromhex(facts["model"]),
        facts["score"],
        facts["is_accepted"],
    )


_DEEDS: Mapping[str, Callable[[ChainNotice, Mapping[str, Any]], Deed]] = {
    PUBLISH: _publication,
    OPEN: _opening,
    VERDICT: _verdict,
}
