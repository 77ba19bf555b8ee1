"""A site and its open sessions at one moment, as the planner takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backend.features.sessions.stay_terms import Abilities
from backend.features.sites.equipment import NO_EQUIPMENT, SiteEquipment
from backend.features.sites.models import PurchasePrice, Site, SiteLimit
from backend.planning.problem import Fairness

PLAIN = Abilities()


@dataclass(frozen=True, slots=True)
class OpenSession:
    """What the planner knows of one vehicle at the site.

    Attributes:
        priority_tier: 1 is served first, 4 is a guest; None is everybody else.
        abilities: What it allows beyond a highest power.
        available_until: Until when it is foretold to be plugged in; None if nothing was.
        keeps_plan: Whether the next steps of its last plan are kept if nothing speaks against it.
        is_boosted: It is to have all the site can give from now on, whatever that costs.
    """

    session_id: str
    started_at: datetime
    departure_at: datetime
    not_before_at: datetime | None
    effective_power_kw: float
    remaining_kwh: float
    priority: str | None
    has_priority_slot: bool
    priority_tier: int | None = None
    stay_quantiles_h: list[float] | None = None
    previous_from: datetime | None = None
    previous_kw: tuple[float, ...] = ()
    previous_short_kwh: float = 0.0
    abilities: Abilities = PLAIN
    is_boosted: bool = False
    available_until: datetime | None = None
    keeps_plan: bool = True

    def planned_anew(self) -> "OpenSession":
        """The session without a wish to keep what the last plan gave it."""
        return replace(self, keeps_plan=False)


@dataclass(frozen=True, slots=True)
class Situation:
    """A site at one moment, read in one go."""

    site_id: str
    timezone: str
    grid_limit_kw: float
    plan_version: int
    price: PurchasePrice | None
    surroundings: "Surroundings"
    sessions: tuple[OpenSession, ...]

    @classmethod
    def of(
        cls,
        site: Site,
        price: PurchasePrice | None,
        surroundings: "Surroundings",
        sessions: Sequence[OpenSession],
    ) -> "Situation":
        """The situation of a site."""
        return cls(
            site_id=site.id,
            timezone=site.timezone,
            grid_limit_kw=site.grid_limit_kw,
            plan_version=site.plan_version,
            price=price,
            surroundings=surroundings,
            sessions=tuple(sorted(sessions, key=lambda one: (one.started_at, one.session_id))),
        )

    @property
    def has_something_to_plan(self) -> bool:
        """Whether somebody is there, or a stationary battery."""
        return bool(self.sessions) or self.surroundings.has_battery

    def joined_by(self, newcomer: OpenSession) -> "Situation":
        """The site as it will be with one more session."""
        return self._with([*self.sessions, newcomer])

    def changed(self, session: OpenSession) -> "Situation":
        """The site as it will be when one of its sessions has changed."""
        kept = [one for one in self.sessions if one.session_id != session.session_id]
        return self._with([*kept, session])

    def planned_anew(self) -> "Situation":
        """The site without a wish to keep its last plan, made for other limits or prices."""
        return replace(self, sessions=tuple(one.planned_anew() for one in self.sessions))

    def place_of(self, session_id: str) -> int:
        """Row of a session in the plan."""
        return [one.session_id for one in self.sessions].index(session_id)

    def _with(self, sessions: Sequence[OpenSession]) -> "Situation":
        ordered = sorted(sessions, key=lambda one: (one.started_at, one.session_id))
        return replace(self, sessions=tuple(ordered))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a site has beside its vehicles.

    Attributes:
        limits: Timed limits in force or ahead.
        base_load_kw_by_hour: What else the site draws, by local hour; None if unknown.
        pv_peak_kw: Rated power of the site's sun panels.
        export_eur_per_kwh: What exported energy earns.
        fairness: Whom it hits when the site is short.
        peak_so_far_kw: Highest import of the month until now.
        expected_peak_kw: The peak that like days lead one to expect.
        equipment: Tree of limits, phases, stationary battery, carbon.
        battery_kwh: What the stationary battery holds; None if nobody has told.
    """

    limits: tuple[SiteLimit, ...] = ()
    base_load_kw_by_hour: tuple[float, ...] | None = None
    pv_peak_kw: float = 0.0
    export_eur_per_kwh: float = 0.0
    fairness: Fairness = "few_short"
    peak_so_far_kw: float = 0.0
    expected_peak_kw: float = 0.0
    equipment: SiteEquipment = NO_EQUIPMENT
    battery_kwh: float | None = None

    @property
    def has_battery(self) -> bool:
        """Whether there is a stationary battery to plan: only one whose content is known."""
        return self.equipment.battery is not None and self.battery_kwh is not None
