"""Bring deeds to a chain: sent at least once, done once.

A transaction is stored before it is sent, and sent again as the same bytes. Whether a deed is done
is asked of the contract, never concluded: a node's yes, or a status of 1, is not enough. What a
node forgets goes back to `sent`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.adapters.ledger import fees, leases, preparing, watching
from backend.adapters.ledger.checks import NotFit, Stand, Wanted, require_fit, stand_of
from backend.adapters.ledger.contracts import Deed
from backend.adapters.ledger.ledger import Chain, Ledger, LedgerUnavailable
from backend.adapters.ledger.signers import KeyRefused, Signer
from backend.adapters.ledger.transactions import (
    FAILED,
    FINAL,
    INCLUDED,
    LOST,
    REPLACED,
    SENT,
    SIGNED,
    UNMINED,
    ChainTx,
)
from backend.database import Database, new_id

log = structlog.get_logger("tasco.ledger")
SEND_AGAIN = timedelta(seconds=15)
CHECK_AGAIN = timedelta(minutes=5)

Source = Callable[[Session, Chain, int], Sequence[Deed]]


@dataclass(frozen=True, slots=True)
class Terms:
    """How the sender goes about it.

    Attributes:
        confirmations: Blocks that have to stand on a transaction's block; None waits for the
            chain's own finalized block.
        window: Transactions that are under way at once.
        stuck_after: How long a transaction waits before a better paid one takes its place.
        lease: How long another process waits for one that ended without a word.
    """

    wanted: Wanted
    confirmations: int | None = None
    window: int = 50
    stuck_after: timedelta = timedelta(seconds=90)
    lease: timedelta = leases.TERM


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
        prepare: Callable[[Chain, Signer], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database, self._ledger, self._source = database, ledger, source
        self._open_signer, self._prepare = open_signer, prepare
        self._terms, self._now = terms, now
        self._holder = new_id("snd")
        self._busy = threading.Lock()
        self._signer: Signer | None = None
        self._stand: Stand | None = None
        self._checked_at: datetime | None = None
        self._token: int | None = None
        self.status = SenderState()

    def step(self) -> bool:
        """Do what can be done now; tells whether anything moved. It never raises for the chain."""
        with self._busy:
            try:
                return self._step()
            except LedgerUnavailable as away:
                self._report("unavailable", str(away))
            except (NotFit, KeyRefused) as refused:
                self._checked_at = None
                self._report("refused", str(refused))
            except fees.FeesTooHigh as high:
                self._report("waiting", str(high))
            except leases.LeaseLost:
                self._token = None
                self._report("elsewhere", "Another process sends for this signer.")
            return False

    def close(self) -> None:
        """Give the lease back, so that another process need not wait for its end."""
        with self._busy:
            if self._token is not None:
                with self._database.transaction() as db:
                    leases.give_back(db, token=self._token, now=self._now(), **self._lease())
                self._token = None

    def _step(self) -> bool:
        self._require_stand()
        if not self._has_lease():
            raise leases.LeaseLost
        self._report("ready", "")
        moved = self._send_again() + self._watch() + self._pay_more()
        sent = self._sign_next()
        if sent and self._ledger.is_instant:
            self._watch()
        return moved + sent > 0

    # The chain, and whether we may write to it

    def _require_stand(self) -> None:
        if self._signer is None:
            self._signer = self._open_signer()
        chain, now = self._ledger.chain(), self._now()
        is_same = self._stand is not None and self._stand.chain == chain
        if is_same and self._checked_at and now - self._checked_at < CHECK_AGAIN:
            return
        if not is_same:
            self._stand = self._token = None
            if self._prepare:
                self._prepare(chain, self._signer)
        with self._database.reading() as db:
            addresses = stand_of(db, chain)
        wanted = self._terms.wanted
        self._stand = require_fit(self._ledger, chain, addresses, self._signer, wanted)
        self._checked_at = now

    def _place(self) -> tuple[Stand, Signer]:
        if self._stand is None or self._signer is None:
            raise LedgerUnavailable("not connected")
        return self._stand, self._signer

    def _report(self, state: str, reason: str) -> None:
        new = SenderState(
            state,
            reason,
            self._stand.chain if self._stand else None,
            self._stand.addresses if self._stand else None,
            self._signer.address if self._signer else None,
        )
        if (new.state, new.reason) != (self.status.state, self.status.reason):
            tell = log.info if state in {"ready", "elsewhere"} else log.warning
            tell("ledger.sender", state=state, reason=reason)
        self.status = new

    # The lease: every change of ours happens under it

    def _lease(self) -> dict[str, Any]:
        stand, signer = self._place()
        return {"chain_id": stand.chain.chain_id, "signer": signer.address}

    def _has_lease(self) -> bool:
        if self._token is not None:
            with self._database.reading() as db:
                return leases.is_held(db, token=self._token, **self._lease())
        with self._database.transaction() as db:
            key, now, term = self._lease(), self._now(), self._terms.lease
            self._token = leases.take(db, holder=self._holder, now=now, term=term, **key)
        return self._token is not None

    def _change(self, work: Callable[[Session], int]) -> int:
        """One transaction under the lease.

        Raises:
            LeaseLost: If another process took it meanwhile.
        """
        with self._database.transaction() as db:
            if self._token is None:
                raise leases.LeaseLost
            now, term = self._now(), self._terms.lease
            leases.hold(db, token=self._token, now=now, term=term, **self._lease())
            return work(db)

    # What is under way

    def _mine(self, *states: str) -> tuple[Any, ...]:
        """Conditions on our transactions on this chain, in these states if any are named."""
        stand, signer = self._place()
        return (
            ChainTx.chain_id == stand.chain.chain_id,
            ChainTx.genesis_hash == stand.chain.genesis_hash,
            ChainTx.signer == signer.address,
            *((ChainTx.state.in_(states),) if states else ()),
        )

    def _send_again(self) -> int:
        """Send what was signed and perhaps not sent, and what the node may have dropped."""
        query = select(ChainTx).where(*self._mine(*UNMINED), ChainTx.nonce.is_not(None))
        with self._database.reading() as db:
            rows = db.scalars(query.order_by(ChainTx.nonce)).all()
        stale = self._now() - SEND_AGAIN
        return self._broadcast(
            [one for one in rows if one.state == SIGNED or one.changed_at < stale]
        )

    def _broadcast(self, rows: Sequence[ChainTx]) -> int:
        """Send transactions that are stored; an objection is noted and decides nothing."""
        if not rows:
            return 0
        objections = self._ledger.broadcast([one.raw_tx or b"" for one in rows])
        now = self._now()
        marks = [
            {"id": one.id, "state": SENT, "changed_at": now, "reason": why[:300] or None}
            for one, why in zip(rows, objections, strict=True)
        ]

        def _mark(db: Session) -> int:
            db.execute(update(ChainTx), marks)
            return len(marks)

        return self._change(_mark)

    def _watch(self) -> int:
        """Ask what became of everything that is not final."""
        rows = self._open_rows()
        if not rows:
            return 0
        _, signer = self._place()
        confirmations = self._terms.confirmations
        found = watching.look(
            self._ledger, rows, signer=signer.address, confirmations=confirmations
        )
        if not found:
            return 0
        moved = self._change(lambda db: watching.store(db, found, now=self._now()))
        gone = {one.row_id for one in found if one.state == SENT}
        self._broadcast([one for one in rows if one.id in gone])
        return moved

    def _open_rows(self) -> list[ChainTx]:
        """Every attempt of each nonce that has one which is not final."""
        query = select(ChainTx).where(*self._mine(*UNMINED, INCLUDED))
        with self._database.reading() as db:
            adopted = db.scalars(query.where(ChainTx.nonce.is_(None))).all()
            nonces = db.scalars(query.with_only_columns(ChainTx.nonce)).all()
            attempts = select(ChainTx).where(*self._mine(), ChainTx.nonce.in_(set(nonces) - {None}))
            return [*adopted, *db.scalars(attempts.order_by(ChainTx.nonce))]

    def _pay_more(self) -> int:
        """Replace the transaction that all others wait for, if it waits too long."""
        query = select(ChainTx).where(*self._mine(SENT), ChainTx.nonce.is_not(None))
        with self._database.reading() as db:
            row = db.scalar(query.order_by(ChainTx.nonce).limit(1))
        now = self._now()
        if row is None or row.signed_at > now - self._terms.stuck_after:
            return 0
        former, cap_wei = fees.Fees(row.max_fee_wei, row.tip_wei), self._terms.wanted.cap_wei
        offered = fees.raised(former, self._ledger.base_fee_wei(), cap_wei=cap_wei)
        better = preparing.replacement(row, self._place()[1], offered, now=now)

        def _replace(db: Session) -> int:
            db.get_one(ChainTx, row.id).state = REPLACED
            db.flush()
            db.add(better)
            return 1

        self._change(_replace)
        log.warning("ledger.replaced", nonce=row.nonce, max_fee_wei=offered.max_wei)
        return self._broadcast([better])

    # What comes next

    def _sign_next(self) -> int:
        """Sign and send the next window, once nothing of the last one is outside of blocks."""
        stand, signer = self._place()
        with self._database.reading() as db:
            if db.scalar(select(func.count()).where(*self._mine(*UNMINED))):
                return 0
            deeds = self._source(db, stand.chain, self._terms.window)
            failed = watching.failures(db, stand.chain, [one.subject for one in deeds])
        if not deeds or self._fills_gap():
            return 0
        ready = preparing.ready_deeds(
            self._ledger, stand, deeds, sender=signer.address, failed=failed, now=self._now()
        )
        if ready.refusals:
            self._report("waiting", " ".join(ready.refusals))
        adopted = [preparing.adopted_row(self._row(one), self._ledger, one) for one in ready.done]
        rows = self._signed(ready.calls)
        if not adopted and not rows:
            return 0

        def _store(db: Session) -> int:
            db.add_all([*adopted, *rows])
            return len(adopted) + len(rows)

        stored = self._change(_store)
        self._broadcast(rows)
        return stored

    def _signed(self, calls: Sequence[tuple[Deed, bytes]]) -> list[ChainTx]:
        if not calls:
            return []
        signer, cap_wei = self._place()[1], self._terms.wanted.cap_wei
        offered = fees.offer(self._ledger.base_fee_wei(), cap_wei=cap_wei)
        first = max(self._own_nonce(), self._ledger.next_nonce(signer.address))
        return [
            preparing.signed_row(
                self._row(deed), signer, calldata=calldata, nonce=first + i, fees=offered
            )
            for i, (deed, calldata) in enumerate(calls)
        ]

    def _row(self, deed: Deed) -> ChainTx:
        stand, signer = self._place()
        trust, now = self._ledger.trust, self._now()
        return preparing.empty_row(deed, stand, signer=signer.address, trust=trust, now=now)

    def _own_nonce(self) -> int:
        """The nonce after all that we had mined here."""
        used = select(func.max(ChainTx.nonce)).where(*self._mine(), ChainTx.state != LOST)
        with self._database.reading() as db:
            last = db.scalar(used)
        return 0 if last is None else last + 1

    def _fills_gap(self) -> bool:
        """Send again what the node forgot although it was in blocks; tells whether it did.

        Without those transactions every later one would wait for ever.
        """
        pending = self._ledger.next_nonce(self._place()[1].address)
        if pending >= self._own_nonce():
            return False
        query = select(ChainTx).where(*self._mine(INCLUDED, FINAL, FAILED))
        with self._database.reading() as db:
            rows = db.scalars(query.where(ChainTx.nonce >= pending).order_by(ChainTx.nonce)).all()
        log.error("ledger.forgot", transactions=len(rows), nonce=pending)
        undone = [one.id for one in rows if one.state != FAILED]
        self._change(lambda db: watching.reopen(db, undone, now=self._now()))
        self._ledger.broadcast([one.raw_tx or b"" for one in rows])
        return True
