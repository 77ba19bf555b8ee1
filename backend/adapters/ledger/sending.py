"""Bring deeds to a chain: sent at least once, done once.

A transaction is stored before it is sent, and sent again as the same bytes. Whether a deed is done
is asked of the contract, never concluded: a node's yes, or a status of 1, is not enough. What a
node forgets goes back to `sent`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.adapters.ledger import fees, leases, preparing, underway, watching
from backend.adapters.ledger.checks import NotFit
from backend.adapters.ledger.deeds import Deed
from backend.adapters.ledger.desk import Desk, Moved, Prepare, Source, Terms, nobody
from backend.adapters.ledger.ledger import Chain, Ledger, LedgerUnavailable, Reverted
from backend.adapters.ledger.preparing import Ready
from backend.adapters.ledger.signers import KeyRefused, Signer
from backend.adapters.ledger.transactions import UNMINED, ChainTx
from backend.database import Database

log = structlog.get_logger("tasco.ledger")


@dataclass(frozen=True, slots=True)
class SenderState:
    """What the sender last found.

    Attributes:
        state: `idle`, `ready`, `waiting`, `refused`, `unavailable` or `elsewhere` (another process
            sends).
    """

    state: str = "idle"
    reason: str = ""
    chain: Chain | None = None
    addresses: Mapping[str, str] | None = None
    signer: str | None = None


class Sender:
    """Sends for one signer; call `step` again and again.

    Args:
        database: Where transactions are kept.
        ledger: The chain.
        open_signer: Gives the signer; asked once, when it is first needed.
        source: Deeds that have no live transaction on a chain, in order, at most so many.
        terms: How to go about it.
        prepare: Called with a new chain before anything else; the embedded one deploys there.
        moved: Told of the subjects that came into a block or out of one, in that transaction.
        now: The machine's time: leases and retries have nothing to do with a demonstration's.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        *,
        open_signer: Callable[[], Signer],
        source: Source,
        terms: Terms,
        prepare: Prepare | None = None,
        moved: Moved = nobody,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._desk = Desk(
            database,
            ledger,
            open_signer=open_signer,
            terms=terms,
            prepare=prepare,
            moved=moved,
            now=now,
        )
        self._source = source
        self._busy = threading.Lock()
        self.status = SenderState()

    def step(self) -> bool:
        """Do what can be done now; tells whether anything moved. It never raises for the chain."""
        with self._busy:
            try:
                return self._step()
            except (LedgerUnavailable, Reverted, OverflowError) as away:
                # A question that a contract of ours would answer, or a number beyond its words.
                self._report("unavailable", str(away))
            except (NotFit, KeyRefused) as refused:
                self._desk.check_anew()
                self._report("refused", str(refused))
            except fees.FeesTooHigh as high:
                self._report("waiting", str(high))
            except leases.LeaseLost:
                self._desk.forget_lease()
                self._report("elsewhere", "Another process sends for this signer.")
            return False

    def close(self) -> None:
        """Give the lease back, so that another process need not wait for its end."""
        with self._busy:
            self._desk.give_back_lease()

    def _step(self) -> bool:
        desk = self._desk
        desk.require_stand()
        if not desk.has_lease():
            raise leases.LeaseLost
        self._report("ready", "")
        moved = underway.send_again(desk) + underway.watch(desk) + underway.pay_more(desk)
        sent = self._sign_next()
        if sent and desk.ledger.is_instant:
            underway.watch(desk)
        return moved + sent > 0

    def _report(self, state: str, reason: str) -> None:
        new = SenderState(state, reason, *self._desk.known())
        if (new.state, new.reason) != (self.status.state, self.status.reason):
            tell = log.info if state in {"ready", "elsewhere"} else log.warning
            tell("ledger.sender", state=state, reason=reason)
        self.status = new

    # What comes next

    def _sign_next(self) -> int:
        """Sign and send the next window, once nothing of the last one is outside of blocks."""
        desk = self._desk
        ready = self._ready()
        if ready.refusals:
            self._report("waiting", " ".join(ready.refusals))
        adopted = [preparing.adopted_row(desk.row(one), desk.ledger, one) for one in ready.done]
        rows = self._signed(ready.calls)
        if not adopted and not rows:
            return 0

        def _store(db: Session) -> int:
            db.add_all([*adopted, *rows])
            return len(adopted) + len(rows)

        stored = desk.change(_store)
        underway.broadcast(desk, rows)
        return stored

    def _ready(self) -> Ready:
        """What can be done now; nothing while something is under way, or has to be told again."""
        desk, chain = self._desk, self._desk.stand.chain
        with desk.database.reading() as db:
            if db.scalar(select(func.count()).where(*desk.mine(*UNMINED))):
                return Ready()
            deeds = self._source(db, chain, desk.terms.window)
            failed = watching.failures(db, chain, [one.subject for one in deeds])
        if not deeds or underway.fills_gap(desk):
            return Ready()
        return preparing.ready_deeds(
            desk.ledger, desk.stand, deeds, signer=desk.signer, failed=failed, now=desk.now()
        )

    def _signed(self, calls: Sequence[tuple[Deed, bytes]]) -> list[ChainTx]:
        if not calls:
            return []
        desk, signer = self._desk, self._desk.signer
        cap_wei = desk.terms.wanted.cap_wei
        offered = fees.offer(desk.ledger.base_fee_wei(), cap_wei=cap_wei)
        first = max(desk.own_nonce(), desk.ledger.next_nonce(signer.address))
        return [
            preparing.signed_row(
                desk.row(deed), signer, calldata=calldata, nonce=first + i, fees=offered
            )
            for i, (deed, calldata) in enumerate(calls)
        ]
