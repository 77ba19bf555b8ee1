"""Runs of trees on this service's own telemetry, over the embedded engine, and their worth."""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.adapters.federation.exchange import Exchange
from backend.components import Parts, embedded_exchange
from backend.compute import Compute
from backend.database import new_id
from backend.features.credentials.issuer import service_issuer
from backend.features.federated import embedded
from backend.features.federated.models import EMBEDDED
from backend.features.federated.signatures import Checked
from backend.features.federated.trees_comparing import Compared, Served, compare
from backend.features.federated.trees_conducting import conduct
from backend.features.federated.trees_finishing import Outcome, finish, require_trees
from backend.features.federated.trees_grouping import FEWEST, WORDS, Grouping, TooFewForTrees
from backend.features.federated.trees_registry import OWN_KINDS
from backend.features.federated.trees_rows import TooFewRows, rows_by_participant, settings_of
from backend.features.federated.trees_schemas import (
    TreesLeftOut,
    TreesParticipant,
    TreesRunNew,
    TreeTarget,
)
from backend.features.forecasts.vehicles_models import OwnModel, own_model
from backend.features.forecasts.vehicles_queries import (
    LEARNED_FROM,
    gathered,
    home_of,
    traces_of,
)
from backend.features.jobs.service import Report
from backend.federation.tree_rounds import TreeRun
from backend.federation.tree_rows import SiteRows
from backend.forecasting.telemetry_features import Fleet, Trace

ROWS_TIMEOUT_S, COMPARING_TIMEOUT_S = 600.0, 1_800.0


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What a run begins with.

    Attributes:
        sites: Rows of who takes part.
        vehicles: How many each has.
        left_out: Who does not take part, and why.
    """

    sites: Mapping[str, SiteRows]
    vehicles: Mapping[str, int]
    left_out: tuple[TreesLeftOut, ...]


def train_trees(
    parts: Parts, asked: TreesRunNew, *, grouping: Grouping, now: datetime, report: Report
) -> dict[str, Any]:
    """Let participants grow trees together and say what that is worth to each.

    Raises:
        TooFewForTrees: If fewer than three have rows enough.
        NoTreesAccepted: If no round came to anything.
    """
    started_s = time.monotonic()
    report(0.02, "reading telemetry")
    with parts.database.reading() as db:
        fleets = _fleets(db, grouping, gap_min=parts.settings.telemetry_gap_min, now=now)
    report(0.1, f"preparing rows of {len(fleets)} participants")
    known = _gathered(fleets, asked, parts.compute, by=grouping)
    settings = settings_of(asked.target, trees=asked.trees_per_round, seed=asked.seed)
    run = TreeRun(new_id("trr"), asked.target, settings)
    with closing(_exchange(parts, known.sites, asked.target, now=now)) as exchange:
        done = conduct(
            exchange,
            list(known.sites),
            run,
            rounds=asked.rounds,
            alone=0,  # that is compared below, where all rows are
            clock=parts.clock,
            report=report,
        )
    require_trees(done)
    known = _heard(known, done.missing)
    report(0.85, "comparing with trees grown alone and in one place")
    with parts.database.reading() as db:
        own = own_model(db, parts.artifacts, OWN_KINDS[asked.target])
    compared = parts.compute.run(
        compare,
        COMPARING_TIMEOUT_S,
        done.model,
        known.sites,
        settings,
        target=asked.target,
        rounds=asked.rounds,
        served=Served(own.text, own.calibration) if own else None,
    )
    return finish(
        parts.database,
        parts.artifacts,
        asked,
        run=run,
        done=done,
        outcome=_outcome(known, compared, grouping, own),
        now=now,
        started_s=started_s,
    )


def _exchange(
    parts: Parts, sites: Mapping[str, SiteRows], target: TreeTarget, *, now: datetime
) -> Exchange:
    """Threads that each hold one participant's rows and key; what they send is checked."""
    keys = embedded.Keys(service_issuer(parts).key)
    with parts.database.transaction() as db:
        embedded.enrol(db, sorted(sites), keys, now=now)
    threads = embedded_exchange(
        {},
        signers={name: keys.signer_of(name) for name in sites},
        rows={name: {target: rows} for name, rows in sites.items()},
    )
    return Checked(threads, parts.database, engine=EMBEDDED, clock=parts.clock)


def _fleets(db: Session, grouping: Grouping, *, gap_min: float, now: datetime) -> dict[str, Fleet]:
    """Each participant's vehicles by themselves; none of it knows of another's."""
    owner = {did: name for name, dids in grouping.members.items() for did in dids}
    traces: dict[str, list[Trace]] = {name: [] for name in grouping.members}
    for trace in traces_of(db, since=now - LEARNED_FROM, until=now):
        if trace.vehicle_id in owner and not trace.is_very_short:
            traces[owner[trace.vehicle_id]].append(trace)
    usual = home_of(db)
    places = {name: (one.timezone, one.country) for name, one in grouping.places.items()}
    return {
        name: gathered(own, home=places.get(name, usual), now=now, gap_min=gap_min)
        for name, own in traces.items()
        if own
    }


def _gathered(
    fleets: Mapping[str, Fleet], asked: TreesRunNew, compute: Compute, *, by: Grouping
) -> Gathered:
    """The rows of all who have enough.

    Raises:
        TooFewForTrees: If these are fewer than three.
    """
    rows = compute.run(rows_by_participant, ROWS_TIMEOUT_S, fleets, asked.target, seed=asked.seed)
    reasons = {name: one.reason for name, one in rows.items() if isinstance(one, TooFewRows)}
    silent = "no vehicle has two days of telemetry"
    reasons |= dict.fromkeys(by.members.keys() - fleets.keys(), silent)
    sites = {name: one for name, one in rows.items() if isinstance(one, SiteRows)}
    if len(sites) < FEWEST:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        raise TooFewForTrees(
            f"{len(sites)} of {len(by.members)} {WORDS[by.by]} have rows enough, {FEWEST} are "
            f"needed. {why}."
        )
    left_out = (TreesLeftOut(participant=name, reason=reasons[name]) for name in sorted(reasons))
    vehicles = {name: len(fleets[name].traces) for name in sites}
    return Gathered(sites, vehicles, tuple(left_out))


def _heard(known: Gathered, missing: Mapping[str, str]) -> Gathered:
    """Without those who never answered, or whose answers nobody could believe."""
    silent = (TreesLeftOut(participant=name, reason=missing[name]) for name in sorted(missing))
    sites = {name: one for name, one in known.sites.items() if name not in missing}
    return Gathered(sites, known.vehicles, (*known.left_out, *silent))


def _outcome(
    known: Gathered, compared: Compared, grouping: Grouping, own: OwnModel | None
) -> Outcome:
    is_demo = [one.is_demo for name, one in grouping.places.items() if name in known.sites]
    return Outcome(
        grouped_by=grouping.by,
        participants=[_participant(name, known, compared) for name in known.sites],
        left_out=known.left_out,
        over_all=compared.over_all,
        is_better=compared.is_better,
        better_than=own.id if own and compared.beats_served else None,
        is_simulated=any(is_demo) if is_demo else None,
        left_over=grouping.left_over,
    )


def _participant(name: str, known: Gathered, compared: Compared) -> TreesParticipant:
    rows = known.sites[name]
    return TreesParticipant(
        participant=name,
        vehicles=known.vehicles[name],
        rows_train=len(rows.train.targets),
        rows_judge=len(rows.judge.targets),
        rows_test=len(rows.test.targets),
        **dict(compared.each[name]),
    )
