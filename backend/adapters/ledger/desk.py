"""What a sender works with: the chain it stands on, its lease, and its own transactions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.adapters.ledger import leases, preparing, watching
from backend.adapters.ledger.checks import Stand, Wanted, require_fit, stand_of
from backend.adapters.ledger.deeds import Deed
from backend.adapters.ledger.ledger import Chain, Ledger, LedgerUnavailable
from backend.adapters.ledger.signers import Signer
from backend.adapters.ledger.transactions import LOST, ChainTx
from backend.adapters.ledger.watching import Finding
from backend.database import Database, new_id

CHECK_AGAIN = timedelta(minutes=5)

Source = Callable[[Session, Chain, int], Sequence[Deed]]
Prepare = Callable[[Chain, Signer], None]
Moved = Callable[[Session, Sequence[str], datetime], None]


def nobody(_db: Session, _subjects: Sequence[str], _now: datetime) -> None:
    """Nobody wants to know."""


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


class Desk:
    """The state of one sender; nothing is written but under its lease.

    Args:
        database: Where transactions are kept.
        ledger: The chain.
        open_signer: Gives the signer; asked once, when it is first needed.
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
        terms: Terms,
        prepare: Prepare | None = None,
        moved: Moved = nobody,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database, self.ledger, self.terms, self.now = database, ledger, terms, now
        self._open_signer, self._prepare, self._moved = open_signer, prepare, moved
        self._holder = new_id("snd")
        self._signer: Signer | None = None
        self._stand: Stand | None = None
        self._checked_at: datetime | None = None
        self._token: int | None = None

    # The chain, and whether we may write to it

    def require_stand(self) -> None:
        """Be on the right chain, with the right contracts, and allowed to write to them.

        Raises:
            NotFit: If not.
            KeyRefused: If there is no usable key.
            LedgerUnavailable: If the node does not answer.
        """
        if self._signer is None:
            self._signer = self._open_signer()
        chain, now = self.ledger.chain(), self.now()
        is_same = self._stand is not None and self._stand.chain == chain
        if is_same and self._checked_at and now - self._checked_at < CHECK_AGAIN:
            return
        if not is_same:
            self._stand = self._token = None
            if self._prepare:
                self._prepare(chain, self._signer)
        with self.database.reading() as db:
            addresses = stand_of(db, chain)
        wanted = self.terms.wanted
        self._stand = require_fit(self.ledger, chain, addresses, self._signer, wanted)
        self._checked_at = now

    def check_anew(self) -> None:
        """Look at everything again before the next step."""
        self._checked_at = None

    @property
    def stand(self) -> Stand:
        """Chain and contracts.

        Raises:
            LedgerUnavailable: If they are not known yet.
        """
        if self._stand is None:
            raise LedgerUnavailable("not connected")
        return self._stand

    @property
    def signer(self) -> Signer:
        """Who signs.

        Raises:
            LedgerUnavailable: If nobody does yet.
        """
        if self._signer is None:
            raise LedgerUnavailable("not connected")
        return self._signer

    def known(self) -> tuple[Chain | None, Mapping[str, str] | None, str | None]:
        """Chain, addresses and signer, as far as they are known."""
        stand, signer = self._stand, self._signer
        return (
            stand.chain if stand else None,
            stand.addresses if stand else None,
            signer.address if signer else None,
        )

    # The lease: every change of ours happens under it

    def _lease(self) -> dict[str, Any]:
        return {"chain_id": self.stand.chain.chain_id, "signer": self.signer.address}

    def has_lease(self) -> bool:
        """Tell whether the lease is ours; takes it if it can be taken."""
        if self._token is not None:
            with self.database.reading() as db:
                return leases.is_held(db, token=self._token, **self._lease())
        with self.database.transaction() as db:
            key, now, term = self._lease(), self.now(), self.terms.lease
            self._token = leases.take(db, holder=self._holder, now=now, term=term, **key)
        return self._token is not None

    def forget_lease(self) -> None:
        """Know that another process has it."""
        self._token = None

    def give_back_lease(self) -> None:
        """Let another process go on at once."""
        if self._token is not None:
            with self.database.transaction() as db:
                leases.give_back(db, token=self._token, now=self.now(), **self._lease())
            self._token = None

    def change(self, work: Callable[[Session], int]) -> int:
        """One transaction under the lease.

        Raises:
            LeaseLost: If another process took it meanwhile.
        """
        with self.database.transaction() as db:
            if self._token is None:
                raise leases.LeaseLost
            now, term = self.now(), self.terms.lease
            leases.hold(db, token=self._token, now=now, term=term, **self._lease())
            return work(db)

    def settle(self, findings: Sequence[Finding]) -> int:
        """Write down what became of transactions and tell of it; gives how much.

        Raises:
            LeaseLost: If another process took the lease meanwhile.
        """

        def _store(db: Session) -> int:
            now = self.now()
            subjects = watching.store(db, findings, now=now)
            self._moved(db, subjects, now)
            return len(subjects)

        return self.change(_store)

    # Our transactions

    def mine(self, *states: str) -> tuple[Any, ...]:
        """Conditions on our transactions on this chain, in these states if any are named."""
        chain = self.stand.chain
        return (
            ChainTx.chain_id == chain.chain_id,
            ChainTx.genesis_hash == chain.genesis_hash,
            ChainTx.signer == self.signer.address,
            *((ChainTx.state.in_(states),) if states else ()),
        )

    def row(self, deed: Deed) -> ChainTx:
        """A row for a deed, without a transaction yet."""
        trust, who, now = self.ledger.trust, self.signer.address, self.now()
        return preparing.empty_row(deed, self.stand, signer=who, trust=trust, now=now)

    def own_nonce(self) -> int:
        """The nonce after all that we had mined here."""
        used = select(func.max(ChainTx.nonce)).where(*self.mine(), ChainTx.state != LOST)
        with self.database.reading() as db:
            last = db.scalar(used)
        return 0 if last is None else last + 1
