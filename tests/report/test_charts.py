"""Curves and heat maps: what is drawn is what was measured."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mtmoe.report.charts import Series, heat_map, line_chart, round_numbers


def drawn(markup: str) -> ElementTree.Element:
    """Parse a figure, which has to be well-formed."""
    return ElementTree.fromstring(markup)


def test_the_first_and_last_points_lie_at_the_ends_of_the_axes() -> None:
    figure = drawn(line_chart("Loss", [Series("a", [(0, 4.0), (50, 3.0), (100, 2.0)])]))
    (curve,) = figure.iter("polyline")
    assert curve.attrib["points"] == "0.0,0.0 270.0,85.0 540.0,170.0"
    assert figure.attrib["data-steps"] == "[0, 100]"
    svg = figure.find("svg")
    assert svg is not None
    assert svg.attrib["aria-label"] == "Loss: a ends at 2"


def test_on_a_logarithmic_axis_factors_are_distances_and_what_is_not_positive_is_left_out() -> None:
    points = [(0, 1.0), (1, 10.0), (2, 0.0), (3, math.inf), (4, math.nan), (2, 100.0)]
    figure = drawn(line_chart("Norm", [Series("a", points)], is_logarithmic=True))
    (curve,) = figure.iter("polyline")
    assert curve.attrib["points"] == "0.0,170.0 270.0,85.0 540.0,0.0"


def test_many_points_become_means_of_those_beside_each_other() -> None:
    figure = drawn(line_chart("Loss", [Series("a", [(n, n % 2) for n in range(4000)])]))
    (curve,) = figure.iter("polyline")
    heights = {point.partition(",")[2] for point in curve.attrib["points"].split()}
    assert len(curve.attrib["points"].split()) == 400
    assert heights == {"85.0"}


def test_names_are_escaped_and_nothing_is_drawn_of_nothing() -> None:
    markup = line_chart("<b>", [Series('"&<x>', [(0, 1), (1, 2)])])
    assert drawn(markup).findtext("figcaption") == "<b>"
    assert "<x>" not in markup
    assert line_chart("Loss", [Series("a", [])]) == ""
    assert heat_map("Share", [], [], 0.5) == ""


def test_shades_of_a_map_grow_with_the_values() -> None:
    markup = heat_map("Share", [[0.0, 0.5], [1.0, 2.0]], [10, 20], middle=0.5)
    shades = {
        cell: float(opacity)
        for path in drawn(markup).iter("path")
        for opacity in re.findall(r"fill-opacity:([\d.]+)", path.attrib["style"])
        for cell in re.findall(r"M(\d \d)h1v1h-1z", path.attrib["d"])
    }
    assert shades["0 0"] < shades["1 0"] < shades["0 1"] == shades["1 1"]
    wide = heat_map("Share", [[1.0] * 1000], list(range(1000)), middle=1.0)
    assert wide.count("h1v1") == 120


@pytest.mark.parametrize(
    ("least", "largest", "expected"), [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.38, [0.15, 0.2, 0.25, 0.3, 0.35])]
)
def test_axes_have_round_numbers(least: float, largest: float, expected: list[float]) -> None:
    assert round_numbers(least, largest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.9, 2.6), ["1", "2"]),
        ((1, 100), ["1", "10", "100"]),
        ((1e-9, 1e9), ["1e-09", "1e-06", "0.001", "1", "1000", "1e+06", "1e+09"]),
        ((3.0, 3.5), ["3.02", "3.162", "3.311", "3.467"]),
    ],
)
def test_a_logarithmic_axis_has_round_numbers_too(values: tuple[float, float], ticks: list[str]) -> None:
    figure = drawn(line_chart("Norm", [Series("a", list(enumerate(values)))], is_logarithmic=True))
    assert [text.text for text in figure.iter("text") if text.attrib["class"] == "tick"] == ticks
