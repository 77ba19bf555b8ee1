"""Runs of trees on a SuperLink: submitted there, and followed until the model is registered."""

import time
from typing import Any

import structlog
from sqlalchemy import select

from backend.adapters.federation.superlink import SuperLink, SuperLinkUnavailable
from backend.components import Parts, open_superlink
from backend.database import new_id
from backend.features.credentials.models import AuditEvent
from backend.features.federated import enrolling, flower, trees_registry
from backend.features.federated.models import FLOWER
from backend.features.federated.problems import EngineAway
from backend.features.federated.trees_finishing import TreesRunLost
from backend.features.federated.trees_flower_app import REFUSALS, REFUSED, RUN, TERMS
from backend.features.federated.trees_grouping import TooFewForTrees
from backend.features.federated.trees_schemas import TreesRunNew
from backend.features.forecasts.models import ModelVersion
from backend.features.jobs.service import Report
from backend.federation.tree_rounds import FEWEST

log = structlog.get_logger("tasco.federated")
CONDUCT = "backend.features.federated.trees_flower_app:conduct_run"
BY_CODE = {one.code(): one for one in REFUSALS}


def require_nodes(parts: Parts) -> None:
    """Check that a run can be submitted, and that somebody might take part.

    Raises:
        EngineAway: If no SuperLink is set up.
        TooFewForTrees: If fewer than three sites with nodes are enrolled.
    """
    if not flower.is_set_up(parts):
        raise EngineAway
    with parts.database.reading() as db:
        there = len(enrolling.entitled_names(db, FLOWER, now=parts.clock.now()))
    if there < FEWEST:
        raise TooFewForTrees(f"{there} sites with nodes are enrolled; {FEWEST} are needed.")


def follow(parts: Parts, asked: TreesRunNew, report: Report) -> dict[str, Any]:
    """Submit a run and wait for its end; gives its result.

    Raises:
        TooFewForTrees: If fewer than three nodes are connected.
        NoTreesAccepted: If no round came to anything.
        TreesRunLost: If the SuperLink cannot be asked, or the run ended without a word.
    """
    link, trees_run = open_superlink(parts.settings), new_id("trr")
    report(0.1, f"{trees_run}: among the nodes of the SuperLink")
    try:
        run_id = link.submit(CONDUCT, {RUN: trees_run, TERMS: asked.model_dump_json()})
        log.info("trees.submitted", trees_run=trees_run, run_id=run_id)
        status = _waited(parts, link, run_id, trees_run)
    except SuperLinkUnavailable as away:
        raise TreesRunLost(str(away)) from away
    if not _is_over(parts, trees_run):
        raise TreesRunLost(f"The run is {status} and has left no model.")
    with parts.database.reading() as db:
        result = trees_registry.require_result(db, trees_run, artifacts=parts.artifacts)
    parts.relay.wake()
    return result.model_dump(mode="json")


def _waited(parts: Parts, link: SuperLink, run_id: str, trees_run: str) -> str:
    """Look until the run is over, here or there; gives its last known status."""
    status = "submitted"
    while not status.startswith(flower.FINISHED):
        for _ in range(flower.LOOKS_PER_STATUS):
            if _is_over(parts, trees_run):
                return status
            time.sleep(flower.LOOK_S)
        status = link.status(run_id)
    return status


def _is_over(parts: Parts, trees_run: str) -> bool:
    """Whether the model is registered.

    Raises:
        TooFewForTrees, NoTreesAccepted: If the run was refused.
    """
    told = select(AuditEvent).where(AuditEvent.object_id == trees_run, AuditEvent.action == REFUSED)
    with parts.database.reading() as db:
        refused = db.scalar(told)
        if refused is not None:
            raise BY_CODE[refused.facts["code"]](refused.facts["detail"])
        return db.get(ModelVersion, trees_run) is not None
