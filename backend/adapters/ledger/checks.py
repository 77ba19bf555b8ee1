"""What has to be true before anything is sent; if it is not, nothing is."""

from collections.abc import Mapping
from dataclasses import dataclass

from eth_hash.auto import keccak
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.ledger.contracts import GAS, WrongCode, missing_role, require_code
from backend.adapters.ledger.json_rpc import DEV_CHAIN_IDS
from backend.adapters.ledger.ledger import EMBEDDED_CHAIN_ID, Chain, Ledger
from backend.adapters.ledger.signers import KeyRefused, Signer, require_own_key
from backend.adapters.ledger.transactions import ContractPlace

LEAST_WRITES = 10  # that the balance has to pay for


class NotFit(Exception):
    """The ledger is not the one it should be, or we may not write to it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sender insists upon.

    Attributes:
        chain_id: The chain it was told to write to; None takes the one it was deployed on.
    """

    chain_id: int | None
    is_demo: bool
    cap_wei: int


@dataclass(frozen=True, slots=True)
class Stand:
    """Where to write: the chain, and the contracts by name."""

    chain: Chain
    addresses: Mapping[str, str]
    code_hashes: Mapping[str, str]


def places_on(db: Session, chain: Chain) -> dict[str, str]:
    """Addresses of whatever was deployed on a chain."""
    here = (
        ContractPlace.chain_id == chain.chain_id,
        ContractPlace.genesis_hash == chain.genesis_hash,
    )
    rows = db.scalars(select(ContractPlace).where(*here))
    return {one.contract: one.address for one in rows}


def stand_of(db: Session, chain: Chain) -> dict[str, str]:
    """Addresses of the contracts on a chain.

    Raises:
        NotFit: If nothing was deployed on it, or on another chain of the same number.
    """
    found = places_on(db, chain)
    missing = sorted(set(GAS) - set(found))
    if not missing:
        return found
    if found:
        raise NotFit(f"{' and '.join(missing)} missing: python -m backend chain deploy")
    others = select(ContractPlace).where(ContractPlace.chain_id == chain.chain_id)
    if db.scalar(others.limit(1)) is not None:
        raise NotFit(f"This is another chain {chain.chain_id}: its genesis block has changed.")
    raise NotFit(f"No contracts on chain {chain.chain_id}: python -m backend chain deploy")


def require_fit(
    ledger: Ledger, chain: Chain, addresses: Mapping[str, str], signer: Signer, wanted: Wanted
) -> Stand:
    """Look at chain, code, role, balance and key.

    Raises:
        NotFit: If one of them is not as it has to be.
        LedgerUnavailable: If the node does not answer.
    """
    if wanted.chain_id not in {None, chain.chain_id}:
        raise NotFit(f"The node is on chain {chain.chain_id}, not on {wanted.chain_id}.")
    try:
        is_dev = chain.chain_id in {EMBEDDED_CHAIN_ID, *DEV_CHAIN_IDS}
        require_own_key(signer, is_dev_chain=is_dev, is_demo=wanted.is_demo)
        codes = {name: require_code(ledger, name, addresses[name]) for name in GAS}
    except (KeyRefused, WrongCode) as refused:
        raise NotFit(str(refused)) from refused
    for name in GAS:
        role = missing_role(ledger, name, addresses[name], signer.address)
        if role is not None:
            raise NotFit(f"{signer.address} may not write to {name}: it lacks {role}.")
    _require_balance(ledger, signer, wanted)
    hashes = {name: "0x" + keccak(code).hex() for name, code in codes.items()}
    return Stand(chain, dict(addresses), hashes)


def _require_balance(ledger: Ledger, signer: Signer, wanted: Wanted) -> None:
    price_wei = min(2 * ledger.base_fee_wei() + 10**9, wanted.cap_wei)
    needed_wei = LEAST_WRITES * max(GAS.values()) * price_wei
    balance_wei = ledger.balance_wei(signer.address)
    if balance_wei < needed_wei:
        raise NotFit(f"{signer.address} holds {balance_wei} wei, {LEAST_WRITES} writes need more.")
