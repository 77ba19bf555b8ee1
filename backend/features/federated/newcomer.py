"""A new site with one week of data: alone, and with what the others have learned together.

The site is left out of the federation, so that its model has never seen it; all are judged on the
same later hours. Everything runs here and is thrown away: nothing is stored, nobody is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from backend.features.federated import embedded
from backend.features.federated.problems import TooFewParticipants
from backend.features.federated.schemas import NewcomerView
from backend.features.forecasts.queries import history_of
from backend.federation.aggregation import aggregate, candidates_of
from backend.federation.demand import Examples, Rows, TooFewExamples, hourly_examples
from backend.federation.networks import initial_weights
from backend.federation.participant import r2, score, train
from backend.federation.personal import Personal, personalise
from backend.federation.tasks import ScoreTask, TrainSettings, TrainTask
from backend.federation.weights import Weights, content_hash
from backend.forecasting.history import SiteHistory
from backend.problems import Problem

DAY_H, TEST_H = 24, 7 * 24
FAMILY, SEED, ROUNDS = "mlp", 7, 8
FEWEST_OTHERS = 3
HOLDOUT_SHARE = 0.25  # of a single week


class SiteTooYoung(Problem):
    """The site's history is too short to play a newcomer and to judge it afterwards."""

    status = TooFewParticipants.status
    fix = "Name a site with two weeks more than history_days."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a newcomer does on hours that nobody has seen.

    Attributes:
        model_hash: Of the federation's model.
        like_day_r2: Of usual days, which need no model.
    """

    model_hash: str
    alone_r2: float
    federated_r2: float
    personalised_r2: float
    like_day_r2: float


def compare(own: Examples, others: Mapping[str, Examples], *, rounds: int = ROUNDS) -> Outcome:
    """Train alone, with the others, and with the others plus a correction of one's own.

    Args:
        own: The newcomer's short history, with later hours as test.
        others: Examples of the sites that learn together.
        rounds: Of the federation; the newcomer trains as many epochs alone.
    """
    first = initial_weights(FAMILY, SEED)
    shared = _federated(first, others, rounds)
    settings = TrainSettings(seed=SEED)
    alone = replace(settings, local_epochs=rounds * settings.local_epochs)
    delta = train(_task("newcomer", 1, first, alone), own).delta
    personal = personalise(FAMILY, shared, own, seed=SEED)
    return Outcome(
        model_hash=content_hash(shared),
        alone_r2=r2(FAMILY, {name: first[name] + delta[name] for name in first}, own.test),
        federated_r2=r2(FAMILY, shared, own.test),
        personalised_r2=personal_r2(personal, own.test),
        like_day_r2=r2(FAMILY, first, own.test),
    )


def _federated(first: Weights, others: Mapping[str, Examples], rounds: int) -> Weights:
    """The model that the others come to, by the rules of every round."""
    weights, settings = first, TrainSettings(seed=SEED)
    for number in range(1, rounds + 1):
        answers = [
            train(_task(name, number, weights, settings), mine) for name, mine in others.items()
        ]
        wanted = candidates_of(answers, weights)
        scores = [
            score(
                ScoreTask("newcomer", number, name, FAMILY, weights, content_hash(weights), wanted),
                mine,
            )
            for name, mine in others.items()
        ]
        weights = aggregate("validated", weights, answers, scores).weights
    return weights


def _task(name: str, number: int, weights: Weights, settings: TrainSettings) -> TrainTask:
    digest = content_hash(weights)
    return TrainTask("newcomer", number, name, FAMILY, weights, digest, settings)


def personal_r2(model: Personal, rows: Rows) -> float:
    """Share of the energy's variance that a site's own model explains; 0 if there is none."""
    energy = (rows.y + rows.usual).astype(np.float64)
    variance = float(np.var(energy)) if len(rows) else 0.0
    missed = float(np.mean((model.predict(rows) - energy) ** 2)) if len(rows) else 0.0
    return 1 - missed / variance if variance > 0 else 0.0


def young(history: SiteHistory, *, history_h: int) -> Examples:
    """The examples of a site whose history began so many hours before its last week.

    Raises:
        SiteTooYoung: If there are not so many.
    """
    hours = history_h + TEST_H
    if history.hours < hours:
        raise SiteTooYoung(f"{history.site_id} has {history.hours} hours; {hours} are needed.")
    first = history.start + timedelta(hours=history.hours - hours)
    try:
        return hourly_examples(
            history.energy_kwh[-hours:],
            first,
            timezone=history.timezone,
            country=history.country,
            holdout_share=HOLDOUT_SHARE * history_h / hours,
            test_share=TEST_H / hours,
        )
    except TooFewExamples as error:
        raise SiteTooYoung(str(error)) from error


@dataclass(frozen=True, slots=True)
class Found:
    """What the sites of this service have: their histories, and whose are simulated."""

    histories: tuple[SiteHistory, ...]
    simulated: frozenset[str]


def histories(db: Session, *, now: datetime) -> Found:
    """The histories of all sites that could train."""
    sites = embedded.sites_with_history(db)
    return Found(
        tuple(history_of(db, site, until=now) for site in sites),
        frozenset(site.id for site in sites if site.is_demo),
    )


def side_by_side(found: Found, site_id: str | None, *, history_days: int) -> NewcomerView:
    """Let one site play the newcomer among the others.

    Raises:
        TooFewParticipants: If fewer than three others are there.
        SiteTooYoung: If the site's history is too short.
    """
    by_id = {one.site_id: one for one in found.histories}
    name = site_id or max(by_id, default="")
    others = embedded.examples_of(one for one in found.histories if one.site_id != name)
    if by_id and name not in by_id:
        raise SiteTooYoung(f"{name} has no two weeks of history here.")
    if len(others) < FEWEST_OTHERS:
        raise TooFewParticipants(
            f"There are {len(others)} other sites with history; {FEWEST_OTHERS} are needed."
        )
    own = young(by_id[name], history_h=history_days * DAY_H)
    outcome = compare(own, others)
    return NewcomerView(
        site_id=name,
        history_h=history_days * DAY_H,
        test_h=TEST_H,
        model_sha256=outcome.model_hash,
        alone_r2=outcome.alone_r2,
        federated_r2=outcome.federated_r2,
        personalised_r2=outcome.personalised_r2,
        like_day_r2=outcome.like_day_r2,
        is_simulated=name in found.simulated,
    )
