"""Charts as SVG: curves over steps, and heat maps. Colours are those of the page (CSS variables), light or dark."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 600, 200
_LEFT, _BOTTOM, _TOP, _RIGHT = 52, 22, 8, 8
_MOST_POINTS = 400
_MOST_COLUMNS = 120
_NUM_SHADES = 12
_NUM_TICKS = 5


class Series(NamedTuple):
    """One curve. number: of its colour; is_dashed tells it from another curve of the same colour."""

    name: str
    points: Points
    number: int = 0
    is_dashed: bool = False


def line_chart(title: str, series: Sequence[Series], *, is_logarithmic: bool = False) -> Markup:
    """Return curves over steps with axes and a legend; nothing where there are no points.

    Not-finite values, and on a logarithmic axis those that are not positive, are left out.
    """
    shown = [_cleaned(one, is_logarithmic=is_logarithmic) for one in series]
    shown = [one for one in shown if one.points]
    if not shown:
        return Markup("")
    xs = [x for one in shown for x, _ in one.points]
    ys = [_height(y, is_logarithmic) for one in shown for _, y in one.points]
    x_range, y_range = _range(xs), _range(ys)
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> str:
        across = (x - x_range[0]) / (x_range[1] - x_range[0]) * inner_width
        up = (_height(y, is_logarithmic) - y_range[0]) / (y_range[1] - y_range[0]) * inner_height
        return f"{across:.1f},{inner_height - up:.1f}"

    curves = "".join(
        f'<polyline class="s{one.number % 8}{" dashed" if one.is_dashed else ""}" '
        f'points="{" ".join(place(x, y) for x, y in one.points)}"/>'
        for one in shown
    )
    ticks = _y_ticks(y_range, inner_height, is_logarithmic)
    label = f"{title}: {'; '.join(f'{one.name} ends at {one.points[-1][1]:.4g}' for one in shown)}"
    return Markup(
        f'<figure class="chart" data-steps="{json.dumps(x_range)}"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">{ticks}'
        f'<svg class="plot" x="{_LEFT}" y="{_TOP}" width="{inner_width}" height="{inner_height}" '
        f'viewBox="0 0 {inner_width} {inner_height}" preserveAspectRatio="none">'
        f'{curves}</svg><rect class="sensor" x="{_LEFT}" y="{_TOP}" width="{inner_width}" height="{inner_height}"/>'
        f"{_x_ticks(x_range, inner_width)}</svg>{_legend(shown)}</figure>"
    )


def heat_map(title: str, rows: Sequence[Sequence[float]], steps: Sequence[float], middle: float) -> Markup:
    """Return a map of values >= 0, a row each and time to the right; ``middle`` has the middle shade, twice as much
    the darkest."""
    if not rows or not steps:
        return Markup("")
    num_columns = min(len(steps), _MOST_COLUMNS)
    bounds = [round(column * len(steps) / num_columns) for column in range(num_columns + 1)]
    shades: list[list[str]] = [[] for _ in range(_NUM_SHADES)]
    for y, row in enumerate(rows):
        for x, (begin, end) in enumerate(itertools.pairwise(bounds)):
            value = sum(row[begin:end]) / (end - begin)
            shade = min(int(value / (2 * middle) * _NUM_SHADES), _NUM_SHADES - 1) if middle else 0
            shades[shade].append(f"M{x} {y}h1v1h-1z")
    paths = "".join(
        f'<path d="{"".join(cells)}" class="heat" style="fill-opacity:{(number + 0.5) / _NUM_SHADES:.2f}"/>'
        for number, cells in enumerate(shades)
        if cells
    )
    label = f"{title}: {len(rows)} rows, steps {steps[0]:,.0f} to {steps[-1]:,.0f}"
    return Markup(
        f'<figure class="map"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {num_columns} {len(rows)}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}" style="height:{max(80, min(10 * len(rows), 480))}px">{paths}</svg>'
        f'<div class="ends"><span>step {steps[0]:,.0f}</span><span>step {steps[-1]:,.0f}</span></div></figure>'
    )


def _cleaned(series: Series, *, is_logarithmic: bool) -> Series:
    """Return a series of finite values, of no more points than can be seen: means of those beside each other."""
    points = [
        (x, y) for x, y in series.points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not is_logarithmic)
    ]
    if len(points) > _MOST_POINTS:
        bounds = [round(part * len(points) / _MOST_POINTS) for part in range(_MOST_POINTS + 1)]
        parts = [points[begin:end] for begin, end in itertools.pairwise(bounds)]
        points = [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
    return series._replace(points=points)


def _height(y: float, is_logarithmic: bool) -> float:
    return math.log10(y) if is_logarithmic else y


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest value, apart from each other."""
    least, largest = min(values), max(values)
    if largest > least:
        return least, largest
    margin = abs(least) / 2 or 0.5
    return least - margin, largest + margin


def round_numbers(least: float, largest: float, number: int = _NUM_TICKS) -> list[float]:
    """Return about so many round numbers between two, as an axis has them."""
    raw = (largest - least) / number
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(least / step)
    return [n * step for n in range(first, math.floor(largest / step + 1e-9) + 1)]


def _round_powers(least: float, largest: float) -> list[float]:
    """Return the logarithms of round numbers between two logarithms: powers of ten, of a short axis also 2 and 5 times
    these; where that leaves hardly any, logarithms in even steps."""
    factors = (1, 2, 5) if largest - least < 2 else (1,)
    powers = range(math.floor(least), math.ceil(largest) + 1)
    found = [power + math.log10(factor) for power in powers for factor in factors]
    inside = [value for value in found if least <= value <= largest]
    step = -(-len(inside) // (_NUM_TICKS + 2))
    return inside[::step] if len(inside) > 1 else round_numbers(least, largest)


def _y_ticks(y_range: tuple[float, float], inner_height: float, is_logarithmic: bool) -> str:
    parts = []
    for value in _round_powers(*y_range) if is_logarithmic else round_numbers(*y_range):
        y = _TOP + inner_height - (value - y_range[0]) / (y_range[1] - y_range[0]) * inner_height
        shown = 10**value if is_logarithmic else value
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{shown:.4g}</text>'
        )
    return "".join(parts)


def _x_ticks(x_range: tuple[float, float], inner_width: float) -> str:
    y = _HEIGHT - 7
    ends = ((0.0, "start", x_range[0]), (0.5, "middle", sum(x_range) / 2), (1.0, "end", x_range[1]))
    texts = (
        f'<text class="tick x" x="{_LEFT + share * inner_width:.0f}" y="{y}" text-anchor="{anchor}">{step:,.0f}</text>'
        for share, anchor, step in ends
    )
    return "".join(texts)


def _legend(series: Sequence[Series]) -> str:
    entries = (
        f'<li><svg width="22" height="8" aria-hidden="true"><line x1="1" x2="21" y1="4" y2="4" '
        f'class="s{one.number % 8}{" dashed" if one.is_dashed else ""}"/></svg>{escape(one.name)}: '
        f"{one.points[-1][1]:.4g}</li>"
        for one in series
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'
