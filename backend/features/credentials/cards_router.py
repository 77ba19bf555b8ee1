"""`/drivers/{did}/tokens`: RFID cards and contracts that stand for a driver."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from backend.adapters.verifier.claims import DID_PATTERN
from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials import cards
from backend.features.credentials.cards import (
    CardNotFound,
    CardNumberRefused,
    CardTaken,
    TooManyCards,
)
from backend.features.credentials.challenges import AddressLimit, TooManyChallenges
from backend.features.credentials.holder import (
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.models import Card
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Body
from backend.problems import described
from backend.units import PRINTABLE, UtcDatetime

router = APIRouter(tags=["identity"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
OWNERS = allow("driver", "operator")
PER_MINUTE = 30  # of one caller: whether a card is taken is not to be tried out
DriverPath = Annotated[
    str, Path(max_length=255, pattern=PRINTABLE, examples=["did:denso:driver:driver001"])
]
CardId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["crd_01KAF0000000000000000000"])
]
VehicleDid = Annotated[
    str,
    Field(max_length=255, pattern=DID_PATTERN, examples=["did:denso:vehicle:vehicle001"]),
]
Kind = Literal["rfid", "emaid"]
Number = Annotated[
    str,
    Field(
        min_length=8,
        max_length=40,
        pattern=r"^[0-9A-Za-z:. -]+$",
        description="RFID UID in hexadecimal, or EMAID; separators do not count",
        examples=["04:A2:2B:9C:6F:61:80"],
    ),
]


class CardNew(Body):
    """A card or contract, and the vehicle that comes with it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "rfid",
                    "number": "04:A2:2B:9C:6F:61:80",
                    "vehicle_did": "did:denso:vehicle:vehicle001",
                }
            ]
        }
    )

    kind: Kind
    number: Number
    vehicle_did: VehicleDid | None = None


class CardView(BaseModel):
    """A card or contract; its number is not kept."""

    token_id: str
    kind: Kind
    last4: str = Field(description="The last four characters of its number")
    vehicle_did: str | None
    sites: list[str] | None = Field(description="Where it holds if an operator registered it")
    created_at: UtcDatetime
    revoked_at: UtcDatetime | None


class Cards(BaseModel):
    """The cards of a driver, newest first."""

    data: list[CardView]


async def _limit(holder: CurrentHolder, parts: CurrentParts) -> None:
    limit: AddressLimit = parts.shared.setdefault("card_limit", AddressLimit(PER_MINUTE))
    limit.take(holder.did)


@router.post(
    "/drivers/{did}/tokens",
    summary="Register a card or contract",
    status_code=201,
    dependencies=[OWNERS, Depends(_limit)],
    responses=described(
        *REFUSED,
        CardNotFound,
        CardNumberRefused,
        CardTaken,
        TooManyCards,
        TooManyChallenges,
        IdempotencyKeyReused,
    ),
)
def add_card(
    did: DriverPath, new: CardNew, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> CardView:
    """Let an RFID card or an EMAID stand for a driver; it is kept as a keyed hash."""
    card = cards.add(
        db,
        cards.card_key(parts),
        did,
        kind=new.kind,
        number=new.number,
        vehicle_did=new.vehicle_did,
        holder=holder,
        now=parts.clock.now(),
    )
    return _view(card)


@router.get(
    "/drivers/{did}/tokens",
    summary="List cards and contracts",
    dependencies=[OWNERS],
    responses=described(*REFUSED, CardNotFound),
)
def list_cards(did: DriverPath, holder: CurrentHolder, db: ReadDb) -> Cards:
    """List a driver's cards with the last four characters of each."""
    return Cards(data=[_view(one) for one in cards.cards_of(db, did, holder=holder)])


@router.delete(
    "/drivers/{did}/tokens/{card_id}",
    summary="Revoke a card or contract",
    dependencies=[OWNERS],
    responses=described(*REFUSED, CardNotFound, IdempotencyKeyReused),
)
def revoke_card(
    did: DriverPath, card_id: CardId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> CardView:
    """Revoke a card; from now on it starts nothing."""
    return _view(cards.revoke(db, did, card_id, holder=holder, now=parts.clock.now()))


def _view(card: Card) -> CardView:
    return CardView(
        token_id=card.id,
        kind="rfid" if card.kind == "rfid" else "emaid",
        last4=card.last4,
        vehicle_did=card.vehicle_did,
        sites=card.sites,
        created_at=card.created_at,
        revoked_at=card.revoked_at,
    )
