"""Anchors, receipts and blocks as callers see them. Large amounts are decimal texts."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.features.anchors.examples import RECEIPT
from backend.paging import Body
from backend.units import UtcDatetime

State = Literal["batched", "signed", "sent", "included", "final"]
NoticeState = Literal["waiting", "signed", "sent", "included", "final"]
Trust = Literal["signed-only", "embedded-dev", "dev-node", "node"]
Finality = Literal["none", "pending", "final"]
KindName = Literal[
    "session_receipt",
    "credential_issued",
    "credential_revoked",
    "model",
    "federated_round",
    "trust_snapshot",
    "audit_head",
    "ledger_record",
]
Hash = Annotated[str, Field(examples=["0x" + "5a" * 32])]


class ChainPlace(BaseModel):
    """Where something stands on a chain."""

    chain_id: int
    genesis_hash: Hash
    contract: str = Field(examples=["0x" + "12" * 20])
    code_hash: Hash
    tx_hash: str | None
    block_number: int | None
    block_hash: str | None


class Fee(BaseModel):
    """What a transaction cost."""

    gas_used: int
    gas_per_item: float
    fee_wei: str = Field(description="Decimal text", examples=["61703000000000"])
    fee_per_item_wei: str


class BatchView(BaseModel):
    """A batch of record hashes and its way to the chain."""

    anchor_id: str = Field(examples=["anc_01KAF0000000000000000000"])
    number: int
    root: Hash
    count: int
    sealed_at: UtcDatetime
    status: State
    trust: Trust = Field(description="`embedded-dev`: a chain of this process proves nothing")
    finality: Finality
    chain: ChainPlace | None
    fee: Fee | None
    reason: str | None = Field(description="What the last transaction met with, if anything")
    checkpoint: dict[str, JsonValue] = Field(description="Signed, and chained to the one before")


class ItemProof(BaseModel):
    """That an item is in a batch: everything but the record itself."""

    format: Literal["tasco.proof.v1"] = "tasco.proof.v1"
    domain: Hash
    kind: KindName
    kind_number: int
    name: str
    item_id: Hash
    item_hash: Hash
    proof: list[str]
    root: Hash
    count: int
    checkpoint: dict[str, JsonValue]
    chain: ChainPlace | None
    trust: Trust
    finality: Finality


class BlockView(BaseModel):
    """A sealed block of charge and discharge records."""

    block_id: str = Field(examples=["blk_01KAF0000000000000000000"])
    number: int
    header_hash: Hash
    previous_hash: Hash
    root: Hash
    from_at: UtcDatetime
    to_at: UtcDatetime
    count: int
    wh_in: int = Field(description="Energy into vehicles, Wh")
    wh_out: int = Field(description="Energy out of vehicles, Wh")
    sealed_at: UtcDatetime
    status: State
    trust: Trust
    finality: Finality
    chain: ChainPlace | None
    fee: Fee | None
    reason: str | None


class LedgerRecordView(BaseModel):
    """One charge or discharge, as the ledger has it."""

    record_id: str = Field(examples=["ltx_01KAF0000000000000000000"])
    item_hash: Hash
    wh_in: int
    wh_out: int
    record: dict[str, JsonValue] | None = Field(description="Null once it was erased")
    entered_at: UtcDatetime
    status: Literal["pending", "sealed"]


class Costs(BaseModel):
    """What was paid for batches or for blocks."""

    transactions: int
    items: int
    gas_used: int
    gas_per_item: float | None
    fee_wei: str
    fee_per_item_wei: str | None
    reorgs: int


class NoticeCosts(BaseModel):
    """What a contract was told beside roots, and what that cost."""

    notices: int
    waiting: int = Field(description="In no block of a chain yet")
    gas_used: int
    fee_wei: str


class NoticeView(BaseModel):
    """One thing that a contract is told, and its way to the chain."""

    notice_id: str = Field(examples=["ntc_01KAF0000000000000000000"])
    told_at: UtcDatetime = Field(description="When it was written down to be sent")
    status: NoticeState
    trust: Trust
    finality: Finality
    chain: ChainPlace | None
    reason: str | None


class StatusNotice(NoticeView):
    """A credential's bit was set or cleared on the chain."""

    action: Literal["revoke", "suspend", "reinstate"]
    issuer: str | None = Field(description="The address that told it; another key is another one")


class CredentialBit(BaseModel):
    """One bit of a credential: what the database says, and what the chain was told."""

    purpose: Literal["revocation", "suspension"]
    list_id: str = Field(examples=["revocation-1"])
    position: int
    index: int = Field(description="Among all of the issuer: what the contract is asked for")
    is_set: bool = Field(description="In force here, at once")
    is_set_on_chain: bool = Field(description="In a block of the chain; a batch's age later")
    notices: list[StatusNotice]


class CredentialOnChain(BaseModel):
    """The status of a credential as a chain shows it; `isRevoked(issuer, index)` asks it."""

    credential_id: str
    contract: str | None
    issuer: str | None = Field(description="The address that speaks for this service")
    bits: list[CredentialBit]


class ModelVerdict(NoticeView):
    """What became of a model in a round, as the chain has it."""

    name: str = Field(description="What the round is about: a model or a federated round")
    round_number: int | None = Field(description="The contract's; null until it is sent")
    commitment: Hash = Field(description="Hash of the anchored item that the round rests upon")
    model_sha256: str
    trainer: str = Field(description="A pseudonym of this round")
    score: int = Field(ge=0, le=10_000)
    is_accepted: bool


class ModelOnChain(BaseModel):
    """All verdicts on a model, by the hash of its file or update."""

    sha256: str
    contract: str | None
    verdicts: list[ModelVerdict]


class LedgerState(BaseModel):
    """The ledger, its sender and what was paid."""

    state: Literal["none", "idle", "ready", "waiting", "refused", "unavailable", "elsewhere"]
    reason: str
    trust: Trust
    chain_id: int | None
    genesis_hash: str | None
    contracts: dict[str, str]
    signer: str | None
    signed_by: str = Field(description="The did:key that signs receipts and checkpoints")
    items_waiting: int = Field(description="In no batch yet")
    batches_waiting: int = Field(description="In no block of a chain yet")
    anchors: Costs
    blocks: Costs
    credential_status: NoticeCosts
    models: NoticeCosts


class ReceiptToVerify(Body):
    """A receipt, as it was given out."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"receipt": RECEIPT, "signer": RECEIPT["signer"]}]}
    )

    receipt: dict[str, Any]
    signer: str | None = Field(
        default=None, max_length=255, description="The did:key that must have signed; ours if null"
    )


class CheckView(BaseModel):
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


class ReceiptVerdict(BaseModel):
    """Whether a receipt is good; the chain itself was not asked."""

    verified: bool
    checks: list[CheckView]
    trust: str | None = Field(
        description="What a good receipt says about its chain; null if pending"
    )
