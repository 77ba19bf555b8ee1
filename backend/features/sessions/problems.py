"""What can be wrong with a session request."""

from http import HTTPStatus

from backend.problems import NotFound, Problem


class SessionNotFound(NotFound):
    """There is no such session for this caller."""


class OfferNotFound(NotFound):
    """There is no such offer for this session."""


class SiteNotAllowed(Problem):
    """The driver may not charge at this site."""

    status = HTTPStatus.FORBIDDEN
    fix = "Use a site the driver is allowed at."


class VehicleNotAllowed(Problem):
    """The vehicle belongs to a fleet whose driver the caller is not."""

    status = HTTPStatus.FORBIDDEN
    fix = "Present a FleetDriverCredential of its fleet that covers the vehicle."


class ChargerInUse(Problem):
    """Another session is open at this charger."""

    status = HTTPStatus.CONFLICT
    fix = "Pick a free one from GET /chargers?available_only=true."


class ChargerUnavailable(Problem):
    """The charger is out of service."""

    status = HTTPStatus.CONFLICT
    fix = "Pick a free one from GET /chargers?available_only=true."


class VehicleInUse(Problem):
    """The vehicle is in another session."""

    status = HTTPStatus.CONFLICT
    fix = "Complete or cancel that session first."


class VehicleSpecificationMissing(Problem):
    """The vehicle is not registered and the request does not describe it."""

    status = HTTPStatus.CONFLICT
    fix = "Send battery_capacity_kwh, nominal_consumption_wh_per_km and max_charge_power_kw."


class NotRegistered(Problem):
    """The driver or the vehicle is not registered here."""

    status = HTTPStatus.FORBIDDEN
    fix = "Have the DID registered by the operator."


class DepartureInPast(Problem):
    """The departure lies in the past."""

    status = HTTPStatus.CONFLICT
    fix = "Send a departure that lies ahead."


class DepartureTooFar(Problem):
    """The departure lies more than seven days ahead."""

    status = HTTPStatus.CONFLICT
    fix = "Send a departure within seven days."


class SiteBusy(Problem):
    """Too many vehicles start at this site at once."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s = 1
    fix = "Send the same request again after the time in Retry-After."


class SessionEnded(Problem):
    """The session has ended before."""

    status = HTTPStatus.CONFLICT
    fix = "Nothing is left to do; GET the session for its bill."


class EnergyImplausible(Problem):
    """More energy than charger, vehicle and time allow."""

    status = HTTPStatus.CONFLICT
    fix = "Send what the meter says."


class MeterWentBackwards(Problem):
    """A meter reading is lower or older than the one before."""

    status = HTTPStatus.CONFLICT
    fix = "Send readings of energy since the session began, oldest first."


class ReadingOutsideSession(Problem):
    """A meter reading lies before the session began or ahead of now."""

    status = HTTPStatus.CONFLICT
    fix = "Check the charger's clock."


class OfferDecidedBefore(Problem):
    """The offer was accepted or declined before."""

    status = HTTPStatus.CONFLICT
    fix = "An offer can be decided once."
