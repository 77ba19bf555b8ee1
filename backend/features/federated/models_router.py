"""`/federated/model` and `/federated/newcomer`: what was learned, and what it is worth."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from backend.components import CurrentParts, ReadDb
from backend.features.credentials.holder import NotAllowed, NotAuthenticated, allow
from backend.features.federated import newcomer, registry
from backend.features.federated.problems import ExperimentNotFound, TooFewParticipants
from backend.features.federated.schemas import NAME, SHA256, NewcomerView
from backend.features.federated.storing import WeightsAltered
from backend.idempotency import Route
from backend.problems import described

router = APIRouter(route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
LOOKING = allow("operator", "auditor", "participant")
NEWCOMER_TIMEOUT_S = 60.0
NPZ, ONNX = "application/octet-stream", "application/onnx"
BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/federated/newcomer",
    summary="A new site, alone and with the federation",
    dependencies=[allow("operator", "auditor")],
    responses=described(*REFUSED, TooFewParticipants, newcomer.SiteTooYoung),
)
def show_newcomer(
    db: ReadDb,
    parts: CurrentParts,
    site_id: Annotated[str | None, Query(max_length=64, pattern=NAME)] = None,
    history_days: Annotated[int, Query(ge=3, le=366)] = 7,
) -> NewcomerView:
    """Let a site play the newcomer: R² of its last week by what it learns alone and with others."""
    found = newcomer.histories(db, now=parts.clock.now())
    return parts.compute.run(
        newcomer.side_by_side, NEWCOMER_TIMEOUT_S, found, site_id, history_days=history_days
    )


@router.get(
    "/federated/model",
    summary="The model",
    dependencies=[LOOKING],
    response_class=Response,
    responses={
        200: {
            "content": {NPZ: BINARY, ONNX: BINARY},
            "description": "Weights as npz, or ONNX. `Tasco-Content-Hash` is what was registered, "
            "`Tasco-Model-Status` whether it is in service (`champion`), not (`challenger`), no "
            "longer (`retired`), or of an experiment that has not ended well (`unregistered`)",
        },
        304: {"description": "It is the one of If-None-Match"},
        **described(
            *REFUSED,
            registry.NoModelYet,
            registry.FederatedModelNotFound,
            ExperimentNotFound,
            WeightsAltered,
        ),
    },
)
def get_model(
    db: ReadDb,
    request: Request,
    form: Annotated[
        Literal["npz", "onnx"] | None,
        Query(alias="format", description="By default what Accept names, else npz"),
    ] = None,
    experiment_id: Annotated[str | None, Query(max_length=40, pattern=NAME)] = None,
    sha256: Annotated[
        str | None,
        Query(max_length=64, pattern=SHA256, description="Content hash, as it was registered"),
    ] = None,
    if_none_match: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Give the model in service, an experiment's, or the one of a hash; the hash is checked first.

    While none is in service, it is the newest challenger, and `Tasco-Model-Status` says so.
    """
    is_onnx = form == "onnx" or (form is None and ONNX in request.headers.get("Accept", ""))
    artefact = registry.artefact(
        db, experiment_id=experiment_id, sha256=sha256, form="onnx" if is_onnx else "npz"
    )
    headers = {
        "ETag": f'"{artefact.etag}"',
        "Tasco-Content-Hash": artefact.sha256,
        "Tasco-Experiment": artefact.experiment_id,
        "Tasco-Family": artefact.family,
        "Tasco-Model-Status": artefact.status,
    }
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(artefact.data, media_type=ONNX if is_onnx else NPZ, headers=headers)
