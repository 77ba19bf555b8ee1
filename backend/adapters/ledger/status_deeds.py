"""Deeds at the contract of credential status.

An issuer's credential i is bit i of its bitmaps; a pause of the contract keeps nobody from setting
the revoked ones, so they have a lane of their own.
"""

from dataclasses import dataclass

from eth_hash.auto import keccak

from backend.adapters.ledger.abi import WORD, address_of, call_of, list_of, number_in, words
from backend.adapters.ledger.contracts import PUBLISHED, STATUS, event_digest
from backend.adapters.ledger.deeds import Turn
from backend.adapters.ledger.ledger import Ledger

WORD_BITS = 256
_REVOKED = keccak(b"Revoked(address,uint256,uint256)")
_SUSPENSION = keccak(b"SuspensionChanged(address,uint256,uint256,bool)")


@dataclass(frozen=True, slots=True)
class StatusChange:
    """Revoke, suspend or reinstate credentials.

    Attributes:
        action: `revoke`, `suspend` or `reinstate`.
        indices: Of the credentials among all of the issuer, ascending: neighbours share a word.
    """

    subject: str
    action: str
    indices: tuple[int, ...]
    contract = STATUS
    is_rated = False

    @property
    def lane(self) -> str:
        """Suspensions and their ends are told in order; revocations wait for neither."""
        return "revocation" if self.action == "revoke" else "suspension"

    @property
    def expected(self) -> bytes:
        """The first word that changes, and its bits."""
        word = self.indices[0] // WORD_BITS
        mine = (one for one in self.indices if one // WORD_BITS == word)
        said = words(word, sum(1 << one % WORD_BITS for one in mine))
        if self.action == "revoke":
            return event_digest(_REVOKED, said)
        return event_digest(_SUSPENSION, said, words(int(self.action == "suspend")))

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """Nothing is counted."""
        del ledger, address, who
        return 0

    def calldata(self, turn: Turn) -> bytes:
        """The call."""
        del turn
        return call_of(f"{self.action}(uint256[])", list_of(self.indices))

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Whether every bit is as it is meant to be."""
        name = "isRevoked" if self.action == "revoke" else "isSuspended"
        wanted, issuer = int(self.action != "reinstate"), address_of(who)
        calls = (call_of(f"{name}(address,uint256)", issuer, one) for one in self.indices)
        return all(number_in(ledger.call(address, call)) == wanted for call in calls)


@dataclass(frozen=True, slots=True)
class ListPublication:
    """Publish the root of a status list.

    Attributes:
        list_id: Which list of the issuer, 32 bytes.
        root: Hash of its bits.
    """

    subject: str
    list_id: bytes
    root: bytes
    contract = STATUS
    is_rated = True

    @property
    def lane(self) -> str:
        """Each list is told for itself."""
        return f"list {self.list_id.hex()}"

    @property
    def expected(self) -> bytes:
        """List and root; the version is the contract's."""
        return event_digest(PUBLISHED, self.list_id, self.root)

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """The version that the contract holds."""
        return number_in(self._held(ledger, address, who))

    def calldata(self, turn: Turn) -> bytes:
        """The call."""
        name, version = "publishListRoot(bytes32,uint64,bytes32)", turn.number + turn.before + 1
        return call_of(name, self.list_id, version, self.root)

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Whether this is the root that the contract holds."""
        return self._held(ledger, address, who)[WORD : 2 * WORD] == self.root

    def _held(self, ledger: Ledger, address: str, who: str) -> bytes:
        call = call_of("listOf(address,bytes32)", address_of(who), self.list_id)
        return ledger.call(address, call)
