"""Maps and reliability curves: what is drawn is what was measured, and names are escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from mtmoe.inference.scoring.calibration import reliability
from mtmoe.report.maps import labelled_map, reliability_curve


def test_a_map_has_a_cell_for_each_weight_that_can_be_seen() -> None:
    markup = labelled_map(["<b>", "long name of a row"], ["&x"], [[0.5], [0.001]], 'a "label"')
    svg = ElementTree.fromstring(markup)
    (cell,) = (rect for rect in svg.iter("rect") if rect.attrib["class"] == "heat")
    assert cell.attrib["style"] == "fill-opacity:0.50"
    assert [text.text for text in svg.iter("text")] == ["<b>", "long name of …", "&x"]
    assert svg.attrib["aria-label"] == 'a "label"'
    assert labelled_map(["a"], ["b"], [[3.0]], "").count("fill-opacity:1.00") == 1
    ElementTree.fromstring(labelled_map([], [], [], "nothing"))


def test_a_curve_goes_through_what_was_said_and_what_came() -> None:
    figure = ElementTree.fromstring(
        reliability_curve("<P>", reliability([0.25, 0.25, 0.75, 0.75], [False, True, True, True]))
    )
    _, curve = figure.iter("polyline")
    assert curve.attrib["points"] == "84.0,108.0 184.0,8.0"
    assert len(list(figure.iter("circle"))) == 2
    assert figure.findtext("figcaption") == "<P>; expected calibration error 0.250"
