"""What lets a driver charge: where, at which chargers, in which vehicles, and who pays."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from backend.adapters.verifier.interface import Verdict

GRANT = "grant"


@dataclass(frozen=True, slots=True)
class Right:
    """The right to charge that one credential or grant gives.

    Attributes:
        credential_type: What it follows from.
        issuer: Who said so.
        sites: Where it holds; everywhere if None.
        chargers: At which chargers; at all of the site if None.
        fleet: The fleet whose driver it is about.
        vehicles: Vehicles of the fleet; all of them if None.
        payer: Who pays, if it says so.
        until: When it ends, seconds since 1970; never if None.
    """

    credential_type: str
    issuer: str
    sites: tuple[str, ...] | None = None
    chargers: tuple[str, ...] | None = None
    fleet: str | None = None
    vehicles: tuple[str, ...] | None = None
    payer: str | None = None
    until: int | None = None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """A right as `stored` wrote it."""
        lists = {
            name: tuple(value)
            for name, value in stored.items()
            if name in ("sites", "chargers", "vehicles") and value is not None
        }
        return cls(**{**stored, **lists})

    def stored(self) -> dict[str, Any]:
        """As JSON, without what it does not limit."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    def opens(
        self, *, site_id: str, charger_did: str | None, fleets: Collection[str] | None, at: datetime
    ) -> bool:
        """Whether it lets its holder charge there.

        Args:
            site_id: The site.
            charger_did: The charger; None to ask about the site alone.
            fleets: Fleets whose drivers the site admits; all if None.
            at: When.
        """
        is_admitted = self.fleet is None or fleets is None or self.fleet in fleets
        is_here = self.sites is None or site_id in self.sites
        is_at = self.chargers is None or charger_did is None or charger_did in self.chargers
        return is_admitted and is_here and is_at and self.holds(at)

    def holds(self, at: datetime) -> bool:
        """Whether it has not expired."""
        return self.until is None or at.timestamp() < self.until

    def takes(self, vehicle_did: str, fleet: str) -> bool:
        """Whether it lets its holder take a vehicle of that fleet."""
        return self.fleet == fleet and (self.vehicles is None or vehicle_did in self.vehicles)


def right_by(one: Verdict) -> Right | None:
    """The right that one verified credential gives its holder, if any."""
    claims, issuer = one.claims, one.issuer or ""
    until = None if one.valid_until is None else int(one.valid_until.timestamp())
    sites = tuple(claims["sites"]) if "sites" in claims else None
    match one.credential_type:
        case "SiteAccessCredential":
            chargers = tuple(claims["chargers"]) if "chargers" in claims else None
            limits: dict[str, Any] = {"sites": (claims["site"],), "chargers": chargers}
        case "EmploymentCredential":
            limits = {"sites": sites, "payer": claims["employer"]}
        case "FleetDriverCredential":
            vehicles = tuple(claims["vehicles"]) if "vehicles" in claims else None
            payer = claims.get("employer", claims["fleet"])
            limits = {"fleet": claims["fleet"], "vehicles": vehicles, "payer": payer}
        case "ChargingContractCredential":
            limits = {"sites": sites, "payer": claims["provider"]}
        case _:
            return None
    return Right(one.credential_type, issuer, until=until, **limits)
