"""The page of explanations: a section a line, put into one HTML file by a template that escapes everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from mtmoe.explanation.explanation import Contribution, LineExplanation, PartExplanation
from mtmoe.report.maps import labelled_map
from mtmoe.report.templates import templates

MOST_LINES = 200
"""On one page, which a browser should show at once."""

_MOST_LOOKED_AT = 3
_LEAST_LOOK = 0.05


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
    label = f"Attention of {len(rows)} tokens of the translation on {len(columns)} of the source"
    return labelled_map(rows, columns, [token.attention for token in part.target], label)
