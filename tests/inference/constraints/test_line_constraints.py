"""Terms and placeholders in whole translations of an untrained model, which would have none of them by itself."""

from __future__ import annotations

import re
import time

import pytest

from mtmoe.config.placeholder_patterns import placeholder_pattern
from mtmoe.errors import UserError
from mtmoe.inference.constraints.line_constraints import LineConstraints, TermReport
from mtmoe.inference.constraints.terminology import Term, Terminology
from mtmoe.inference.requests import Request
from mtmoe.inference.translator import Translator

PLACEHOLDERS = ["urls", "tags", "braces", "numbers"]
LINES = [
    "Where is {name}?",
    "The <b>old</b> station (see https://a.de/b?c=1).",
    "Two dogs, 2 dogs and 12 dogs.",
    "{a}{b} and {a}",
    "",
    "Two dogs play in the snow.",
]
TERMS = Terminology([Term("station", "gare routière"), Term("dogs", "toutous"), Term("snow", "neige ☃")])


def translated(run, lines, *, beam=4, **arguments):
    overrides = [f"decoding.placeholders={PLACEHOLDERS}", f"decoding.beam_size={beam}", *arguments.pop("overrides", ())]
    return Translator(run, device="cpu", overrides=overrides, **arguments).translate(lines, num_best=min(beam, 2))


@pytest.mark.parametrize("beam", [1, 4])
def test_every_translation_has_the_copies_and_the_terms_of_its_line(run_directory, beam):
    pattern = placeholder_pattern(PLACEHOLDERS)
    for line, best in zip(LINES, translated(run_directory, LINES, beam=beam, terms=TERMS), strict=True):
        for translation in (best, *best.alternatives):
            assert pattern.findall(translation.text) == pattern.findall(line)
            assert [term.source for term in translation.terms] == [term.source for term in TERMS.found(line)]
            assert all(term.applied and term.target in translation.text for term in translation.terms)
            assert not any("placeholders" in warning or "the term" in warning for warning in translation.warnings)


def test_spaces_around_a_copy_are_as_in_the_source(run_directory):
    for translation in translated(run_directory, LINES[:1] * 2):
        assert re.search(r"(^| )\{name\}(?!\w)", translation.text)


def test_lines_without_any_of_it_are_translated_as_ever_and_neighbours_do_not_matter(run_directory):
    together = translated(run_directory, LINES, terms=TERMS)
    plain = Translator(run_directory, device="cpu").translate(["Where is the station"])
    assert translated(run_directory, ["Where is the station"])[0].text == plain[0].text
    for line, translation in zip(LINES, together, strict=True):
        (alone,) = translated(run_directory, [line], terms=TERMS, overrides=["decoding.batch_tokens=1"])
        assert (alone.text, alone.terms, alone.warnings) == (translation.text, translation.terms, translation.warnings)


def test_a_term_of_one_part_of_a_split_line_is_in_its_translation_and_the_line_is_still_split(run_directory):
    line = "Two dogs play in the snow. " * 8 + "Where is the station? See {name}."
    (translation,) = translated(run_directory, [line], terms=TERMS, overrides=["decoding.over_long=split"])
    assert translation.warnings[0].startswith("split into ")
    assert translation.terms == tuple(TermReport(term.source, term.target, True) for term in TERMS.found(line))
    assert translation.text.count("toutous") >= 8
    assert translation.text.count("gare routière") >= 1
    assert translation.text.count("{name}") == 1


def test_a_term_of_what_was_cut_off_is_not_asked_for(run_directory):
    line = "Two dogs play in the snow. " * 12 + "Where is the station?"
    (translation,) = translated(run_directory, [line], terms=TERMS)
    assert translation.warnings[0].startswith("source truncated from ")
    assert [term.source for term in translation.terms] == ["dogs", "snow"]
    assert "gare routière" not in translation.text


def test_what_a_translation_does_not_have_is_told(run_directory):
    translator = Translator(
        run_directory, device="cpu", overrides=[f"decoding.placeholders={PLACEHOLDERS}"], terms=TERMS
    )
    terms, warnings = translator._line_constraints.report(Request("1  station"), ["1 station"], "une gare 2")
    assert terms == (TermReport("station", "gare routière", False),)
    assert warnings == [
        "the term 'station' is not translated as 'gare routière'",
        "placeholders (decoding.placeholders): ['1']; in the translation: ['2']",
    ]
    (forced,) = translator.translate([Request("1 dog", prefix="3 chiens")])
    assert forced.warnings[-1] == "placeholders (decoding.placeholders): ['1']; in the translation: ['3', '1']"


@pytest.mark.parametrize("key", ["sampling", "diverse_beams"])
def test_terms_and_copies_need_one_beam(run_directory, key):
    table = {"sampling": "decoding.sampling={seed=1}", "diverse_beams": "decoding.diverse_beams={groups=2}"}[key]
    beam = f"decoding.beam_size={1 if key == 'sampling' else 4}"
    with pytest.raises(UserError, match=rf"terms need one beam, but decoding\.{key} is on\nleave out --terms or {key}"):
        Translator(run_directory, device="cpu", overrides=[table, beam], terms=TERMS)
    with pytest.raises(UserError, match=rf"placeholders = \['tags'\] needs one beam, but \[{key}\] is on"):
        Translator(run_directory, device="cpu", overrides=[table, beam, 'decoding.placeholders=["tags"]'])


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("un an", True),
        ("une année", False),
        ("un moment de plan", False),
        ("l'an 2000", True),
        ("l’an 2000", True),
        ("an.", True),
        ("«an»", True),
        ("an-neuf, nouvel-an", True),
        ("un an\u0302 de", False),  # another letter
        ("an_2", False),
        ("année, pan, an!", True),
        ("Nouvel An", False),  # a term stands as it is written
    ],
)
@pytest.mark.parametrize("overrides", [(), ("decoding.soft_terms=0.1",)])
def test_a_term_is_there_as_a_whole_word(run_directory, text, is_there, overrides):
    required = Translator(
        run_directory, device="cpu", overrides=overrides, terms=Terminology([Term("year", "an")])
    )._line_constraints
    reports, warnings = required.report(Request("a year"), ["a year"], text)
    assert reports == (TermReport("year", "an", is_there),)
    assert bool(warnings) != is_there


def test_in_languages_without_spaces_a_term_is_there_anywhere(run_directory):
    translator = Translator(run_directory, device="cpu")
    for target, text, is_there in (("年", "二千年前", True), ("年", "二千", False), ("an", "plan", True)):
        terms = Terminology([Term("year", target)])
        required = LineConstraints(
            translator.decoding, translator.loaded.subwords, terms, words_apart=True, targets_apart=False
        )
        assert required.report(Request("a year"), ["a year"], text)[0] == (TermReport("year", target, is_there),)


def test_an_expression_that_takes_too_long_leaves_the_line_in_its_place_and_is_told(run_directory):
    overrides = ["decoding.placeholders=['/(?:a|aa)+$/']", "decoding.beam_size=1"]
    lines = ["Where is aaa", "a" * 50 + "! b", "Two dogs"]
    begin = time.process_time()  # of the processor: the machine has other work
    translations = Translator(run_directory, device="cpu", overrides=overrides).translate(lines)
    assert time.process_time() - begin < 20
    told = [
        [warning for warning in translation.warnings if "(?:a|aa)+$/ was not found within 1 s" in warning]
        for translation in translations
    ]
    assert [len(warnings) for warnings in told] == [0, 1, 0]
    assert translations[0].text.endswith("aaa")
    assert translations[1].text
