"""The verified caller and the rule each route states about them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Literal, get_args

from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from backend.adapters.verifier.interface import Verdict
from backend.components import Parts, one_of
from backend.features.credentials.rights import Right
from backend.problems import Problem

Role = Literal["driver", "fleet", "operator", "charger", "auditor", "participant", "administrator"]
Assurance = Literal["simulated", "verified", "card", "guest"]
EVERYONE: tuple[Role, ...] = get_args(Role)
PEOPLE: tuple[Role, ...] = ("driver", "fleet", "operator", "auditor", "administrator")
NOTHING: frozenset[str] = frozenset()
SCHEMES = ("dpop", "bearer")


class NotAuthenticated(Problem):
    """The caller has not proved who they are."""

    status = HTTPStatus.UNAUTHORIZED
    fix = "Get a token at /api/v1/auth/token and send it with a fresh DPoP proof."


class NotAllowed(Problem):
    """The caller's role does not cover this."""

    status = HTTPStatus.FORBIDDEN
    fix = "Ask the site operator for the role that the route names."


@dataclass(frozen=True, slots=True)
class Holder:
    """Who calls, as far as it was proved.

    Attributes:
        roles: What their credentials and grants make them.
        assurance: `simulated` where nothing was verified.
        sites: Sites an operator runs; an administrator needs none.
        training_sites: Sites a federated participant trains for.
        fleets: Fleets a fleet manager looks after.
        vehicles: Vehicles of those fleets.
        chargers: Charger DIDs whose specification the caller holds.
        rights: Where they may charge as a driver.
        shown: The verified credentials that came with this very request.
        rests_on: What their standing ends with.
        epoch: The count of revocations from before their credentials were looked at.
        key_thumbprint: RFC 7638 thumbprint of the key they proved to hold; None if simulated.
        token_id: The access token they came with.
    """

    did: str
    roles: frozenset[Role]
    assurance: Assurance
    sites: frozenset[str] = NOTHING
    training_sites: frozenset[str] = NOTHING
    fleets: frozenset[str] = NOTHING
    vehicles: frozenset[str] = NOTHING
    chargers: frozenset[str] = NOTHING
    rights: frozenset[Right] = frozenset()
    shown: tuple[Verdict, ...] = field(default=(), compare=False)
    rests_on: frozenset[str] = NOTHING
    epoch: int = 0
    key_thumbprint: str | None = None
    token_id: str | None = field(default=None, compare=False)

    @property
    def sees_everything(self) -> bool:
        """May read every site and every driver."""
        return bool(self.roles & {"administrator", "auditor"})

    def runs(self, site_id: str) -> bool:
        """May read and change what belongs to this site."""
        is_operator = "operator" in self.roles and site_id in self.sites
        return is_operator or "administrator" in self.roles

    def reads(self, site_id: str) -> bool:
        """May read what belongs to this site."""
        return self.sees_everything or self.runs(site_id)

    def manages(self, vehicle_did: str) -> bool:
        """May read and plan for a vehicle: it is theirs, of their fleet, or they are it."""
        is_own = vehicle_did == self.did or vehicle_did in self.vehicles
        return is_own or "administrator" in self.roles

    def sees(
        self,
        *,
        site_id: str,
        driver_did: str,
        vehicle_did: str | None = None,
        charger_did: str | None = None,
    ) -> bool:
        """May read a session: as its driver, its fleet, its charger, or whoever reads the site."""
        is_own = self.did == driver_did or charger_did in self.chargers
        return is_own or vehicle_did in self.vehicles or self.reads(site_id)

    def steers(
        self,
        *,
        site_id: str,
        driver_did: str,
        vehicle_did: str | None = None,
        charger_did: str | None = None,
    ) -> bool:
        """May change a session: as its driver, its fleet, its charger, or whoever runs the site."""
        is_own = self.did == driver_did or charger_did in self.chargers
        return is_own or vehicle_did in self.vehicles or self.runs(site_id)


@dataclass(frozen=True, slots=True)
class Knock:
    """What a request brings to prove its caller.

    Attributes:
        token: The access token, None if there is none.
        proof: The DPoP proof, None if there is none or several.
        origin: Scheme and host as the caller addressed them.
        path: The decoded path.
    """

    token: str | None
    proof: str | None
    method: str
    origin: str
    path: str


Door = Callable[[Knock, Parts], Holder]
DEMO_HOLDER = Holder("did:denso:demo:visitor", frozenset(EVERYONE), "simulated")


def knock_of(request: Request) -> Knock:
    """Read the proof of a request's caller from its headers."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    proofs = request.headers.getlist("DPoP")
    return Knock(
        token=(token.strip() or None) if scheme.lower() in SCHEMES else None,
        proof=proofs[0] if len(proofs) == 1 else None,
        method=request.method,
        origin=origin_of(request),
        path=request.url.path,
    )


def origin_of(request: Request) -> str:
    """Scheme and host as the caller addressed them."""
    return f"{request.url.scheme}://{request.url.netloc}"


_bearer = HTTPBearer(
    auto_error=False, description="Access token of /auth/token; the demo needs none."
)
_proof = APIKeyHeader(
    name="DPoP",
    scheme_name="DPoP",
    auto_error=False,
    description="Proof of the token's key for this one request (RFC 9449).",
)
BearerToken = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
ProofHeader = Annotated[str | None, Security(_proof)]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which roles may call a route."""

    roles: frozenset[Role]

    async def __call__(
        self, request: Request, _token: BearerToken = None, _proof: ProofHeader = None
    ) -> Holder:
        """Let the caller in or refuse.

        Raises:
            NotAuthenticated: If nobody stands behind the request.
            NotAllowed: If none of the caller's roles fits.
        """
        holder = await _holder_behind(request)
        if not holder.roles & self.roles:
            raise NotAllowed
        request.state.caller, request.state.holder = holder.did, holder
        return holder


async def _holder_behind(request: Request) -> Holder:
    """Ask the door; only a token is worth a thread and a connection."""
    parts: Parts = request.app.state.parts
    knock = knock_of(request)
    door: Door = parts.door
    if knock.token is None:
        return door(knock, parts)
    async with one_of(parts.database.write_slots):
        return await to_thread.run_sync(door, knock, parts)


def allow(*roles: Role) -> Any:  # noqa: ANN401 - FastAPI's own marker
    """The rule of a route, for its `dependencies`; an administrator may call every route."""
    return Depends(Rule(frozenset(roles) | {"administrator"}))


async def _caller(request: Request) -> Holder:
    """The caller that the route's rule let in."""
    holder: Holder = request.state.holder
    return holder


CurrentHolder = Annotated[Holder, Depends(_caller)]
