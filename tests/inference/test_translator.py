"""Text in, text out, with an untrained model: order, blank and long lines, and what is reported of them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

import mtmoe.inference.constraints.line_constraints as line_constraints
import mtmoe.inference.translator as translator_module
from mtmoe.config import recipe_from_dict
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.perturbations.letter_case import upper_case
from mtmoe.errors import UserError
from mtmoe.inference.divided_lines import best_combinations
from mtmoe.inference.requests import Request
from mtmoe.inference.search.beam_search import NOTHING
from mtmoe.inference.search.source_batching import pad_with_eos
from mtmoe.inference.text.lines import decode_line, divide_sources, missing_language
from mtmoe.inference.text.typing_errors import Correction
from mtmoe.inference.text.word_alignment import align_words, words_of_subwords
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.vocabulary import BOS, UNK

LINES = [
    "Where is the station?",
    "",
    "A man rides a bicycle past the old station near the market.",
    "Two dogs",
    "   ",
    "Two dogs play in the snow.",
    "The children are waiting.",
    "Snow",
]


@pytest.fixture(scope="module")
def translator(run_directory):
    return Translator(run_directory, device="cpu")


def reported(translations):
    """What is exact, and what floating point may change in the last digits."""
    exact = [(t.text, t.num_tokens, t.warnings) for t in translations]
    return exact, [number for t in translations for number in (t.score, t.log_probability)]


def test_each_line_has_one_translation_in_its_place(translator):
    translations = translator.translate(LINES)
    assert len(translations) == len(LINES)
    assert [bool(t.num_tokens) for t in translations] == [bool(line.strip()) for line in LINES]
    for line, translation in zip(LINES, translations, strict=True):
        assert translator.translate([line])[0].text == translation.text
    assert len({t.text for t in translations}) > 4  # else the above would show little


def test_a_blank_line_stays_blank_and_costs_nothing(translator, monkeypatch):
    monkeypatch.setattr(translator.loaded.model, "encode", None)
    assert translator.translate(["", " \t ", "\u2028"]) == [Translation("")] * 3
    assert translator.translate([]) == []


def test_lines_in_capitals_and_in_title_case_are_translated_in_small_letters(translator, run_directory):
    typed = ["WHERE IS THE STATION?", "Two Dogs Play In The Snow.", "SNOW"]
    usual = ["Where is the station?", "Two dogs play in the snow.", "SNOW"]
    found, expected = translator.translate(typed, 2), translator.translate(usual, 2)
    language = translator.loaded.recipe.data.target_language
    assert found[1:] == expected[1:]
    assert found[0].text == upper_case(expected[0].text, language)
    assert (
        [t.text for t in found[0].alternatives]
        == [upper_case(t.text, language) for t in expected[0].alternatives]
        != []
    )
    assert reported(found)[1] == reported(expected)[1]
    for overrides in (["decoding.usual_case=false"], ['decoding.placeholders=["/[A-Z]+-/"]']):
        as_written = Translator(run_directory, device="cpu", overrides=overrides)
        assert reported(as_written.translate(typed[:2]))[1] != reported(as_written.translate(usual[:2]))[1]


def test_typing_errors_are_read_as_what_was_meant_and_told(run_directory, tmp_path):
    shutil.copytree(run_directory, tmp_path / "run")
    words = "".join(f"{word}\t50\n" for word in ("where", "is", "the", "station", "two", "dogs", "play", "in", "snow"))
    (tmp_path / "run" / "source_words.tsv").write_text(words)
    typed = ["Where is teh sation?", "Two dogs play in the snow.", "TWO DOSG PLAY"]
    meant = ["Where is the station?", "Two dogs play in the snow.", "TWO DOGS PLAY"]
    translator = Translator(tmp_path / "run", device="cpu")
    found, expected = translator.translate(typed), translator.translate(meant)
    assert [translation.corrections for translation in found] == [
        (Correction("teh", "the"), Correction("sation", "station")),
        (),
        (Correction("DOSG", "dogs"),),  # as it was typed, though it was read in small letters
    ]
    assert [translation._replace(corrections=()) for translation in found] == expected
    for overrides in (["decoding.usual_spelling=false"], ['decoding.placeholders=["/[A-Z]+-/"]']):
        as_written = Translator(tmp_path / "run", device="cpu", overrides=overrides)
        assert not as_written.translate(typed)[0].corrections
    prefixed = translator.translate([Request(typed[0], prefix="Où")])[0]
    assert not prefixed.corrections
    (tmp_path / "run" / "source_words.tsv").write_text("damaged")
    with pytest.raises(UserError, match=r"source_words\.tsv: damaged"):
        Translator(tmp_path / "run", device="cpu")


def test_batches_of_one_and_of_many_in_any_order_give_the_same_lines(translator, run_directory):
    expected, numbers = reported(translator.translate(LINES))
    one_by_one = Translator(run_directory, device="cpu", overrides=["decoding.batch_tokens=1"])
    exact, alone = reported(one_by_one.translate(LINES))
    assert exact == expected
    assert alone == pytest.approx(numbers, abs=1e-4)
    order = random.Random(3).sample(range(len(LINES)), len(LINES))
    shuffled = translator.translate([LINES[index] for index in order])
    assert reported([shuffled[order.index(index)] for index in range(len(LINES))])[0] == expected


def test_a_stream_is_read_a_window_at_a_time_and_answered_in_order(translator, monkeypatch):
    monkeypatch.setattr(translator_module, "WINDOW_LINES", 3)
    num_read = 0

    def lines():
        nonlocal num_read
        for line in LINES:
            num_read += 1
            yield line

    stream = translator.stream(lines())
    texts = [next(stream).text]
    assert num_read == 3
    texts += [translation.text for translation in stream]
    assert texts == [translation.text for translation in translator.translate(LINES)]


def test_a_line_separator_inside_a_line_does_not_divide_it(translator):
    lines = ["Two dogs play", "Two\u2028dogs\x85play", "Two dogs\rplay\r"]
    assert len({translation.text for translation in translator.translate(lines)}) == 1


def test_every_translation_is_one_line_even_when_the_model_spells_a_line_feed(translator, monkeypatch):
    spelt = "one\ntwo\u2028three\r"
    monkeypatch.setattr(type(translator.loaded.subwords), "decode_batch", lambda self, ids: [spelt] * len(ids))
    assert [t.text for t in translator.translate(["Snow"])] == ["one two three"]


def test_a_line_that_is_too_long_is_truncated_with_a_warning(translator):
    num_subwords = len(translator.loaded.subwords.encode(" ".join(["dogs"] * 100)))
    (translation,) = translator.translate([" ".join(["dogs"] * 100)])
    message = f"source truncated from {num_subwords} to 40 subwords (decoding.max_source_tokens)"
    assert translation.warnings[0].startswith(message)
    assert translation.text == translator.translate([" ".join(["dogs"] * 200)])[0].text


def test_a_line_that_is_too_long_is_left_empty_if_the_settings_say_so(run_directory):
    overrides = ["decoding.over_long=empty", "decoding.max_source_tokens=5"]
    long, short = Translator(run_directory, device="cpu", overrides=overrides).translate(["dogs " * 100, "dogs"])
    assert (long.text, long.num_tokens) == ("", 0)
    assert long.warnings[0].startswith("left empty: ")
    assert long.warnings[0].endswith("subwords are more than decoding.max_source_tokens = 5")
    assert short.text


def test_a_translation_that_the_greatest_length_ends_says_so(run_directory):
    overrides = ["decoding.max_length_ratio=0.01", "decoding.max_length_extra=1"]
    translations = Translator(run_directory, device="cpu", overrides=overrides).translate(LINES)
    assert "cut off at 1 subwords (decoding.max_length_ratio)" in {w for t in translations for w in t.warnings}


def test_alternatives_are_other_texts_after_the_best(translator):
    best_only = translator.translate(LINES)
    assert all(translation.alternatives == () for translation in best_only)
    several = translator.translate(LINES, num_best=4)
    exact, numbers = reported(several)
    expected, expected_numbers = reported(best_only)
    assert exact == expected
    assert numbers == pytest.approx(expected_numbers, abs=1e-4)
    assert max(len(t.alternatives) for t in several) >= 2
    for translation in several:
        texts = [translation.text, *(other.text for other in translation.alternatives)]
        assert len(set(texts)) == len(texts) <= 4


def test_progress_counts_to_the_number_of_lines(translator):
    calls = []
    translator.translate(LINES, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("translate", len(LINES), len(LINES), "sentences")


def test_overrides_replace_the_settings_of_the_recipe(run_directory):
    assert Translator(run_directory, device="cpu", overrides=["decoding.beam_size=1"]).decoding.beam_size == 1
    assert Translator(run_directory, device="cpu").decoding.beam_size == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overrides": ["training.max_steps=2"]}, r"--set training\.max_steps=2: the run is trained"),
        ({"overrides": ["decoding.beam=2"]}, r"unknown setting decoding\.beam = 2; did you mean 'beam_size'"),
        ({"overrides": ["decoding.beam_size=0"]}, r"decoding\.beam_size = 0: it should be greater than 0"),
        ({"checkpoint": "7"}, r"no checkpoint '7'"),
        ({"device": "cuda:99"}, r"device 'cuda:99': this machine has \d+ CUDA devices"),
        ({"device": "gpu"}, r"device 'gpu': no such device"),
        ({"device": "meta"}, r"device 'meta': not supported"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_names_it(run_directory, arguments, message):
    with pytest.raises(UserError, match=message):
        Translator(run_directory, **{"device": "cpu", **arguments})


def test_a_directory_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="is not a run directory"):
        Translator(tmp_path, device="cpu")


def test_more_alternatives_than_the_beam_holds_are_an_error(translator):
    with pytest.raises(UserError, match=r"num_best = 5 is more than decoding\.beam_size = 4"):
        translator.translate(LINES, num_best=5)


def test_a_string_in_place_of_lines_is_a_mistake_and_not_so_many_letters(translator):
    with pytest.raises(ValueError, match=r"translate\(\[line\]\)"):
        translator.translate("Where is the station?")


# --------------------------------------------------------------------------------------------- over-long lines


@pytest.fixture(scope="module")
def splitter(run_directory):
    return Translator(
        run_directory, device="cpu", overrides=["decoding.over_long=split", "decoding.max_source_tokens=30"]
    )


SENTENCES = ["Two dogs play in the snow.", "Where is the station?", "Snow."]


def test_a_line_that_is_too_long_is_translated_sentence_by_sentence(splitter):
    line = " ".join(SENTENCES)
    num_subwords = len(splitter.loaded.subwords.encode(line))
    assert num_subwords > 30
    alone = splitter.translate(SENTENCES)
    (whole,) = splitter.translate([line])
    assert whole.text == " ".join(t.text for t in alone)
    assert whole.score == pytest.approx(sum(t.score for t in alone), abs=1e-4)
    assert whole.log_probability == pytest.approx(sum(t.log_probability for t in alone), abs=1e-4)
    assert whole.log_probability == pytest.approx(sum(whole.token_log_probabilities), abs=1e-4)
    assert whole.num_tokens == sum(t.num_tokens for t in alone) == len(whole.tokens)
    message = f"split into 3 parts: {num_subwords} subwords are more than decoding.max_source_tokens = 30"
    assert whole.warnings[0] == message


def test_a_very_long_line_comes_out_whole(splitter):
    line = " ".join(SENTENCES * 40)
    (translation,) = splitter.translate([line])
    assert translation.text.count(splitter.translate(["Snow."])[0].text) >= 40
    assert translation.warnings[0].startswith("split into 120 parts")


def test_the_alternatives_of_a_split_line_are_the_best_combinations(splitter):
    def translation(text, score):
        return Translation(text, score=score)

    first = [translation("a", -1.0), translation("b", -2.0)]
    second = [translation("c", -1.0), translation("d", -1.5), translation("e", -9.0)]
    third = [translation("f", -3.0), translation("g", -3.25)]
    # The slow way: all of them, sorted.
    combinations = [(x, y, z) for x in first for y in second for z in third]
    expected = sorted(combinations, key=lambda c: -sum(t.score for t in c))
    for num_best in (1, 2, 5, 12):
        assert best_combinations([first, second, third], num_best) == expected[:num_best]
    assert best_combinations([], 3) == [()]
    (line,) = splitter.translate([" ".join(SENTENCES)], num_best=3)
    assert 1 <= len(line.alternatives) <= 2
    assert line.text == splitter.translate([" ".join(SENTENCES)])[0].text


def test_a_text_that_scores_higher_anew_does_not_overtake_the_best(splitter):
    first = [Translation("a", score=-2.0), Translation("b", score=-1.0)]
    assert [t.text for (t,) in best_combinations([first], 2)] == ["a", "b"]


# ----------------------------------------------------------------------------------------- tokens, alignment


def test_every_token_has_its_log_probability(translator):
    for translation in translator.translate(LINES):
        assert len(translation.tokens) == len(translation.token_log_probabilities) == translation.num_tokens
        assert sum(translation.token_log_probabilities) == pytest.approx(translation.log_probability, abs=1e-4)
        if translation.tokens:
            *subwords, end = translation.tokens
            assert end == "</s>"
            ids = [translator.loaded.subwords.pieces.index(piece) for piece in subwords]
            assert decode_line(ids, translator.loaded.subwords) == translation.text


def test_links_are_within_the_words_of_both_lines(translator):
    lines = ["Two dogs \u200b play", *LINES]
    translations = translator.translate(lines, with_alignment=True, num_best=2)
    assert any(t.alignment for t in translations)
    for line, best in zip(lines, translations, strict=True):
        for translation in (best, *best.alternatives):
            for source, target in translation.alignment:
                assert normalise_line(line.split()[source])  # never the word that is only a zero-width space
                assert target < len(translation.text.split())
    assert all(t.alignment == () for t in translator.translate(lines))


def test_a_line_with_the_sign_for_a_space_has_links(translator, splitter):
    lines = ["Two dogs▁play in the snow.", "a ▁ b", "▁", " ".join(["Two▁dogs play."] * 6)]
    for found in (translator.translate(lines, with_alignment=True), splitter.translate(lines, with_alignment=True)):
        for line, translation in zip(lines, found, strict=True):
            assert all(source < len(line.split()) for source, _ in translation.alignment)


def test_a_prefix_or_phrase_that_the_vocabulary_cannot_write_is_left_out_with_a_warning(translator, monkeypatch):
    encode = line_constraints.encode_targets

    def without_japanese(lines, subwords):
        return [[UNK] if "日" in line else ids for line, ids in zip(lines, encode(lines, subwords), strict=True)]

    monkeypatch.setattr(line_constraints, "encode_targets", without_japanese)
    asked = [Request("Snow.", prefix="日本"), Request("Snow.", phrases=("日本", "a")), Request("Snow.", phrases=("a",))]
    plain, *found = translator.translate(["Snow.", *asked])
    assert found[0].text == plain.text
    assert found[1].text == found[2].text
    message = "the vocabulary cannot write '日本', which is left out"
    assert [message in translation.warnings for translation in found] == [True, True, False]


def test_links_come_from_the_attention_of_the_search(translator, monkeypatch):
    seen = []

    def search_all(*arguments, **options):
        seen.append(search(*arguments, **options))
        return seen[-1]

    search = translator_module.search_all
    monkeypatch.setattr(translator_module, "search_all", search_all)
    line = "Two dogs play in the snow."
    (translation,) = translator.translate([line], with_alignment=True)
    hypothesis = seen[0][0][0]
    subwords = translator.loaded.subwords
    source_words = words_of_subwords(subwords.encode(line), subwords.pieces)
    target_words = words_of_subwords(hypothesis.ids, subwords.pieces)
    assert translation.alignment == align_words(hypothesis.attention, source_words, target_words) != ()
    # The attention is that of the model, step by step.
    with torch.inference_mode():
        model, state = translator.loaded.model, None
        source_BS, lengths_B = pad_with_eos([subwords.encode(line)])
        state = model.initial_state(model.encode(source_BS, lengths_B))
        for row_S, token in zip(hypothesis.attention, [BOS, *hypothesis.ids], strict=True):
            _, attention_BS, state = model.decode_step(torch.tensor([token]), state)
            assert row_S.tolist() == pytest.approx(attention_BS[0].tolist(), abs=1e-5)


def test_a_request_becomes_a_task_of_the_search(translator, splitter, monkeypatch):
    seen = []

    def search_all(model, sources, options, *, tasks, **others):
        seen.extend(tasks)
        return [[NOTHING] for _ in sources]

    monkeypatch.setattr(translator_module, "search_all", search_all)
    encode = splitter.loaded.subwords.encode
    long = " ".join(SENTENCES)
    requests = [
        "Snow",
        Request("Two dogs", prefix="Un\thomme", phrases=("la neige", " "), number=7),
        Request(" ", prefix="Un", number=8),
        Request(long, prefix="Un", number=9),
        Request(long, phrases=("Un",), number=10),
    ]
    blank = splitter.translate(requests)[2]
    assert blank.warnings == ("there is nothing to translate, so its prefix and phrases are left out",)
    snow, un, un_homme = (tuple(encode(text)) for text in ("la neige", "Un", "Un homme"))
    # Which part a phrase belongs to is not known, so a line with phrases is not split.
    assert [(task.prefix_ids, len(task.phrases), task.number) for task in seen] == [
        ((), 0, 0), (un_homme, 1, 7), (un, 0, 9), ((), 0, 9), ((), 0, 9), ((), 1, 10)
    ]  # fmt: skip
    for task, phrase in ((seen[1], snow), (seen[-1], un)):
        assert task.phrases.num_missing(task.phrases.after(phrase[:-1])) == 1
        assert task.phrases.num_missing(task.phrases.after(phrase)) == 0


def test_lines_of_a_stream_have_their_numbers_in_all_of_it(translator, monkeypatch):
    numbers = []

    def translate(self, requests, *arguments, **options):
        numbers.extend(request.number for request in requests)
        return [Translation("") for _ in requests]

    monkeypatch.setattr(Translator, "translate", translate)
    monkeypatch.setattr(translator_module, "WINDOW_LINES", 3)
    assert len(list(translator.stream(iter([*LINES[:7], Request("x", number=99)])))) == 8
    assert numbers == [*range(7), 99]


def test_the_links_of_a_split_line_are_those_of_its_parts_moved(splitter):
    alone = splitter.translate(SENTENCES, with_alignment=True)
    (whole,) = splitter.translate([" ".join(SENTENCES)], with_alignment=True)
    expected, source_words, target_words = [], 0, 0
    for sentence, translation in zip(SENTENCES, alone, strict=True):
        expected += [(source_words + i, target_words + j) for i, j in translation.alignment]
        source_words += len(sentence.split())
        target_words += len(translation.text.split())
    assert whole.alignment == tuple(expected) != ()


def test_the_parts_of_a_line_know_their_first_word(splitter):
    line = "one, two three " + "x" * 90 + " four"
    (source,) = divide_sources([line], splitter.loaded.subwords, splitter.decoding, splitter.loaded.recipe.data)
    assert len(source.parts) > 3
    words = line.split()
    for part in source.parts:
        assert part.text.split()[0] in words[part.word_number]
        assert splitter.loaded.subwords.encode(part.text) == part.ids
    assert source.parts[-1].word_number == (3 if source.parts[-1].text.startswith("x") else 4)


# ------------------------------------------------------------------------------------------------ languages


def test_a_multilingual_model_warns_of_a_line_whose_language_token_it_lacks(translator, monkeypatch):
    source = {"format": "text", "source_file": {"path": "x"}, "target_file": {"path": "y"}}
    sources = [source | {"name": d, "direction": d} for d in ("en-fr", "en-de", "de-fr")]
    settings = translator.loaded.recipe.model_dump(mode="json", exclude_none=True)
    settings["data"] |= {"source_language": "mul", "target_language": "mul", "multilingual": {}}
    settings["data"] |= {"train": sources, "valid": sources[:1], "test": sources[:1]}
    multilingual = translator.loaded._replace(recipe=recipe_from_dict(settings, Path("mul.toml")))
    assert missing_language("Snow", translator.loaded.recipe.data) == ""
    monkeypatch.setattr(translator, "loaded", multilingual)
    lines = ["<2fr> Snow", " <2de>  Two dogs", "", "<2es> Snow", "Snow"]
    warnings = [[w for w in t.warnings if "language" in w] for t in translator.translate(lines)]
    told = "the language is left to chance: {} the vocabulary's language tokens, <2de>, <2fr>"
    expected = [told.format("<2es> is none of"), told.format("it begins with none of")]
    assert warnings == [[], [], [], [expected[0]], [expected[1]]]
