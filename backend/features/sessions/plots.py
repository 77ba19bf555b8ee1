"""A day drawn as SVG: loads, limit and price over the local hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import numpy as np

from backend.planning.replay import Array

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 904, 72, 380
HOURS_APART = 3
TICKS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One quantity over a day of equal steps.

    Attributes:
        name: What the legend calls it.
        values: One for each step, infinite or not a number where there is none, shape (steps,).
        color: Any colour of SVG.
        is_dashed: Whether the line is broken.
        is_filled: Whether the area below is tinted.
        is_price: Whether it belongs to the axis on the right.
    """

    name: str
    values: Array
    color: str
    is_dashed: bool = False
    is_filled: bool = False
    is_price: bool = False


def draw_day(
    title: str, lines: Sequence[Line], *, power_unit: str = "kW", price_unit: str = "per kWh"
) -> str:
    """Draw a day as one SVG document."""
    highest_kw = _highest([line for line in lines if not line.is_price])
    highest_price = _highest([line for line in lines if line.is_price])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<style>text { font: 12px sans-serif }</style>",
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title),
        _text(LEFT, TOP - 10, power_unit, anchor="end"),
        _text(RIGHT, TOP - 10, price_unit),
        *_axes(highest_kw, highest_price),
        *_legend(lines),
        *(_curve(line, highest_price if line.is_price else highest_kw) for line in lines),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _highest(lines: Sequence[Line]) -> float:
    """The top of an axis: the first round number above everything drawn on it."""
    values = np.concatenate([np.zeros(1), *(line.values for line in lines)])
    highest = float(values[np.isfinite(values)].max())
    size = 10 ** np.floor(np.log10(highest)) if highest > 0 else 1.0
    return float(next(size * step for step in (1, 2, 4, 6, 8, 10) if size * step >= highest))


def _axes(highest_kw: float, highest_price: float) -> list[str]:
    """Grid lines with their numbers, and the hours."""
    parts = []
    for tick in range(TICKS + 1):
        y = _y(tick / TICKS)
        parts += [
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#ddd"/>',
            _text(LEFT - 6, y + 4, f"{highest_kw * tick / TICKS:g}", anchor="end"),
            _text(RIGHT + 6, y + 4, f"{highest_price * tick / TICKS:.3g}"),
        ]
    hours = range(0, 25, HOURS_APART)
    return parts + [
        _text(_x(hour / 24), BOTTOM + 18, f"{hour:02}:00", anchor="middle") for hour in hours
    ]


def _legend(lines: Sequence[Line]) -> list[str]:
    """A stroke and a name for each line, in a row."""
    apart = (RIGHT - LEFT) / max(1, len(lines))
    parts = []
    for place, line in enumerate(lines):
        x = LEFT + place * apart
        parts += [
            f'<line x1="{x:.1f}" y1="40" x2="{x + 22:.1f}" y2="40" {_stroke(line)}/>',
            _text(x + 28, 44, line.name),
        ]
    return parts


def _curve(line: Line, highest: float) -> str:
    """The line as steps, with a gap wherever it has no value."""
    steps = len(line.values)
    path = ""
    for is_known, run in groupby(
        range(steps), key=lambda step: bool(np.isfinite(line.values[step]))
    ):
        if not is_known:
            continue
        places = list(run)
        heights = [_y(line.values[step] / highest) for step in places]
        points = [
            f"{_x((step + end) / steps):.1f} {y:.1f}"
            for step, y in zip(places, heights, strict=True)
            for end in (0, 1)
        ]
        path += f"M{'L'.join(points)}"
    fill = f'fill="{line.color}" fill-opacity="0.15"' if line.is_filled else 'fill="none"'
    return f'<path d="{path}" {fill} {_stroke(line)}/>'


def _stroke(line: Line) -> str:
    dashes = ' stroke-dasharray="6 4"' if line.is_dashed else ""
    return f'stroke="{line.color}" stroke-width="2"{dashes}'


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _x(share_of_day: float) -> float:
    return LEFT + share_of_day * (RIGHT - LEFT)


def _y(share: float) -> float:
    return BOTTOM - share * (BOTTOM - TOP)
