"""What a caller's credentials and grants make them: roles, and where these hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.verifier.interface import PresentationVerdict, Verdict
from backend.features.credentials.epochs import TRUST
from backend.features.credentials.holder import Role
from backend.features.credentials.models import RoleGrant
from backend.features.credentials.rights import GRANT, Right, right_by

Names = frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Roles and their reach.

    Attributes:
        rights: Where they may charge as a driver.
        rests_on: DIDs, credential ids and registries that it ends with.
        valid_until: When the first of its credentials expires; None without credentials.
    """

    roles: frozenset[Role] = frozenset()
    sites: Names = frozenset()
    training_sites: Names = frozenset()
    fleets: Names = frozenset()
    rights: frozenset[Right] = frozenset()
    rests_on: Names = frozenset()
    valid_until: datetime | None = field(default=None)

    def __or__(self, other: "Standing") -> "Standing":
        """Both together."""
        ends = [one.valid_until for one in (self, other) if one.valid_until is not None]
        return Standing(
            self.roles | other.roles,
            self.sites | other.sites,
            self.training_sites | other.training_sites,
            self.fleets | other.fleets,
            self.rights | other.rights,
            self.rests_on | other.rests_on,
            min(ends, default=None),
        )


def standing_of(db: Session, presented: PresentationVerdict) -> Standing:
    """The standing of the holder of a verified presentation."""
    holder, key = presented.holder, presented.holder_key
    if holder is None or key is None:
        return Standing()
    whole = Standing(rests_on=frozenset({holder, key.controller})) | granted_to(db, holder)
    for one in presented.credentials:
        whole |= _by_credential(one, holder)
    return whole


def granted_to(db: Session, did: str) -> Standing:
    """What was granted to a DID without a credential."""
    query = select(RoleGrant).where(RoleGrant.holder_did == did, RoleGrant.revoked_at.is_(None))
    whole = Standing()
    for grant in db.scalars(query):
        role, site = cast("Role", grant.role), _named(grant.site_id)
        whole |= Standing(
            roles=frozenset({role}),
            sites=site if role == "operator" else frozenset(),
            training_sites=site if role == "participant" else frozenset(),
            fleets=_named(grant.fleet_id),
            rights=frozenset({Right(GRANT, grant.granted_by or "")} if role == "driver" else ()),
        )
    return whole


def _by_credential(one: Verdict, holder: str) -> Standing:
    """What one verified credential makes of its holder."""
    read = _READERS.get(one.credential_type or "")
    found = read(one, holder) if read and one.verified else None
    if found is None:
        return Standing()
    rests_on = {name for name in (one.credential_id, one.issuer, one.subject) if name} | {TRUST}
    right = right_by(one)
    return found | Standing(
        rights=frozenset() if right is None else frozenset({right}),
        rests_on=frozenset(rests_on),
        valid_until=one.valid_until,
    )


def _employment(one: Verdict, _holder: str) -> Standing:
    """A function reaches as far as it names; administrators are never made by an employer.

    An auditor reads everything, so a function that is limited to sites or fleets makes none.
    """
    claims, driver = one.claims, Standing(roles=frozenset({"driver"}))
    sites, fleets = frozenset(claims.get("sites", ())), frozenset(claims.get("fleets", ()))
    match claims["role"]:
        case "operator" if sites:
            return driver | Standing(roles=frozenset({"operator"}), sites=sites)
        case "fleet_manager" if fleets:
            return driver | Standing(roles=frozenset({"fleet"}), fleets=fleets)
        case "auditor" if not sites and not fleets:
            return Standing(roles=frozenset({"auditor"}))
    return driver


def _driver(_one: Verdict, _holder: str) -> Standing:
    return Standing(roles=frozenset({"driver"}))


def _charger(one: Verdict, holder: str) -> Standing | None:
    """Anybody may show a charger's specification; only the charger itself is one by it."""
    return Standing(roles=frozenset({"charger"})) if one.subject == holder else None


def _participant(one: Verdict, _holder: str) -> Standing:
    return Standing(roles=frozenset({"participant"}), training_sites=_named(one.claims["site"]))


_READERS: Mapping[str, Callable[[Verdict, str], Standing | None]] = {
    "EmploymentCredential": _employment,
    "FleetDriverCredential": _driver,
    "SiteAccessCredential": _driver,
    "ChargingContractCredential": _driver,
    "ChargerSpecCredential": _charger,
    "FederatedParticipantCredential": _participant,
}


def _named(name: str | None) -> Names:
    return frozenset({name}) if name else frozenset()
