"""An experiment drawn: what was learned, who took part, what it took, what it cost in privacy."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from backend.features.federated.schemas import CurvePoint

NOTHING = float("nan")


def plot(
    points: Sequence[CurvePoint], summary: dict[str, Any], *, title: str, image_format: str
) -> bytes:
    """Four panels over the rounds, as an image.

    Args:
        points: One per round.
        summary: Of the experiment; its last loss and R² end the curves.
        title: Above all.
        image_format: `png`, `svg` or another that matplotlib writes.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    figure.suptitle(title)
    rounds = [point.round for point in points]
    _learned(axes[0, 0], points, summary)
    axes[0, 1].bar(rounds, [_share(point) for point in points], color="tab:green", alpha=0.4)
    axes[0, 1].plot(rounds, [point.accepted or 0 for point in points], "o-", color="tab:green")
    axes[0, 1].set(title="Updates accepted (line), participation (bars)", ylim=(0, None))
    axes[1, 0].plot(rounds, [point.duration_s or NOTHING for point in points], "o-")
    axes[1, 0].set(title="Seconds per round", xlabel="round", ylim=(0, None))
    _cost(axes[1, 1], points)
    image = BytesIO()
    figure.savefig(image, format=image_format)
    plt.close(figure)
    return image.getvalue()


def _learned(axes: Any, points: Sequence[CurvePoint], summary: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's own
    """R² and loss of the model after each round; 0 is before the first."""
    after = [point.round - 1 for point in points] + [len(points)]
    scores = [_known(point.r2) for point in points] + [_known(summary.get("final_r2"))]
    losses = [_known(point.loss) for point in points] + [_known(summary.get("final_loss"))]
    axes.plot(after, scores, "o-", color="tab:blue", label="R²")
    axes.set(title="Median holdout R² and loss of the shared model")
    beside = axes.twinx()
    beside.plot(after, losses, "s--", color="tab:orange", label="loss")
    lines = [*axes.get_lines(), *beside.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines], loc="center right")


def _cost(axes: Any, points: Sequence[CurvePoint]) -> None:  # noqa: ANN401 - as above
    rounds = [point.round for point in points]
    if any(point.epsilon is not None for point in points):
        axes.plot(rounds, [_known(point.epsilon) for point in points], "o-", color="tab:red")
        axes.set(title="Largest epsilon of a site so far", xlabel="round", ylim=(0, None))
    else:
        kilobytes = [(point.bytes_moved or 0) / 1_000 for point in points]
        axes.bar(rounds, kilobytes, color="tab:gray")
        axes.set(title="kB moved per round", xlabel="round")


def _share(point: CurvePoint) -> float:
    return point.participation or 0.0


def _known(value: float | None) -> float:
    return NOTHING if value is None else value
