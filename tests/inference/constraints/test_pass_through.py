"""Pass-through in whole translations of untrained models, which would write none of it by themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtmoe.config.placeholder_patterns import PASSED_THROUGH, placeholder_pattern
from mtmoe.inference.constraints.pass_through import PassThrough
from mtmoe.inference.requests import Request
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES, untrained_run

PATTERN = placeholder_pattern(PASSED_THROUGH)
LINES = [
    "Where is https://a.de/b?c=1 now?",
    "Two dogs 😀 play 👨‍👩‍👧 in the snow 🇫🇷.",
    "The <b>old</b> station (see {name}).",
    "Mail info@example.co.uk or <a href='x'>here</a>, %(who)s!",
    "😀",
    "{a}: {b}",
    "",
    "Two dogs play in the snow.",
]
OUTSIDE = ["Where is now?", "Two dogs play in the snow."]


def translated(run: Path, lines=LINES, *overrides: str, num_best: int = 1, **arguments):
    return Translator(run, device="cpu", overrides=overrides).translate(lines, num_best, **arguments)


@pytest.fixture(scope="module")
def run_without_bytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose vocabulary spells nothing but the letters of its few sentences."""
    subwords = {"vocabulary_size": 73, "byte_fallback": False}
    return untrained_run(tmp_path_factory.mktemp("letters"), SENTENCES, subwords=subwords)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("decoding.beam_size=1",),
        ("decoding.beam_size=4", "decoding.diverse_beams={groups=2}"),
        ("decoding.beam_size=1", "decoding.sampling={seed=3}"),
    ],
)
@pytest.mark.parametrize("run", ["run_directory", "run_without_bytes"])
def test_each_item_comes_out_once_and_in_order_without_a_setting(request, run, overrides):
    found = translated(request.getfixturevalue(run), LINES, *overrides)
    for line, translation in zip(LINES, found, strict=True):
        for one in (translation, *translation.alternatives):
            assert PATTERN.findall(one.text) == PATTERN.findall(line)
            assert "  " not in one.text
            assert not any("pass_through" in warning for warning in one.warnings)


def test_what_is_no_item_is_translated_as_if_the_items_were_not_there(run_directory):
    items = ["https://a.de", "😀"]
    lines = ["Where is https://a.de now?", "Two dogs play in the snow. 😀"]
    plain, off = (translated(run_directory, OUTSIDE, *more) for more in ((), ("decoding.pass_through=[]",)))
    assert plain == off
    for item, with_item, without in zip(items, translated(run_directory, lines), plain, strict=True):
        assert with_item.text.replace(item, "").replace(" ", "") == without.text.replace(" ", "")
        assert (with_item.score, with_item.log_probability) == (without.score, without.log_probability)


def test_neighbours_do_not_matter(run_directory):
    together = translated(run_directory, LINES, num_best=2, with_alignment=True)
    for line, translation in zip(LINES, together, strict=True):
        (alone,) = translated(run_directory, [line], "decoding.batch_tokens=1", num_best=2, with_alignment=True)
        assert (alone.text, alone.alignment) == (translation.text, translation.alignment)


def test_it_can_be_turned_off(run_directory):
    (translation,) = translated(run_directory, ["Where is {name} now?"], "decoding.pass_through=[]")
    assert "{name}" not in translation.text


def test_a_line_of_nothing_but_items_stays_as_it_is(run_directory):
    lines = ["😀", "{a}:  {b}", "https://a.de/b"]
    found = translated(run_directory, lines)
    assert [one.text for one in found] == ["😀", "{a}: {b}", "https://a.de/b"]
    assert all((one.num_tokens, one.warnings, one.suspicions) == (0, (), ()) for one in found)


def test_score_agrees_with_what_was_reported(run_directory):
    translator = Translator(run_directory, device="cpu")
    found = translator.translate(LINES)
    scores = list(score_pairs(translator.loaded, LINES, [one.text for one in found]))
    assert [score.num_tokens for score in scores] == [one.num_tokens for one in found]
    assert [score.log_probability for score in scores] == pytest.approx(
        [one.log_probability for one in found], rel=1e-4
    )
    (lost,) = score_pairs(translator.loaded, ["Where is {name}?"], ["Où est la gare ?"])
    (whole,) = score_pairs(
        translator.loaded, ["Where is {name}?"], ["Où est la gare ?"],
        decoding=translator.decoding.model_copy(update={"pass_through": ()}),
    )  # fmt: skip
    assert lost == whole  # a translation without the item is scored as it is


def test_words_of_items_are_linked_with_themselves(run_directory):
    line = "Where is {{ x }} now 😀?"
    (translation,) = translated(run_directory, [line], with_alignment=True)
    source, target = line.split(), translation.text.split()
    for item in ("{{", "x", "}}"):
        assert (source.index(item), target.index(item)) in translation.alignment
    place = next(place for place, word in enumerate(target) if word.startswith("😀"))
    assert (6, place) in translation.alignment
    assert max(i for i, _ in translation.alignment) < len(source)
    assert max(j for _, j in translation.alignment) < len(target)


def test_items_of_a_line_that_is_split_are_in_the_translations_of_their_parts(run_directory):
    line = "Two {a} dogs play in the snow. " * 6 + "Where is <b>the</b> station? 😀"
    (translation,) = translated(run_directory, [line], "decoding.over_long=split", with_alignment=True)
    assert translation.warnings[0].startswith("split into ")
    assert PATTERN.findall(translation.text) == PATTERN.findall(line)
    source, target = line.split(), translation.text.split()
    assert {(source[i], target[j]) for i, j in translation.alignment if source[i] == "{a}"} == {("{a}", "{a}")}


def test_tags_of_which_one_was_cut_off_and_signs_for_spaces_do_no_harm(run_directory):
    lines = ["<b>" + "Two dogs play in the snow. " * 12 + "</b>", "a\u2581b {x} \u2581 c", "</b> <b>", "<b>{x}</b>"]
    found = translated(run_directory, lines, with_alignment=True)
    assert found[0].text.count("<b>") == 1
    assert [one.text.count("{x}") for one in found] == [0, 1, 0, 1]
    for line, one in zip(lines, found, strict=True):
        assert all(i < len(line.split()) and j < len(one.text.split()) for i, j in one.alignment)


def test_what_a_given_beginning_has_already_is_not_put_in_again(run_directory):
    requests = [Request("Where is {name}?", prefix="Où {name}"), Request("Where is {name}?", prefix="Où est")]
    first, second = translated(run_directory, requests)
    assert first.text.startswith("Où {name}")
    assert first.text.count("{name}") >= 1
    assert re.fullmatch(r"Où est.*\{name\}.*", second.text)


def test_numbers_that_the_model_does_not_write_are_put_back(run_directory, run_without_bytes):
    lines = ["It is 12:30 now", "Two dogs and 1,000.50 dogs", "Two dogs"]
    for run in (run_directory, run_without_bytes):
        for overrides in ((), ("decoding.beam_size=1", "decoding.sampling={seed=3}")):
            found = translated(run, lines, *overrides)
            assert [placeholder_pattern(["formatted-numbers"]).findall(one.text) for one in found] == [
                ["12:30"],
                ["1,000.50"],
                [],
            ]


@pytest.mark.parametrize(
    ("line", "translation", "lost"),
    [
        ("1,000.50", "1.000,50 1 2", []),
        ("1,000.50", "1 000,50", []),
        ("1,000.50", "1000.50", []),
        ("1,000.50", "11,000.50", ["1,000.50"]),
        ("1,000.50", "1,000.5", ["1,000.50"]),
        ("12:30", "12 h 30", []),
        ("12:30", "12.30 Uhr", []),
        ("12:30", "à midi", ["12:30"]),
        ("2024-05-01", "2024/05/01", []),
        ("1.5 and 1.5", "1,5", ["1.5"]),
        ("3", "three", []),  # a lone digit is a word
        ("https://a.de/1.5", "", []),  # it is an address's
    ],
)
def test_a_number_is_whole_with_the_signs_of_another_language(run_directory, line, translation, lost):
    translator = Translator(run_directory, device="cpu")
    passing = PassThrough(translator.decoding, translator.loaded.subwords, translator.loaded.recipe.data)
    assert passing.lost_numbers(line, translation) == lost


def test_what_the_search_is_to_write_but_the_vocabulary_cannot_passes_through(run_without_bytes):
    (found,) = translated(run_without_bytes, ["Where is {name} now?"], 'decoding.placeholders=["braces"]')
    assert found.text.count("{name}") == 1


def test_symbols_that_the_model_was_trained_with_are_left_to_it(run_directory):
    translator = Translator(run_directory, device="cpu")
    loaded = translator.loaded
    passing = PassThrough(translator.decoding, loaded.subwords, loaded.recipe.data, ["<b>"])
    assert [item.text for item in passing.masked(Request("<b> dogs <i>")).items] == ["<i>"]
    assert passing.lost("<b> dogs", "chiens") == []


def test_what_is_lost_is_told(run_directory):
    translator = Translator(run_directory, device="cpu")
    passing = PassThrough(translator.decoding, translator.loaded.subwords, translator.loaded.recipe.data)
    assert passing.report("a {x} and <b>", "un <b>") == [
        "not in the translation just as often (decoding.pass_through): {x}"
    ]
    assert passing.report("a {x}", "un {x}") == []
