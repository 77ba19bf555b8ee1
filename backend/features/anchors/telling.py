"""What a chain was told of a credential or a model, for whoever wants to look it up there."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.ledger.abi import number_in
from backend.adapters.ledger.contracts import MODELS, STATUS
from backend.adapters.ledger.sending import SenderState
from backend.adapters.ledger.transactions import ON_CHAIN, ChainTx
from backend.features.anchors import queries
from backend.features.anchors.models import ChainNotice
from backend.features.anchors.queries import ToldTx
from backend.features.anchors.rounds import VERDICT
from backend.features.anchors.schemas import (
    CredentialBit,
    CredentialOnChain,
    ModelOnChain,
    ModelVerdict,
    StatusNotice,
)
from backend.features.anchors.statuses import PUBLISH, index_of
from backend.features.anchors.views import standing
from backend.features.credentials.issuing_models import StatusEntry, StatusList
from backend.problems import NotFound

SELECTOR_BYTES = 4


class StatusUnknown(NotFound):
    """No credential of this id was issued here."""


class ModelUnknown(NotFound):
    """No verdict on this model was told to a chain."""


def credential_on_chain(db: Session, credential_id: str, sender: SenderState) -> CredentialOnChain:
    """The bits of a credential and what the chain was told of them.

    Raises:
        StatusUnknown: If it was not issued here.
    """
    query = (
        select(StatusEntry, StatusList)
        .join(StatusList, StatusList.id == StatusEntry.list_id)
        .where(StatusEntry.credential_id == credential_id)
    )
    places = db.execute(query.order_by(StatusList.purpose, StatusList.number)).all()
    if not places:
        raise StatusUnknown
    return CredentialOnChain(
        credential_id=credential_id,
        contract=(sender.addresses or {}).get(STATUS),
        issuer=sender.signer,
        bits=[_bit(db, entry, into) for entry, into in places],
    )


def _bit(db: Session, entry: StatusEntry, into: StatusList) -> CredentialBit:
    index = index_of(into, entry.position)
    of_list = (ChainNotice.name == into.id, ChainNotice.action != PUBLISH)
    told = [one for one in queries.notices_of(db, *of_list) if index in one[0].facts["indices"]]
    mined = [one.action for one, chain_tx in told if chain_tx and chain_tx.state in ON_CHAIN]
    return CredentialBit.model_validate(
        {
            "purpose": into.purpose,
            "list_id": into.id,
            "position": entry.position,
            "index": index,
            "is_set": entry.is_set,
            "is_set_on_chain": bool(mined) and mined[-1] != "reinstate",
            "notices": [_notice(*one) for one in told],
        }
    )


def _notice(notice: ChainNotice, chain_tx: ChainTx | None) -> StatusNotice:
    issuer = chain_tx.signer if chain_tx else None
    return StatusNotice(action=notice.action, issuer=issuer, **_way(notice, chain_tx))


def model_on_chain(db: Session, sha256: str, sender: SenderState) -> ModelOnChain:
    """The verdicts on a model.

    Raises:
        ModelUnknown: If there are none.
    """
    is_about_it = ChainNotice.facts["model"].as_string() == sha256
    told = queries.notices_of(db, ChainNotice.action == VERDICT, is_about_it)
    if not told:
        raise ModelUnknown
    return ModelOnChain(
        sha256=sha256,
        contract=(sender.addresses or {}).get(MODELS),
        verdicts=_verdicts(told),
    )


def _verdicts(told: Sequence[ToldTx]) -> list[ModelVerdict]:
    return [
        ModelVerdict(
            name=notice.name,
            round_number=_round_in(chain_tx),
            commitment="0x" + notice.facts["commitment"],
            model_sha256=notice.facts["model"],
            trainer=notice.facts["trainer"],
            score=notice.facts["score"],
            is_accepted=notice.facts["is_accepted"],
            **_way(notice, chain_tx),
        )
        for notice, chain_tx in told
    ]


def _round_in(chain_tx: ChainTx | None) -> int | None:
    """The contract's number of the round is the first word of a verdict's call."""
    if chain_tx is None or chain_tx.calldata is None:
        return None
    return number_in(chain_tx.calldata[SELECTOR_BYTES:])


def _way(notice: ChainNotice, chain_tx: ChainTx | None) -> dict[str, Any]:
    return {
        "notice_id": notice.id,
        "told_at": notice.created_at,
        "status": chain_tx.state if chain_tx else "waiting",
        "reason": chain_tx.reason if chain_tx else None,
        **standing(chain_tx),
    }
