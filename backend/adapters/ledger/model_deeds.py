"""Deeds at the contract of models: a round is opened, and a verdict is recorded in it.

Verdicts go the quorum way: one transaction with the EIP-712 signatures of known validators. The
writer is the one validator here, so a verdict is the word of this service and the round binds what
it rests upon; a consortium grants the role to validators of its own.
"""

from dataclasses import dataclass

from eth_hash.auto import keccak

from backend.adapters.ledger.abi import WORD, address_of, byte_strings, call_of, number_in, words
from backend.adapters.ledger.contracts import MODELS, event_digest
from backend.adapters.ledger.deeds import Turn
from backend.adapters.ledger.ledger import Ledger

NEVER = 2**40  # s since 1970: the quorum way has no phases, and its verdicts do not grow old
QUORUM = 1
ACCEPTED, REJECTED = 3, 4  # as the contract counts them
_VERDICT = "uint64 roundId,address trainer,bytes32 modelHash,uint16 score,bool isAccepted"
_TYPEHASH = keccak(f"Verdict({_VERDICT},uint64 deadline)".encode())
_DOMAIN = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_OPENED = keccak(b"RoundOpened(uint64,bytes32,bytes32)")
_JUDGED = keccak(b"Verdict(uint64,address,bytes32,uint16,uint8,uint8)")


@dataclass(frozen=True, slots=True)
class RoundOpening:
    """Begin a round of models: what they started from, and what binds everything said of them.

    Attributes:
        commitment: Salted hash of the round's record, of which the contract opens one round.
    """

    subject: str
    base_model: bytes
    commitment: bytes
    contract = MODELS
    lane = "rounds"
    is_rated = True

    @property
    def expected(self) -> bytes:
        """Base model and commitment; the number is the contract's."""
        return event_digest(_OPENED, self.base_model, self.commitment)

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """Nothing is counted."""
        del ledger, address, who
        return 0

    def calldata(self, turn: Turn) -> bytes:
        """The call."""
        del turn
        name = "openRound(bytes32,bytes32,uint48[4],uint16,uint16)"
        untils = (NEVER + phase for phase in range(4))
        return call_of(name, self.base_model, self.commitment, *untils, QUORUM, 0)

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Whether the commitment has its round."""
        del who
        return round_for(ledger, address, self.commitment) != 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Record what became of a model in a round.

    Attributes:
        commitment: Of the round.
        trainer: A pseudonym of whoever trained it, as an address.
        score: 0 to 10,000.
    """

    subject: str
    commitment: bytes
    trainer: int
    model_hash: bytes
    score: int
    is_accepted: bool
    contract = MODELS
    is_rated = True

    @property
    def lane(self) -> str:
        """Each round is told for itself."""
        return f"round {self.commitment.hex()}"

    @property
    def expected(self) -> bytes:
        """Trainer, model, score, voters and verdict."""
        status = ACCEPTED if self.is_accepted else REJECTED
        said = words(self.trainer, self.model_hash, self.score, QUORUM, status)
        return event_digest(_JUDGED, said)

    def number(self, ledger: Ledger, address: str, who: str) -> int:
        """The number that the contract gave the round; 0 as long as it has none."""
        del who
        return round_for(ledger, address, self.commitment)

    def calldata(self, turn: Turn) -> bytes:
        """The call, with the writer's signature as that of a validator."""
        said = self._said(turn.number)
        signature = turn.signer.sign_digest(_typed(keccak(_TYPEHASH + said), turn))
        name = "recordVerdict(uint64,address,bytes32,uint16,bool,uint64,bytes[])"
        return call_of(name, said, len(said) + WORD, byte_strings([signature]))

    def is_done(self, ledger: Ledger, address: str, who: str) -> bool:
        """Whether the contract has a verdict on the model."""
        number = self.number(ledger, address, who)
        call = call_of("isSigned(uint64,bytes32)", number, self.model_hash)
        return number_in(ledger.call(address, call)) == 1

    def _said(self, number: int) -> bytes:
        accepted = int(self.is_accepted)
        return words(number, self.trainer, self.model_hash, self.score, accepted, NEVER)


def round_for(ledger: Ledger, address: str, commitment: bytes) -> int:
    """The number of a commitment's round; 0 if it has none."""
    return number_in(ledger.call(address, call_of("roundFor(bytes32)", commitment)))


def _typed(message: bytes, turn: Turn) -> bytes:
    """What is signed of a message to the contract (EIP-712)."""
    named = (keccak(_DOMAIN.encode()), keccak(b"TASCO ModelRegistry"), keccak(b"1"))
    domain = keccak(words(*named, turn.chain_id, address_of(turn.address)))
    return keccak(b"\x19\x01" + domain + message)
