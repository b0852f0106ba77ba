"""The page of explanations: a section a line, put into one HTML file by a template that escapes everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from mtmoe.explanation.explanation import Contribution, LineExplanation, PartExplanation
from mtmoe.report.templates import templates

MOST_LINES = 200
"""On one page, which a browser should show at once."""

_CELL, _LETTER = 18, 7.2
_MOST_LOOKED_AT = 3
_LEAST_LOOK = 0.05
_MOST_LETTERS = 14


class ContributionRow(NamedTuple):
    """A contribution in words. felt_most_at: the token of the translation that it changes most, and by how much."""

    layer: str
    expert: int
    num_tokens: int
    log_probability: float
    felt_most_at: str
    by: float


class PartSection(NamedTuple):
    """A part of a line, as the template shows it. looked_at: of each target token, the source tokens that it attended
    to most, with the weights."""

    part: PartExplanation
    source_layers: Sequence[str]
    target_layers: Sequence[str]
    looked_at: Sequence[Sequence[tuple[str, float]]]
    attention: Markup
    contributions: Sequence[ContributionRow]


class LineSection(NamedTuple):
    """A line, as the template shows it."""

    line: LineExplanation
    parts: Sequence[PartSection]


def explanation_page(
    lines: Sequence[LineExplanation], run: str, checkpoint: str, version: str, *, with_ablation: bool
) -> str:
    """Return the page. Nothing in it tells of the day on which it was made: the same lines give the same bytes.

    Args:
        run, checkpoint: what translated, by name.
        version: of mtmoe.
        with_ablation: whether contributions were asked for.
    """
    page = templates(Path(__file__).parent).get_template("explanation.html.jinja")
    return page.render(
        run=run,
        checkpoint=checkpoint,
        version=version,
        with_ablation=with_ablation,
        lines=[LineSection(line, [_section(line, part) for part in line.parts]) for line in lines],
        exp=math.exp,
    )


def _section(line: LineExplanation, part: PartExplanation) -> PartSection:
    of_source = [layer for layer in line.layers if layer.startswith("encoder.")]
    return PartSection(
        part,
        of_source,
        [layer for layer in line.layers if layer not in of_source],
        [_looked_at(part, token.attention) for token in part.target],
        attention_map(part),
        [_row(part, contribution) for contribution in part.contributions],
    )


def _looked_at(part: PartExplanation, attention: Sequence[float]) -> list[tuple[str, float]]:
    places = sorted(range(len(attention)), key=lambda place: (-attention[place], place))[:_MOST_LOOKED_AT]
    return [(part.source[place].text, attention[place]) for place in places if attention[place] >= _LEAST_LOOK]


def _row(part: PartExplanation, it: Contribution) -> ContributionRow:
    place = max(range(len(it.of_tokens)), key=lambda place: abs(it.of_tokens[place]))
    return ContributionRow(
        it.layer, it.expert, it.num_tokens, it.log_probability, part.target[place].text, it.of_tokens[place]
    )


def attention_map(part: PartExplanation) -> Markup:
    """Return a map of the attention: a row for each token of the translation, a column for each of the source."""
    rows, columns = [token.text for token in part.target], [token.text for token in part.source]
    left, top = (_LETTER * max(len(_short(text)) for text in texts) + 8 for texts in (rows, columns))
    width, height = left + _CELL * len(columns), top + _CELL * len(rows)
    cells = "".join(
        f'<rect class="heat" x="{left + _CELL * x:.0f}" y="{top + _CELL * y:.0f}" width="{_CELL}" height="{_CELL}" '
        f'style="fill-opacity:{weight:.2f}"/>'
        for y, token in enumerate(part.target)
        for x, weight in enumerate(token.attention)
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
    label = f"Attention of {len(rows)} tokens of the translation on {len(columns)} of the source"
    return Markup(
        f'<svg class="attention" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{label}"><rect class="frame" x="{left:.0f}" y="{top:.0f}" '
        f'width="{_CELL * len(columns)}" height="{_CELL * len(rows)}"/>{cells}{names}</svg>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
