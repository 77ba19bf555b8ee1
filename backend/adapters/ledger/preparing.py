"""Which deeds can be done now, and the transactions that do them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backend.adapters.ledger import contracts
from backend.adapters.ledger.checks import Stand
from backend.adapters.ledger.deeds import Deed, Turn, place_of, refusal
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
    signer: Signer,
    failed: Mapping[str, Failures],
    now: datetime,
) -> Ready:
    """Sort deeds, in order and by lane, into those to sign, those done and those refused."""
    found = Ready()
    sorting = _Sorting(ledger, stand, signer, failed, now)
    for lane in _lanes(deeds):
        sorting.sort(lane, found)
    return found


def _lanes(deeds: Sequence[Deed]) -> list[list[Deed]]:
    """Deeds of one contract and lane, in order; contracts in an order of their own."""
    lanes: dict[tuple[str, str], list[Deed]] = defaultdict(list)
    for one in deeds:
        lanes[one.contract, one.lane].append(one)
    places = list(contracts.GAS)
    return [lanes[key] for key in sorted(lanes, key=lambda key: places.index(key[0]))]


@dataclass
class _Sorting:
    """One pass over all lanes; the writer's rate is one for all lanes of a contract."""

    ledger: Ledger
    stand: Stand
    signer: Signer
    failed: Mapping[str, Failures]
    now: datetime
    left: dict[str, int] = field(default_factory=dict)

    def sort(self, deeds: Sequence[Deed], found: Ready) -> None:
        """Deeds of a lane: those that failed are looked for, and the first is tried as a call.

        A contract that is paused, or a role that was taken away, is found by that call and costs
        nothing.
        """
        done = [one for one in deeds if one.subject in self.failed and self._is_done(one)]
        found.done += done
        waiting = [one for one in deeds if one not in done]
        if not waiting or self._is_resting(waiting[0]):
            return
        first = waiting[0]
        number = first.number(self.ledger, self.stand.addresses[first.contract], self._who)
        why = refusal(self.ledger, first, self._turn(first, number, 0))
        if not why:
            fitting = self._fitting(waiting)
            turns = ((one, self._turn(one, number, i)) for i, one in enumerate(fitting))
            found.calls += [(one, one.calldata(turn)) for one, turn in turns]
        elif self._is_done(first):
            found.done.append(first)
        else:
            found.refusals.append(f"{first.contract} refuses: {why}")

    @property
    def _who(self) -> str:
        return self.signer.address

    def _is_done(self, deed: Deed) -> bool:
        return deed.is_done(self.ledger, self.stand.addresses[deed.contract], self._who)

    def _is_resting(self, deed: Deed) -> bool:
        return deed.subject in self.failed and self.failed[deed.subject].is_resting(self.now)

    def _turn(self, deed: Deed, number: int, before: int) -> Turn:
        address = self.stand.addresses[deed.contract]
        return Turn(number, before, self.stand.chain.chain_id, address, self.signer)

    def _fitting(self, deeds: Sequence[Deed]) -> Sequence[Deed]:
        """As many as the writer's rate allows now; what is not rated always fits."""
        contract = deeds[0].contract
        if not deeds[0].is_rated:
            return deeds
        if contract not in self.left:
            address = self.stand.addresses[contract]
            self.left[contract] = contracts.writes_left(self.ledger, address, self._who)
        fitting = deeds[: self.left[contract]]
        self.left[contract] -= len(fitting)
        return fitting


def signed_row(
    row: ChainTx, signer: Signer, *, calldata: bytes, nonce: int, fees: Fees, attempt: int = 1
) -> ChainTx:
    """The row with a signed transaction in it."""
    transaction = {
        "type": 2,
        "chainId": row.chain_id,
        "nonce": nonce,
        "gas": contracts.gas_for(row.contract, calldata),
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
    event = place_of(ledger, deed, row.address)
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
