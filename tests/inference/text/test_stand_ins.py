"""Names and numbers that stand for placeholders: where, which, and that the items come out all the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mtmoe.checkpoint import open_model
from mtmoe.config.placeholder_patterns import PASSED_THROUGH, placeholder_pattern
from mtmoe.config.settings import Subwords
from mtmoe.data.prepared.lexicon import LEXICON_NAME, Lexicon, save_lexicon
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, train_subwords
from mtmoe.inference.constraints.pass_through import Masking, PassThrough
from mtmoe.inference.requests import Request
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.text.stand_ins import Item, copied_names, names_among, stand_ins
from mtmoe.inference.translator import Translator
from mtmoe.vocabulary import PAD
from tests.inference.conftest import SENTENCES, untrained_run

PATTERN = placeholder_pattern(PASSED_THROUGH)


def filled(line: str, names=("Tom", "Mary"), first: int = 0) -> str:
    """Return a line with what stands for its items, or _ where nothing does."""
    items = [Item(PATTERN.kind(match), *match.span()) for match in PATTERN.finditer(line)]
    found = stand_ins(line, items, names, first)
    for item, stand_in in reversed(list(zip(items, found, strict=True))):
        line = line[: item.begin] + (stand_in or "_") + line[item.end :]
    return line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{name} is my friend.", "Tom is my friend."),
        ('"{name}" is my friend.', '"_" is my friend.'),
        ("%s is not a file", "Tom is not a file"),
        ("%1$s is here", "Tom is here"),
        ("%(num_files)d files were found", "27 files were found"),
        ("{count} files were sent to {user_name}", "27 files were sent to Tom"),
        ("{name} and {other} are friends.", "Tom and Mary are friends."),
        ("Write to anna@example.org.", "Write to Tom."),
        ("Hello {name}!", "Hello Tom!"),
        ("Tom knows {name}.", "Tom knows Mary."),
        ("{a_name} {b_name} {c_name} met {d_name}.", "Tom Mary _ met _."),
        ("There are 27 of {count}.", "There are 27 of 38."),
        # Beside a sentence, or of no known meaning.
        ("{name} I love you.", "_ I love you."),
        ("I love {name} you.", "I love _ you."),
        ("I love you. {name}", "I love you. _"),
        ("I love you 😀", "I love you _"),
        ("<b>old</b> is good", "_old_ is good"),
        ("{0} is good", "_ is good"),
        ("{} is good", "_ is good"),
        ("%% is good", "_ is good"),
        ("{name}", "_"),
    ],
)
def test_a_name_stands_where_a_sentence_needs_one(line, expected):
    assert filled(line) == expected


def test_a_sentence_begins_behind_its_language_token():
    assert filled("xx {name} is good", first=3) == "xx Tom is good"
    assert filled("xx {name} is good") == "xx _ is good"


WITH_NAMES = [*SENTENCES, *["Tom is here with Anna.", "Anna saw Tom.", "Tom est avec Anna."] * 9]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run, which has learned (so its files say) to copy every subword."""
    run = untrained_run(tmp_path_factory.mktemp("names"), WITH_NAMES)
    everything = np.arange(SubwordModel(run / "subwords.model").size, dtype=np.int32)
    save_lexicon(run / LEXICON_NAME, Lexicon(everything[:, None], everything[4:]))
    (run / SOURCE_WORDS_NAME).write_text("Tom\t99\nAnna\t98\n", encoding="utf-8")
    return run


@pytest.fixture(scope="module")
def run_without_names(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same one with a list that has no names."""
    copy = tmp_path_factory.mktemp("no-names") / "run"
    shutil.copytree(run, copy)
    (copy / SOURCE_WORDS_NAME).write_text("here\t99\n", encoding="utf-8")
    return copy


def passing(run: Path) -> tuple[PassThrough, tuple[str, ...]]:
    translator = Translator(run, device="cpu")
    loaded = translator.loaded
    names = copied_names(open_model(run), loaded.subwords)
    return PassThrough(translator.decoding, loaded.subwords, loaded.recipe.data, (), lambda: names), names


def test_names_are_frequent_words_that_are_copied(tmp_path):
    text = ["Tom saw Anna", "Anna and anna met Tom", "Bob is here", "Tom and Bob"] * 20
    train_subwords(text, Subwords(vocabulary_size=280), tmp_path / "s.model", 1)
    subwords = SubwordModel(tmp_path / "s.model")
    candidates = np.full((subwords.size, 2), PAD, np.int32)
    candidates[:, 0] = np.arange(subwords.size)
    lexicon = Lexicon(candidates, np.arange(4, subwords.size, dtype=np.int32))
    assert {"▁Tom", "▁Bob"} <= set(subwords.pieces)
    counts = {"Tom": 60, "Anna": 50, "Bob": 40, "anna": 20, "Zed": 20}
    assert names_among(counts, lexicon, subwords) == ("Tom", "Bob")
    assert names_among(counts | {"Bob": 19}, lexicon, subwords) == ("Tom",)
    candidates[subwords.pieces.index("▁Tom"), 0] = PAD
    assert names_among(counts, lexicon, subwords) == ("Bob",)


def test_runs_without_a_lexicon_or_words_have_none(run, run_without_names, run_directory):
    subwords = SubwordModel(run / "subwords.model")
    assert copied_names(open_model(run), subwords) == ("Tom", "Anna")
    assert copied_names(open_model(run_without_names), subwords) == ()
    assert copied_names(open_model(run_directory), subwords) == ()


def test_a_masked_line_has_the_name_and_knows_where_it_is(run):
    found, (name, *_) = passing(run)
    masked = found.masked(Request("{name} is here 😀."))
    assert masked.text == f"{name} is here."
    assert [(item.text, item.place, item.stand_in) for item in masked.items] == [
        ("{name}", 0, name),
        ("😀", len(name) + 8, ""),
    ]
    assert masked.word_numbers == (0, 1, 2)
    (plain,) = found.divided([Request("{name} is here.")], [Masking(with_stand_ins=False)])
    assert plain.parts[0].text == "is here."


def test_a_part_tells_what_stood_where_so_that_words_are_neighbours_only_where_they_were(run):
    found, _ = passing(run)
    (line,) = found.divided([Request("{name} is here, <x/> here 😀 here.")])
    assert line.parts[0].text.split() == ["Tom", "is", "here,", "here", "here."]
    assert line.parts[0].text_with_items().split() == ["{name}", "is", "here,", "<x/>", "here", "😀", "here."]


def test_a_pair_is_masked_as_it_was_translated_in_any_order(run):
    found, (one, *_) = passing(run)
    source, target = found.masked_pair("{name} is with 😀 us", "avec 😀 nous est {name}")
    assert (source, target) == (f"{one} is with us", f"avec nous est {one}")
    assert found.masked_pair("{name} is here", "Il est là") == ("{name} is here", "Il est là")


def test_where_the_model_does_not_write_the_name_the_line_is_translated_without(run, run_without_names):
    lines = ["{name} is here.", "Two dogs play with {name}.", "{count} dogs play in the snow with {name}."]
    with_names, without, alone = (
        [one for part in given for one in Translator(place, device="cpu").translate(part, with_alignment=True)]
        for place, given in ((run, [lines]), (run_without_names, [lines]), (run, [[line] for line in lines]))
    )
    assert [one.text for one in with_names] == [one.text for one in without]
    assert [one.text for one in alone] == [one.text for one in with_names]
    assert [one.alignment for one in alone] == [one.alignment for one in with_names]


def test_score_reads_the_name_as_well(run):
    loaded = Translator(run, device="cpu").loaded
    (score,) = score_pairs(loaded, ["{name} is here."], ["{name} est là."], names=lambda: ("Tom",))
    (same,) = score_pairs(loaded, ["Tom is here."], ["Tom est là."])
    assert score == same
