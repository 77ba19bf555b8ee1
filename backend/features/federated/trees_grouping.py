"""Whose vehicles are whose: the participants of a run of trees."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.credentials.models import FleetVehicle
from backend.features.federated.trees_schemas import GroupedBy, TreeTarget
from backend.features.sites.models import Site
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from backend.federation.committee import draw
from backend.problems import Problem

HOME_SITES = "home_sites"
"""Where the application keeps how home sites are found: only the room of sessions knows."""

FEWEST, MOST = 3, 24
GROUPS = 5
WORDS: Mapping[GroupedBy, str] = {
    "home_site": "sites at which vehicles with telemetry charge",
    "fleet": "fleets that have vehicles with telemetry",
    "vehicle_group": "groups of vehicles with telemetry",
}
HomeSites = Callable[[Session], Mapping[str, str]]


class TooFewForTrees(Problem):
    """There are too few participants, or too few rows of theirs, to grow trees together."""

    status = HTTPStatus.CONFLICT
    fix = "Send a week of telemetry of vehicles that charge at three sites or more; ask again."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a participant lives.

    Attributes:
        timezone: IANA name.
        country: Whose public holidays count.
        is_demo: Whether the site is a demonstration; None if it is no site.
    """

    timezone: str
    country: str | None
    is_demo: bool | None


@dataclass(frozen=True, slots=True)
class Grouping:
    """Participants and their vehicles.

    Attributes:
        by: What a participant is.
        members: DIDs of its vehicles by participant.
        places: Of participants that are sites.
        left_over: Vehicles with telemetry that belong to none.
    """

    by: GroupedBy
    members: Mapping[str, tuple[str, ...]]
    places: Mapping[str, Place]
    left_over: int


def grouping_of(
    db: Session, target: TreeTarget, *, home_sites: HomeSites | None, seed: int
) -> Grouping:
    """Vehicles with telemetry by home site; of availability else by fleet, else by their DIDs.

    Of more than 24 participants so many are drawn.

    Raises:
        TooFewForTrees: If there are fewer than three.
    """
    spoken = select(TelemetryPoint.vehicle_did).where(TelemetryPoint.vehicle_did == Vehicle.did)
    dids = db.scalars(select(Vehicle.did).where(spoken.exists()).order_by(Vehicle.did)).all()
    by: GroupedBy = "home_site"
    groups = _grouped(dids, home_sites(db) if home_sites else {})
    if target == "plug_availability" and len(groups) < FEWEST:
        by, groups = "fleet", _grouped(dids, _fleets(db))
        if len(groups) < FEWEST:
            by, groups = "vehicle_group", _grouped(dids, {did: _group_of(did) for did in dids})
    if len(groups) < FEWEST:
        raise TooFewForTrees(
            f"{len(dids)} vehicles sent telemetry; there are {len(groups)} {WORDS[by]}, "
            f"{FEWEST} are needed."
        )
    chosen = draw(list(groups), MOST, seed=seed, round_number=0, purpose="trees")
    members = {name: tuple(groups[name]) for name in chosen}
    places = _places(db, chosen) if by == "home_site" else {}
    return Grouping(by, members, places, len(dids) - sum(map(len, members.values())))


def _grouped(dids: Sequence[str], group_of: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for did in dids:
        if did in group_of:
            groups[group_of[did]].append(did)
    return dict(groups)


def _fleets(db: Session) -> dict[str, str]:
    rows = db.execute(select(FleetVehicle.vehicle_did, FleetVehicle.fleet_id))
    return {vehicle: fleet for vehicle, fleet in rows}  # noqa: C416 - rows, not pairs


def _group_of(did: str) -> str:
    """A group that is the same on every machine and in every run."""
    digest = hashlib.sha256(did.encode()).digest()
    return f"group-{int.from_bytes(digest[:8]) % GROUPS + 1}"


def _places(db: Session, site_ids: Sequence[str]) -> dict[str, Place]:
    query = select(Site.id, Site.timezone, Site.country, Site.is_demo)
    rows = db.execute(query.where(Site.id.in_(site_ids)))
    return {site: Place(timezone, country, is_demo) for site, timezone, country, is_demo in rows}
