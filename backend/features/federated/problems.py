"""Why an experiment cannot be started or found."""

from http import HTTPStatus

from backend.problems import NotFound, Problem


class ExperimentNotFound(NotFound):
    """There is no such experiment."""


class RoundNotFound(NotFound):
    """There is no such round."""


class ExperimentKnown(Problem):
    """There is an experiment of this name already."""

    status = HTTPStatus.CONFLICT
    fix = "Choose another experiment_id, or none."


class ExperimentUnderWay(Problem):
    """The engine is busy with another experiment."""

    status = HTTPStatus.CONFLICT
    fix = "Wait for it to end; GET /federated/rounds shows how far it is."


class TooFewParticipants(Problem):
    """There are fewer participants than the rounds need."""

    status = HTTPStatus.CONFLICT
    fix = "Enrol more, give sites two weeks of history, or ask for fewer."


class EngineAway(Problem):
    """This service is not set up for this engine."""

    status = HTTPStatus.CONFLICT
    fix = "Leave engine out, or set TASCO_FEDERATION_URL and TASCO_FEDERATION_CA_FILE."


class ModeNotSupported(Problem):
    """The engine cannot train in this mode."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for mode validated."


class ExperimentFailed(Problem):
    """No round of the experiment came to a model."""

    status = HTTPStatus.CONFLICT
    fix = "See the reason of each round: GET /federated/rounds."
