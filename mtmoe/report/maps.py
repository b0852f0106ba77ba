"""Maps with names at rows and columns, and reliability curves, as SVG in the page's colours."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from mtmoe.inference.scoring.calibration import Reliability

_CELL, _LETTER = 18, 7.2
_MOST_LETTERS = 14
_SIDE, _LEFT, _BOTTOM, _EDGE = 200, 34, 24, 8


def labelled_map(rows: Sequence[str], columns: Sequence[str], weights: Sequence[Sequence[float]], label: str) -> Markup:
    """Return a map of weights, 0 to 1, with a name at each row and column; ``label`` says what it is."""
    left, top = (_LETTER * max((len(_short(text)) for text in texts), default=0) + 8 for texts in (rows, columns))
    width, height = left + _CELL * len(columns), top + _CELL * len(rows)
    cells = "".join(
        f'<rect class="heat" x="{left + _CELL * x:.0f}" y="{top + _CELL * y:.0f}" width="{_CELL}" height="{_CELL}" '
        f'style="fill-opacity:{min(weight, 1):.2f}"/>'
        for y, row in enumerate(weights)
        for x, weight in enumerate(row)
        if weight >= 0.005
    )
    names = "".join(
        f'<text class="tick" x="{left - 5:.0f}" y="{top + _CELL * (y + 0.7):.1f}" text-anchor="end">'
        f"{escape(_short(text))}</text>"
        for y, text in enumerate(rows)
    ) + "".join(
        f'<text class="tick" transform="translate({left + _CELL * (x + 0.7):.1f} {top - 5:.0f}) rotate(-90)">'
        f"{escape(_short(text))}</text>"
        for x, text in enumerate(columns)
    )
    return Markup(
        f'<svg class="attention" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{escape(label)}"><rect class="frame" x="{left:.0f}" y="{top:.0f}" '
        f'width="{_CELL * len(columns)}" height="{_CELL * len(rows)}"/>{cells}{names}</svg>'
    )


def reliability_curve(title: str, reliability: Reliability) -> Markup:
    """Return how large a share is right or good, by how probable that was said to be; the dashed line is what it should
    be. A point has the area of its share of all."""
    place = [(_LEFT + _SIDE * row.mean_confidence, _EDGE + _SIDE * (1 - row.share_good)) for row in reliability.rows]
    radii = [2 + 12 * (row.num_lines / reliability.num_lines) ** 0.5 for row in reliability.rows]
    points = "".join(
        f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
        for (x, y), radius in zip(place, radii, strict=True)
    )
    curve = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
    bottom, right = _EDGE + _SIDE, _LEFT + _SIDE
    ticks = "".join(
        f'<text class="tick" x="{_LEFT - 5}" y="{bottom - _SIDE * share + 4:.0f}" text-anchor="end">{share:g}</text>'
        f'<text class="tick" x="{_LEFT + _SIDE * share:.0f}" y="{bottom + 15}" text-anchor="middle">{share:g}</text>'
        for share in (0, 0.5, 1)
    )
    error = f"expected calibration error {reliability.expected_calibration_error:.3f}"
    label = f"{title}: {error}, of {reliability.num_lines:,}"
    return Markup(
        f'<figure class="square"><figcaption>{escape(title)}; {error}</figcaption>'
        f'<svg viewBox="0 0 {right + _EDGE + 8} {bottom + _BOTTOM}" role="img" aria-label="{escape(label)}">'
        f'<rect class="frame" x="{_LEFT}" y="{_EDGE}" width="{_SIDE}" height="{_SIDE}"/>'
        f'<polyline class="s7 dashed" points="{_LEFT},{bottom} {right},{_EDGE}"/>'
        f'<polyline class="s0" points="{curve}"/>{points}{ticks}</svg></figure>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
