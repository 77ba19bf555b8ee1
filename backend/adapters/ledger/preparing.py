"""Which deeds can be done now, and the transactions that do them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backend.adapters.ledger import contracts
from backend.adapters.ledger.checks import Stand
from backend.adapters.ledger.contracts import Deed
from backend.adapters.ledger.deploying import checksummed
from backend.adapters.ledger.fees import Fees
from backend.adapters.ledger.ledger import Ledger
from backend.adapters.ledger.signers import Signer
from backend.adapters.ledger.transactions import FINAL, SENT, SIGNED, ChainTx
from backend.database import new_id

FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=2), timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a deed failed on a chain, and when last."""

    count: int
    last_at: datetime

    def is_resting(self, now: datetime) -> bool:
        """Tell whether it is too early to try again; the wait doubles with each failure."""
        rest = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(self.count - 1, 10))
        return bool(now - self.last_at < rest)


@dataclass(slots=True)
class Ready:
    """What can be done.

    Attributes:
        calls: Deeds to sign, with their calldata.
        done: Deeds whose effect the chain holds already.
        refusals: What contracts would refuse, in their words.
    """

    calls: list[tuple[Deed, bytes]] = field(default_factory=list)
    done: list[Deed] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def ready_deeds(
    ledger: Ledger,
    stand: Stand,
    deeds: Sequence[Deed],
    *,
    sender: str,
    failed: Mapping[str, Failures],
    now: datetime,
) -> Ready:
    """Sort deeds, in order and by contract, into those to sign, those done and those refused."""
    found = Ready()
    for contract in contracts.GAS:
        own = [one for one in deeds if one.contract == contract]
        if own:
            address = stand.addresses[contract]
            _sort(ledger, address, own, found, sender=sender, failed=failed, now=now)
    return found


def _sort(
    ledger: Ledger,
    address: str,
    deeds: Sequence[Deed],
    found: Ready,
    *,
    sender: str,
    failed: Mapping[str, Failures],
    now: datetime,
) -> None:
    """Deeds of one contract: those that failed are looked for, and the first is tried as a call.

    A contract that is paused, or a role that was taken away, is found by that call and costs
    nothing.
    """
    tried = (one for one in deeds if one.subject in failed)
    done = [one for one in tried if contracts.is_done(ledger, one, address)]
    left = [one for one in deeds if one not in done]
    found.done += done
    if not left or (left[0].subject in failed and failed[left[0].subject].is_resting(now)):
        return
    sequence = contracts.sequence_of(ledger, left[0].contract, address)
    why = contracts.refusal(ledger, left[0], address, sequence=sequence, sender=sender)
    if not why:
        fitting = left[: contracts.writes_left(ledger, address, sender)]
        found.calls += [(one, one.calldata(sequence + i)) for i, one in enumerate(fitting)]
    elif contracts.is_done(ledger, left[0], address):
        found.done.append(left[0])
    else:
        found.refusals.append(f"{left[0].contract} refuses: {why}")


def signed_row(
    row: ChainTx, signer: Signer, *, calldata: bytes, nonce: int, fees: Fees, attempt: int = 1
) -> ChainTx:
    """The row with a signed transaction in it."""
    transaction = {
        "type": 2,
        "chainId": row.chain_id,
        "nonce": nonce,
        "gas": contracts.GAS[row.contract],
        "maxFeePerGas": fees.max_wei,
        "maxPriorityFeePerGas": fees.tip_wei,
        "to": checksummed(row.address),
        "value": 0,
        "data": calldata,
    }
    row.raw_tx, row.tx_hash = signer.sign(transaction)
    row.calldata, row.nonce, row.attempt = calldata, nonce, attempt
    row.max_fee_wei, row.tip_wei = fees.max_wei, fees.tip_wei
    return row


def replacement(row: ChainTx, signer: Signer, fees: Fees, *, now: datetime) -> ChainTx:
    """A better paid transaction in place of one that waits too long."""
    kept = ("subject", "contract", "address", "expected", "chain_id", "genesis_hash", "code_hash")
    copied = {name: getattr(row, name) for name in (*kept, "trust", "signer")}
    new = ChainTx(id=new_id("ctx"), state=SIGNED, reorgs=0, signed_at=now, changed_at=now, **copied)
    calldata, nonce = row.calldata or b"", row.nonce or 0
    return signed_row(
        new, signer, calldata=calldata, nonce=nonce, fees=fees, attempt=row.attempt + 1
    )


def adopted_row(row: ChainTx, ledger: Ledger, deed: Deed) -> ChainTx:
    """The row for a deed that stands on the chain already, with the place it has there."""
    event = contracts.place_of(ledger, deed, row.address)
    row.state, row.tx_hash = (SENT, event.tx_hash) if event else (FINAL, None)
    if event is None:
        row.reason = "It stands on the chain; in which transaction is not known."
    return row


def empty_row(deed: Deed, stand: Stand, *, signer: str, trust: str, now: datetime) -> ChainTx:
    """A row for a deed, without a transaction yet."""
    return ChainTx(
        id=new_id("ctx"),
        subject=deed.subject,
        contract=deed.contract,
        address=stand.addresses[deed.contract],
        expected=deed.expected,
        chain_id=stand.chain.chain_id,
        genesis_hash=stand.chain.genesis_hash,
        code_hash=stand.code_hashes[deed.contract],
        trust=trust,
        signer=signer,
        attempt=0,
        max_fee_wei=0,
        tip_wei=0,
        state=SIGNED,
        reorgs=0,
        signed_at=now,
        changed_at=now,
    )
