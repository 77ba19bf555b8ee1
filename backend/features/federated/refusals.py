"""Why an update, scores or a judgement are refused: each has a name, a reason and what to do."""

from http import HTTPStatus

from backend.features.federated.receiving import UpdateMalformed, UpdateRefused


class StatementRefused(UpdateRefused):
    """The signed statement cannot be read, has expired or lies too far ahead."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    fix = "Sign a fresh statement (docs/federated.md) with the enrolled key."


class Stranger(UpdateRefused):
    """Nobody of this DID takes part."""

    status = HTTPStatus.FORBIDDEN
    fix = "POST /federated/participants first."


class SignedByAnother(UpdateRefused):
    """The statement is not signed by the participant it names, or another sends it."""

    status = HTTPStatus.FORBIDDEN
    fix = "Sign with the key of the DID that is enrolled, and send with its token."


class StaleUpdate(UpdateRefused):
    """The statement is for another round or another model."""


class RoundOver(UpdateRefused):
    """The round does not take this any more, or not yet."""


class NotSelected(UpdateRefused):
    """The participant was not drawn for this."""

    fix = "Wait for a round that draws this site."


class UpdateRepeated(UpdateRefused):
    """The participant has sent this already."""

    fix = "Nothing: the first one counts."


class NotWhatWasSigned(UpdateRefused):
    """The content is not what the statement was signed for."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class UpdateTooLarge(UpdateRefused):
    """The body is larger than any update or letter of this round."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    fix = "Send what the task asks for, uncompressed."


class PrivacyBudgetSpent(UpdateRefused):
    """The site has no privacy left to spend on this model."""

    fix = "Stop training privately, or have the experiment allow a larger epsilon."


REFUSALS = (
    PrivacyBudgetSpent,
    StatementRefused,
    Stranger,
    SignedByAnother,
    StaleUpdate,
    RoundOver,
    NotSelected,
    UpdateRepeated,
    NotWhatWasSigned,
    UpdateMalformed,
)
