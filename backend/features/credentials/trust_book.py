"""The trust registry as one process reads it: who may issue what, and the chains behind it.

A chain of accreditations leads from an issuer to a root and has at most three links. Each link
narrows the one above it. One that is revoked, expired, missing or circular takes everything below
it along, because a chain is walked anew for every question.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from backend.adapters.verifier.interface import Reason

MAX_LINKS = 3
ACCREDITATION = "IssuerAccreditationCredential"
EMPLOYMENT = "EmploymentCredential"
VEHICLE_SPEC, CHARGER_SPEC = "VehicleSpecCredential", "ChargerSpecCredential"

Names = frozenset[str]
NONE: Names = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What an accreditation covers, or what a credential is about; None is all there is.

    Attributes:
        wmis: World manufacturer identifiers, the first three characters of a VIN.
    """

    sites: Names | None = None
    fleets: Names | None = None
    wmis: Names | None = None

    @classmethod
    def limited_to(
        cls,
        sites: Collection[str] | None,
        fleets: Collection[str] | None,
        wmis: Collection[str] | None,
    ) -> Self:
        """The scope of an accreditation: one that names anything covers just what it names.

        Otherwise an employer accredited for one site could appoint managers of every fleet.
        """
        named = [None if one is None else frozenset(one) for one in (sites, fleets, wmis)]
        if any(one is not None for one in named):
            named = [NONE if one is None else one for one in named]
        return cls(*named)

    def covers(self, other: "Scope") -> bool:
        """Whether all that the other is about lies inside."""
        pairs = (
            (other.sites, self.sites),
            (other.fleets, self.fleets),
            (other.wmis, self.wmis),
        )
        return all(
            allowed is None or (names is not None and names <= allowed) for names, allowed in pairs
        )


def accredited_scope(claims: Mapping[str, Any]) -> Scope:
    """What an IssuerAccreditationCredential covers."""
    return Scope.limited_to(claims.get("sites"), claims.get("fleets"), claims.get("wmis"))


def scope_of(credential_type: str, claims: Mapping[str, Any]) -> Scope:
    """What a credential is about; a function that covers all is about all."""
    if credential_type == EMPLOYMENT:
        return _scope_of_function(claims)
    sites = _named(
        claims, "site", "sites", is_about=credential_type == "ChargingContractCredential"
    )
    return Scope(sites, _named(claims, "fleet", "fleets"), _named(claims, "wmi", "wmis"))


def _scope_of_function(claims: Mapping[str, Any]) -> Scope:
    if claims["role"] in {"administrator", "auditor"}:
        return Scope()
    is_of_fleet = claims["role"] == "fleet_manager"
    sites = _named(claims, "site", "sites", is_about=not is_of_fleet)
    return Scope(sites, _named(claims, "fleet", "fleets", is_about=is_of_fleet), NONE)


def _named(
    claims: Mapping[str, Any], one: str, many: str, *, is_about: bool = False
) -> Names | None:
    """The names in the claims; without any, all of them if the credential is about such things."""
    if one in claims:
        return frozenset({claims[one]})
    return frozenset(claims[many]) if many in claims else (None if is_about else NONE)


@dataclass(frozen=True, slots=True)
class Link:
    """An accreditation: one link of a chain, without `parent_id` a root."""

    id: str
    issuer_did: str
    credential_types: Names
    scope: Scope
    may_accredit: bool
    parent_id: str | None
    valid_from: datetime
    valid_until: datetime
    is_revoked: bool

    def holds_at(self, time: datetime) -> bool:
        """Whether the time lies in its validity, whose end is not included."""
        return self.valid_from <= time < self.valid_until


class Book:
    """All accreditations of one state of the registry."""

    def __init__(self, links: Iterable[Link], *, epoch: int) -> None:
        self.epoch = epoch
        self._by_id = {link.id: link for link in links}
        self._by_issuer: dict[str, list[Link]] = {}
        for link in self._by_id.values():
            self._by_issuer.setdefault(link.issuer_did, []).append(link)

    def accredits(
        self,
        issuer: str,
        credential_type: str,
        claims: Mapping[str, Any],
        *,
        subject: str,
        times: tuple[datetime, ...],
    ) -> Reason | None:
        """None if the issuer is accredited for such a credential at all these times, else why not.

        Nobody vouches for themselves, whatever they are accredited for.
        """
        if issuer == subject:
            return Reason.SELF_ISSUED
        if credential_type == ACCREDITATION:
            found = self.link_for(issuer, claims, times=times)
        else:
            scope = scope_of(credential_type, claims)
            found = self._judged(issuer, frozenset({credential_type}), scope, times=times)
        return found if isinstance(found, Reason) else None

    def link_for(
        self, issuer: str, claims: Mapping[str, Any], *, times: tuple[datetime, ...]
    ) -> Link | Reason:
        """The link by which an issuer may accredit another as the claims say, else why not."""
        types, scope = frozenset(claims["credentialTypes"]), accredited_scope(claims)
        return self._judged(issuer, types, scope, times=times, is_accrediting=True)

    def _judged(
        self,
        issuer: str,
        types: Names,
        scope: Scope,
        *,
        times: tuple[datetime, ...],
        is_accrediting: bool = False,
    ) -> Link | Reason:
        """The first link that allows it; the refusal of the last one looked at otherwise."""
        refusal = Reason.UNTRUSTED_ISSUER
        for link in self._by_issuer.get(issuer, ()):
            if types <= link.credential_types:
                found = self._refusal(link, times=times)
                if found is None:
                    found = self._outside(link, types, scope, is_accrediting=is_accrediting)
                if found is None:
                    return link
                refusal = found
        return refusal

    def _refusal(self, link: Link, *, times: tuple[datetime, ...]) -> Reason | None:
        """Why a link does not hold with all that it rests on."""
        chain = self.chain(link)
        if chain is None:
            return Reason.ACCREDITATION_CHAIN_BROKEN
        if any(one.is_revoked for one in chain):
            return Reason.ACCREDITATION_REVOKED
        if not all(one.holds_at(time) for one in chain for time in times):
            return Reason.ACCREDITATION_EXPIRED
        return None

    def _outside(
        self, link: Link, types: Names, scope: Scope, *, is_accrediting: bool
    ) -> Reason | None:
        chain = self.chain(link) or ()
        if is_accrediting and len(chain) >= MAX_LINKS:
            return Reason.ACCREDITATION_CHAIN_BROKEN
        may = link.may_accredit if is_accrediting else _is_bound(link, types)
        is_inside = all(one.scope.covers(scope) for one in chain)
        return None if may and is_inside else Reason.OUTSIDE_ACCREDITATION

    def chain(self, link: Link) -> tuple[Link, ...] | None:
        """From a link up to its root; None if the way does not end at a root within three."""
        chain = [link]
        while chain[-1].parent_id is not None:
            above = self._by_id.get(chain[-1].parent_id)
            if above is None or len(chain) == MAX_LINKS or not _may_stand_above(above, chain):
                return None
            chain.append(above)
        return tuple(chain)

    def why_not(self, link_id: str, *, at: datetime) -> Reason | None:
        """None if an accreditation and all it rests on hold at that time."""
        return self._refusal(self._by_id[link_id], times=(at,))


def _may_stand_above(above: Link, chain: list[Link]) -> bool:
    """Each issuer once in a chain, and nobody passes on what they may not."""
    return (
        above.may_accredit
        and chain[-1].credential_types <= above.credential_types
        and all(above.issuer_did != one.issuer_did for one in chain)
    )


def _is_bound(link: Link, types: Names) -> bool:
    """Specifications come from a manufacturer for its marks, an operator for its sites only."""
    if VEHICLE_SPEC in types:
        return link.scope.wmis is not None
    return CHARGER_SPEC not in types or link.scope.sites is not None
