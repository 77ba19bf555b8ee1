"""The engine behind a SuperLink: a run is submitted there, and followed by its rounds here."""

import re
import time
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from sqlalchemy.orm import Session

from backend.adapters.federation.superlink import SuperLink, SuperLinkUnavailable
from backend.adapters.verifier.dids import DidRefused, resolve_offline
from backend.adapters.verifier.keys import KeyKind, kind_of
from backend.components import Parts, open_superlink
from backend.features.credentials.audit import note
from backend.features.credentials.dids import PREFIX
from backend.features.federated import lease, queries, stopping
from backend.features.federated.enrolling import LEFT, REGISTERED
from backend.features.federated.flower_app import EXPERIMENT
from backend.features.federated.models import (
    CLOSED,
    FAILED,
    FLOWER,
    RUNNING,
    FederatedExperiment,
    FederatedParticipant,
)
from backend.features.federated.problems import ExperimentFailed
from backend.features.federated.queries import ACTIVE
from backend.features.federated.schemas import NAME
from backend.features.federated.standings import SUSPENDED
from backend.features.jobs.service import Report
from backend.federation.reputation import SUSPENDED_AFTER
from backend.problems import Problem

log = structlog.get_logger("tasco.federated")
CONDUCT = "backend.features.federated.flower_app:conduct_run"
FINISHED = "finished"
OPERATOR = "operator"
MAKE_A_KEY = "A SuperNode needs a P-384 key: ssh-keygen -t ecdsa -b 384 -N '' -f FILE makes one."
LONGEST_NAME = 64
LOOK_S = 1.0
MOST_RUNS = 3  # one after another, should each be killed
LOOKS_PER_STATUS = 10  # asking the SuperLink costs a process, looking at our rounds nothing


class SuperLinkAway(Problem):
    """The SuperLink does not answer, or refuses."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    fix = "See that the SuperLink of TASCO_FEDERATION_URL runs; the experiment is taken up again."


class KeyNotForNode(ValueError):
    """A key that is no P-384 key in OpenSSH format."""


class NobodysName(ValueError):
    """A name that no site has, or a DID that cannot sign."""


def is_set_up(parts: Parts) -> bool:
    """Whether the settings name a SuperLink."""
    try:
        open_superlink(parts.settings)
    except ValueError:
        return False
    return True


def follow(parts: Parts, experiment_id: str, report: Report) -> dict[str, Any]:
    """Submit an experiment and follow it to its end; gives its summary.

    Raises:
        SuperLinkAway: If the SuperLink cannot be asked.
        ExperimentFailed: If the run ended without a model.
    """
    link, status = open_superlink(parts.settings), "submitted"
    try:
        for _ in range(MOST_RUNS):
            status = _run(parts, link, experiment_id, report)
            if not _is_cut(parts, experiment_id):
                break
            log.warning("federated.run_cut", experiment_id=experiment_id, status=status)
    except SuperLinkUnavailable as away:
        raise SuperLinkAway(str(away)) from away
    return outcome(parts, experiment_id, status)


def enrol(db: Session, site_id: str, did: str, *, now: datetime) -> None:
    """Enrol the DID that signs for a site whose SuperNode is let in.

    The operator's word is all there is for it, and the assurance says so; a site that presents its
    credential enrols itself.
    """
    row = db.get(FederatedParticipant, (site_id, FLOWER)) or FederatedParticipant(
        site_id=site_id, engine=FLOWER, strikes=0, standing={}, enrolled_at=now
    )
    row.did, row.assurance = did, REGISTERED
    row.state = SUSPENDED if row.strikes >= SUSPENDED_AFTER else ACTIVE
    db.add(row)
    facts, action = {"engine": FLOWER, "assurance": REGISTERED}, "federated.enrolled"
    note(db, now=now, actor=OPERATOR, action=action, object_id=site_id, facts=facts)


def is_enrolled(db: Session, site_id: str) -> bool:
    """Whether a site takes part through a SuperNode, or is suspended from it."""
    row = db.get(FederatedParticipant, (site_id, FLOWER))
    return row is not None and row.state != LEFT


def withdraw(db: Session, site_id: str, *, now: datetime) -> None:
    """Take a site out whose SuperNode is let in no longer; who is not enrolled stays so."""
    if not is_enrolled(db, site_id):
        return
    db.get_one(FederatedParticipant, (site_id, FLOWER)).state = LEFT
    facts, action = {"engine": FLOWER}, "federated.withdrawn"
    note(db, now=now, actor=OPERATOR, action=action, object_id=site_id, facts=facts)


def require_node_key(public_key: Path) -> None:
    """Check that a file holds a SuperNode's public key.

    Raises:
        KeyNotForNode: If it is no P-384 key.
    """
    try:
        key = load_ssh_public_key(public_key.read_bytes())
    except ValueError as bad:
        raise KeyNotForNode(MAKE_A_KEY) from bad
    if not isinstance(key, ec.EllipticCurvePublicKey) or kind_of(key) is not KeyKind.P384:
        raise KeyNotForNode(MAKE_A_KEY)


def require_names(site_id: str, did: str | None) -> None:
    """Check that a site can take part under its name, and that its DID can sign.

    Raises:
        NobodysName: If not; once its node is let in, nobody would ask it or believe it.
    """
    if len(site_id) > LONGEST_NAME or re.fullmatch(NAME, site_id) is None:
        raise NobodysName(f"{site_id!r} is no id of a site.")
    if did is None or did.startswith(PREFIX):  # keys of our own DIDs come and go
        return
    try:
        methods = resolve_offline(did)
    except DidRefused as refused:
        raise NobodysName(f"{did!r} has no key: {refused}") from refused
    if not any(one.public_jwk for one in methods):
        raise NobodysName(f"{did!r} has no key that could sign.")


def _run(parts: Parts, link: SuperLink, experiment_id: str, report: Report) -> str:
    """Submit a run and look until it or the experiment is over; gives its last known status."""
    run_id, status = link.submit(CONDUCT, {EXPERIMENT: experiment_id}), "submitted"
    log.info("federated.submitted", experiment_id=experiment_id, run_id=run_id)
    while not status.startswith(FINISHED):
        for _ in range(LOOKS_PER_STATUS):
            if not _is_running(parts, experiment_id, report):
                return status
            time.sleep(LOOK_S)
        status = link.status(run_id)
    return status


def _is_cut(parts: Parts, experiment_id: str) -> bool:
    """Whether an experiment goes on with nobody to conduct it: its run was killed in the midst."""
    with parts.database.reading() as db:
        is_running = db.get_one(FederatedExperiment, experiment_id).state == RUNNING
        return is_running and bool(queries.rounds_of(db, experiment_id))


def _is_running(parts: Parts, experiment_id: str, report: Report) -> bool:
    """Whether the experiment goes on; while its process starts, nobody else is to take it."""
    with parts.database.reading() as db:
        row = db.get_one(FederatedExperiment, experiment_id)
        state, wanted = row.state, int(row.terms["num_rounds"])
        done = [
            one for one in queries.rounds_of(db, experiment_id) if one.state in (CLOSED, FAILED)
        ]
    report(min(len(done) / wanted, 1.0), f"{experiment_id}: round {len(done) + 1} of {wanted}")
    with suppress(lease.LeaseLost), parts.database.transaction() as db:
        lease.renew(db, experiment_id, lease.QUEUED, lease_s=lease.QUEUED_S)
    return state == RUNNING


def outcome(parts: Parts, experiment_id: str, status: str) -> dict[str, Any]:
    """The summary of an experiment whose run is over.

    A run that ended before the first round would do so again: the experiment has failed. One that
    was killed in the midst has not.

    Raises:
        SuperLinkAway: If the experiment is to be taken up again.
        ExperimentFailed: If it ended without a model.
    """
    if _is_cut(parts, experiment_id):
        with parts.database.transaction() as db:
            lease.release(db, experiment_id, lease.QUEUED)
        raise SuperLinkAway(f"The run is {status}; its experiment is taken up again.")
    with parts.database.reading() as db:
        row = db.get_one(FederatedExperiment, experiment_id)
    if row.state == RUNNING:
        error = ExperimentFailed(f"the run is {status} and has not begun")
        stopping.give_up(parts.database, experiment_id, error, now=parts.clock.now())
        raise error
    if row.state == FAILED:
        raise ExperimentFailed(row.reason)
    return dict(row.summary or {})
