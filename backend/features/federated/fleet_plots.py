"""A fleet run drawn: accuracy by round, the baselines it has to beat, the privacy it spent."""

from io import BytesIO
from typing import Any

from backend.features.federated.fleet_schemas import FleetRunResult


def plot(result: FleetRunResult, *, image_format: str) -> bytes:
    """The curve of a run as an image.

    Args:
        result: What came of the run.
        image_format: `png`, `svg` or another that matplotlib writes.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rounds = [one.round_number for one in result.curve]
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    axes.plot(rounds, [one.accuracy for one in result.curve], "o-", label="together")
    axes.plot(rounds, [one.local_accuracy for one in result.curve], "s--", label="each alone")
    base = result.baselines
    axes.axhline(base.majority_accuracy, color="gray", label="commonest action of each vehicle")
    axes.axhline(
        base.fleet_majority_accuracy, color="gray", linestyle=":", label="commonest of the fleet"
    )
    axes.axvline(result.convergence_round, color="tab:green", alpha=0.3, label="converged")
    axes.set(title=_title(result), xlabel="round", ylabel="mean accuracy on hold-outs", ylim=(0, 1))
    axes.legend(loc="lower right")
    _spent(axes, result)
    image = BytesIO()
    figure.savefig(image, format=image_format)
    plt.close(figure)
    return image.getvalue()


def _spent(axes: Any, result: FleetRunResult) -> None:  # noqa: ANN401 - matplotlib's own
    """What a vehicle has lost after each round, on a scale of its own."""
    known = [(one.round_number, one.epsilon) for one in result.curve if one.epsilon is not None]
    if known:
        beside = axes.twinx()
        beside.plot(*zip(*known, strict=True), "^:", color="tab:red", label="epsilon so far")
        beside.set(ylabel="epsilon", ylim=(0, None))
        beside.legend(loc="upper left")


def _title(result: FleetRunResult) -> str:
    private = result.privacy
    shown = f"{result.run_id}: simulated fleet, labels of the {result.labels}"
    if private is None or private.epsilon is None:
        return shown
    spent = f"epsilon {private.epsilon:.2f} per {private.privacy_unit}"
    return f"{shown}\n{spent}, noise scale {private.noise_scale:g}"
