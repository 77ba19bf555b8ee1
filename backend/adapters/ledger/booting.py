"""A new embedded chain gets its contracts, and forgets the one of the process before."""

from datetime import UTC, datetime

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from backend.adapters.ledger.contracts import CHARGE_LEDGER, MODELS, STATUS
from backend.adapters.ledger.deploying import Deployer, Rate
from backend.adapters.ledger.embedded import EmbeddedLedger
from backend.adapters.ledger.ledger import Chain
from backend.adapters.ledger.signers import Signer
from backend.adapters.ledger.transactions import LIVE, SUPERSEDED, ChainTx, ContractPlace
from backend.database import Database

CAP_WEI = 10**12
UNLIMITED = Rate(seconds_per_write=1, burst=1_000_000)  # nobody else can write here anyway


def boot(database: Database, ledger: EmbeddedLedger, chain: Chain, signer: Signer) -> None:
    """Fund the signer, deploy, and let every batch be anchored again on this chain."""
    ledger.fund(signer.address)
    places = Deployer(ledger, signer, CAP_WEI, UNLIMITED).deploy(writer=signer.address)
    with database.transaction() as db:
        db.execute(delete(ContractPlace).where(ContractPlace.chain_id == chain.chain_id))
        record_places(db, chain, places)
        former = update(ChainTx).where(
            ChainTx.chain_id == chain.chain_id,
            ChainTx.genesis_hash != chain.genesis_hash,
            ChainTx.state.in_(LIVE),
        )
        db.execute(former.values(state=SUPERSEDED, reason="Its chain ended with its process."))


def record_places(db: Session, chain: Chain, places: dict[str, str]) -> None:
    """Remember where contracts stand on a chain; new ones take the place of old ones.

    Roots stay where they were anchored: the receipts name the place. All others are told everything
    again: whether a credential is revoked is asked of the newest, a block follows the one before,
    and a verdict needs its round.
    """
    for contract in (STATUS, CHARGE_LEDGER, MODELS):
        if contract in places:
            _supersede(db, chain, contract, places[contract].lower())
    for contract, address in places.items():
        row = ContractPlace(
            chain_id=chain.chain_id,
            genesis_hash=chain.genesis_hash,
            contract=contract,
            address=address.lower(),
            recorded_at=datetime.now(UTC),
        )
        db.merge(row)


def _supersede(db: Session, chain: Chain, contract: str, address: str) -> None:
    """Let what was told at other addresses of a contract be told again."""
    former = update(ChainTx).where(
        ChainTx.chain_id == chain.chain_id,
        ChainTx.genesis_hash == chain.genesis_hash,
        ChainTx.contract == contract,
        ChainTx.address != address,
        ChainTx.state.in_(LIVE),
    )
    db.execute(former.values(state=SUPERSEDED, reason="Another contract took its place."))
