"""`/auth` and `/role-grants`: challenges, tokens, who calls, roles by name, vehicles of fleets."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from backend.components import CurrentParts, Db, ReadDb, WritableDatabase
from backend.features.credentials import auth, challenges, grants
from backend.features.credentials.auth import KeyNotBindable, LoggedIn, NoStanding
from backend.features.credentials.challenges import ChallengeRefused, TooManyChallenges
from backend.features.credentials.counter import CurrentCounter, OneOfFew
from backend.features.credentials.grants import (
    GrantReachMissing,
    LastAdministrator,
    VehicleOfAnotherFleet,
)
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.models import RoleGrant
from backend.features.credentials.presenting import PresentationRefused
from backend.features.credentials.schemas import (
    CallerView,
    ChallengeRequest,
    ChallengeView,
    CredentialUsed,
    FleetVehicles,
    GrantNew,
    GrantView,
    TokenRequest,
    TokenView,
)
from backend.features.credentials.service_key import token_key
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import NotFound, described
from backend.units import PRINTABLE

# No secret of a caller is stored, so these two do not keep their answers for a repetition.
entrance = APIRouter(tags=["identity"])
router = APIRouter(tags=["identity"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
ADMINISTRATOR = allow("administrator")
GrantId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["grt_01KAF0000000000000000000"])
]
FleetId = Annotated[str, Path(max_length=64, pattern=PRINTABLE, examples=["fleet_north"])]
VehicleDid = Annotated[
    str, Path(max_length=255, pattern=PRINTABLE, examples=["did:denso:vehicle:vehicle001"])
]


@entrance.post(
    "/auth/challenge",
    summary="Get a challenge",
    dependencies=[OneOfFew],
    responses=described(TooManyChallenges),
)
def give_challenge(
    asked: ChallengeRequest,
    counter: CurrentCounter,
    parts: CurrentParts,
    database: WritableDatabase,
) -> ChallengeView:
    """Get a nonce for one purpose; it is good once, for 120 seconds."""
    with database.transaction() as db:
        given = challenges.give(
            db, purpose=asked.purpose, body_hash=asked.body_sha256, now=parts.clock.now()
        )
    return ChallengeView(
        challenge=given.nonce,
        domain=counter.domain,
        purpose=given.purpose,
        issued_at=given.issued_at,
        expires_at=given.expires_at,
    )


@entrance.post(
    "/auth/token",
    summary="Get an access token",
    responses=described(ChallengeRefused, PresentationRefused, NoStanding, KeyNotBindable),
)
def give_token(
    asked: TokenRequest,
    counter: CurrentCounter,
    parts: CurrentParts,
    _database: WritableDatabase,
) -> TokenView:
    """Exchange a presentation for a ten-minute token that is bound to the presenting key."""
    entered = auth.log_in(
        counter, token_key(parts), asked.presentation, asked.challenge, now=parts.clock.now()
    )
    return _token_view(entered)


def _token_view(entered: LoggedIn) -> TokenView:
    token, standing, verdict = entered.token, entered.standing, entered.presented.verdict
    return TokenView(
        access_token=token.token,
        expires_in=int((token.expires_at - token.issued_at).total_seconds()),
        expires_at=token.expires_at,
        did=entered.presented.holder,
        roles=sorted(standing.roles),
        sites=sorted(standing.sites),
        fleets=sorted(standing.fleets),
        key_thumbprint=verdict.holder_key_thumbprint or "",
        credentials=[
            CredentialUsed(
                credential_type=one.credential_type, issuer=one.issuer, valid_until=one.valid_until
            )
            for one in verdict.credentials
        ],
    )


@router.get(
    "/auth/me",
    summary="Who am I?",
    dependencies=[allow(*EVERYONE)],
    responses=described(*REFUSED),
)
def who_am_i(holder: CurrentHolder) -> CallerView:
    """See who the service takes you for and what that lets you do."""
    return CallerView(
        did=holder.did,
        roles=sorted(holder.roles),
        sites=sorted(holder.sites),
        fleets=sorted(holder.fleets),
        assurance=holder.assurance,
    )


@router.get(
    "/role-grants",
    summary="List granted roles",
    dependencies=[allow("auditor")],
    responses=described(*REFUSED, CursorInvalid),
)
def list_grants(
    request: Request, response: Response, db: ReadDb, cursor: Cursor = None, limit: Limit = 25
) -> Page[GrantView]:
    """List the roles that were given by name, those taken back included."""
    return page_of(
        grants.grants_page(db, after=decoded(cursor, request), limit=limit),
        limit,
        key=lambda row: row.id,
        show=_grant_view,
        request=request,
        response=response,
    )


@router.post(
    "/role-grants",
    summary="Grant a role",
    status_code=201,
    dependencies=[ADMINISTRATOR],
    responses=described(*REFUSED, GrantReachMissing, IdempotencyKeyReused),
)
def grant_role(new: GrantNew, holder: CurrentHolder, parts: CurrentParts, db: Db) -> GrantView:
    """Give a DID a role; it counts from its next token on."""
    given = grants.grant(
        db,
        new.did,
        new.role,
        site_id=new.site_id,
        fleet_id=new.fleet_id,
        holder=holder,
        now=parts.clock.now(),
    )
    return _grant_view(given)


@router.delete(
    "/role-grants/{grant_id}",
    summary="Take a role back",
    dependencies=[ADMINISTRATOR],
    responses=described(*REFUSED, NotFound, LastAdministrator, IdempotencyKeyReused),
)
def revoke_grant(
    grant_id: GrantId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> GrantView:
    """Take a role back; the holder's tokens end at once."""
    return _grant_view(grants.revoke(db, grant_id, holder=holder, now=parts.clock.now()))


def _grant_view(given: RoleGrant) -> GrantView:
    return GrantView(
        grant_id=given.id,
        did=given.holder_did,
        role=given.role,
        site_id=given.site_id,
        fleet_id=given.fleet_id,
        granted_at=given.granted_at,
        granted_by=given.granted_by,
        revoked_at=given.revoked_at,
    )


@router.get(
    "/fleets/{fleet_id}/vehicles",
    summary="Vehicles of a fleet",
    dependencies=[allow("fleet", "auditor")],
    responses=described(*REFUSED, NotFound),
)
def list_fleet_vehicles(fleet_id: FleetId, holder: CurrentHolder, db: ReadDb) -> FleetVehicles:
    """List the vehicles of a fleet that you look after."""
    if not (holder.sees_everything or fleet_id in holder.fleets):
        raise NotFound
    return FleetVehicles(fleet_id=fleet_id, vehicle_dids=list(grants.vehicles_in(db, fleet_id)))


@router.put(
    "/fleets/{fleet_id}/vehicles/{vehicle_did}",
    summary="Put a vehicle into a fleet",
    dependencies=[ADMINISTRATOR],
    responses=described(*REFUSED, VehicleOfAnotherFleet, IdempotencyKeyReused),
)
def assign_vehicle(
    fleet_id: FleetId, vehicle_did: VehicleDid, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> FleetVehicles:
    """Let a fleet's managers see and plan a vehicle; it belongs to one fleet at a time."""
    grants.assign_vehicle(db, fleet_id, vehicle_did, holder=holder, now=parts.clock.now())
    return FleetVehicles(fleet_id=fleet_id, vehicle_dids=list(grants.vehicles_in(db, fleet_id)))


@router.delete(
    "/fleets/{fleet_id}/vehicles/{vehicle_did}",
    summary="Take a vehicle out of a fleet",
    dependencies=[ADMINISTRATOR],
    responses=described(*REFUSED, NotFound, IdempotencyKeyReused),
)
def release_vehicle(
    fleet_id: FleetId, vehicle_did: VehicleDid, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> FleetVehicles:
    """Take a vehicle out; the fleet's managers no longer see it."""
    grants.release_vehicle(db, fleet_id, vehicle_did, holder=holder, now=parts.clock.now())
    return FleetVehicles(fleet_id=fleet_id, vehicle_dids=list(grants.vehicles_in(db, fleet_id)))
