"""An experiment drawn: what was learned and is worth, who took part, what it took and cost."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from backend.features.federated.schemas import CurvePoint

NOTHING = float("nan")
SUMMARISED = {
    "r2": "final_r2",
    "loss": "final_loss",
    "cost_saved_eur_per_mwh": "cost_saved_eur_per_mwh",
}


def plot(
    points: Sequence[CurvePoint], summary: dict[str, Any], *, title: str, image_format: str
) -> bytes:
    """Six panels over the rounds, as an image.

    Args:
        points: One per round.
        summary: Of the experiment; the figures of its last model end the curves.
        title: Above all.
        image_format: `png`, `svg` or another that matplotlib writes.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure, axes = plt.subplots(2, 3, figsize=(16, 8), layout="constrained")
    figure.suptitle(title)
    for one in axes.flat:
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
    _learned(axes[0, 0], points, summary)
    _worth(axes[0, 1], points, summary)
    _participation(axes[0, 2], points)
    _duration(axes[1, 0], points)
    _moved(axes[1, 1], points)
    _gas(axes[1, 2], points, summary)
    image = BytesIO()
    figure.savefig(image, format=image_format)
    plt.close(figure)
    return image.getvalue()


def _learned(axes: Any, points: Sequence[CurvePoint], summary: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's own
    """R² and loss of the model after each round; 0 is before the first."""
    after, scores = _models(points, summary, "r2")
    _, losses = _models(points, summary, "loss")
    axes.plot(after, scores, "o-", color="tab:blue", label="R²")
    axes.set(title="Shared model on holdouts, median site", xlabel="rounds done")
    beside = axes.twinx()
    beside.plot(after, losses, "s--", color="tab:orange", label="loss (right)")
    _legend(axes, beside)
    _say_if_nothing((axes, beside), scores, "no site said its figures")


def _worth(axes: Any, points: Sequence[CurvePoint], summary: dict[str, Any]) -> None:  # noqa: ANN401 - as above
    """What the model is worth at the assumed price; nothing is known where sites say nothing."""
    after, saved = _models(points, summary, "cost_saved_eur_per_mwh")
    axes.plot(after, saved, "o-", color="tab:green")
    axes.axhline(0, color="gray", linewidth=0.8)
    price = summary.get("imbalance_eur_per_kwh")
    at = "" if price is None else f" at {price:g} €/kWh"
    axes.set(title=f"Worth of the forecast beside usual days{at}")
    axes.set(xlabel="rounds done", ylabel="€ per MWh charged")
    _say_if_nothing((axes,), saved, "no site said its errors")


def _participation(axes: Any, points: Sequence[CurvePoint]) -> None:  # noqa: ANN401 - as above
    rounds = _rounds(points)
    accepted = [point.accepted or 0 for point in points]
    axes.plot(rounds, accepted, "o-", color="tab:green", label="updates accepted")
    axes.set(title="Participation", xlabel="round")
    beside = axes.twinx()
    shares = [point.participation or 0.0 for point in points]
    beside.bar(rounds, shares, color="tab:green", alpha=0.3, label="share of who was asked (right)")
    _from_zero(axes, beside)
    _legend(axes, beside)


def _duration(axes: Any, points: Sequence[CurvePoint]) -> None:  # noqa: ANN401 - as above
    rounds = _rounds(points)
    axes.plot(rounds, [_known(point.duration_s) for point in points], "o-", label="duration, s")
    axes.plot(rounds, [_known(point.cpu_s) for point in points], "s--", label="CPU, s")
    axes.set(title="Time and memory of a round", xlabel="round")
    beside = axes.twinx()
    memory = [_known(point.rss_mb) for point in points]
    beside.plot(rounds, memory, "^:", color="tab:gray", label="memory, MB (right)")
    _from_zero(axes, beside)
    _legend(axes, beside)


def _moved(axes: Any, points: Sequence[CurvePoint]) -> None:  # noqa: ANN401 - as above
    """Bytes, and with privacy what was spent of it."""
    rounds = _rounds(points)
    kilobytes = [(point.bytes_moved or 0) / 1_000 for point in points]
    axes.bar(rounds, kilobytes, color="tab:gray", alpha=0.5, label="kB moved")
    axes.set(title="Traffic of a round", xlabel="round", ylabel="kB")
    epsilons = [_known(point.epsilon) for point in points]
    if _is_nothing(epsilons):
        return
    scale = max(point.noise_scale or 0.0 for point in points)  # the same in all rounds
    label = f"largest epsilon, at noise scale {scale:g} (right)"
    beside = axes.twinx()
    beside.plot(rounds, epsilons, "o-", color="tab:red", label=label)
    axes.set_title("Traffic of a round, privacy spent so far")
    _from_zero(axes, beside)
    _legend(axes, beside)


def _gas(axes: Any, points: Sequence[CurvePoint], summary: dict[str, Any]) -> None:  # noqa: ANN401 - as above
    thousands = [_known(point.gas_used) / 1_000 for point in points]
    axes.bar(_rounds(points), thousands, color="tab:purple", alpha=0.6)
    total = summary.get("gas_used")
    whole = "" if total is None else f" ({total:,} in all)"
    axes.set(title=f"Gas for verdicts on the chain{whole}", xlabel="round", ylabel="thousand gas")
    _say_if_nothing((axes,), thousands, "nothing in a block yet")


def _models(
    points: Sequence[CurvePoint], summary: dict[str, Any], name: str
) -> tuple[list[int], list[float]]:
    """A figure of the model before the first round and after each; rounds done come first."""
    before = [_known(getattr(point, name)) for point in points]
    return list(range(len(points) + 1)), [*before, _known(summary.get(SUMMARISED[name]))]


def _legend(axes: Any, beside: Any) -> None:  # noqa: ANN401 - as above
    """One legend for two scales, below both: there it hides nothing."""
    shown = [one.get_legend_handles_labels() for one in (axes, beside)]
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncol": 3, "frameon": False}
    axes.legend([*shown[0][0], *shown[1][0]], [*shown[0][1], *shown[1][1]], **below)


def _from_zero(*scales: Any) -> None:  # noqa: ANN401 - as above
    """Begin at zero and leave room above."""
    for one in scales:
        one.set_ylim(0, 1.1 * one.get_ylim()[1])


def _say_if_nothing(scales: Sequence[Any], values: Sequence[float], text: str) -> None:
    """Say why a panel is empty, in place of ticks that mean nothing."""
    if _is_nothing(values):
        middle = {"ha": "center", "va": "center", "backgroundcolor": "white"}
        scales[0].text(0.5, 0.5, text, transform=scales[0].transAxes, **middle)
        for one in scales:
            one.set(xticks=[], yticks=[])


def _rounds(points: Sequence[CurvePoint]) -> list[int]:
    return [point.round for point in points]


def _is_nothing(values: Sequence[float]) -> bool:
    return all(one != one for one in values)  # noqa: PLR0124 - NaN


def _known(value: float | None) -> float:
    return NOTHING if value is None else value
