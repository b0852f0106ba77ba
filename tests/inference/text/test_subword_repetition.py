"""Subwords that may not follow: each fast way against trying every subword."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtmoe.data.repetition import OF_TEXT, OF_WORDS, has_stutter, limits_after
from mtmoe.data.words import words_of
from mtmoe.inference.text.spelling import spelling
from mtmoe.inference.text.subword_repetition import Repetition, SubwordLetters, SubwordTexts, TextRepetition
from tests.data.slow_loops import too_often

SUBWORDS = SubwordLetters([b",", b" a", b"bcd", b" efghi", b" jklmnopqr"])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(range(5)), max_size=14), st.lists(st.sampled_from(range(5)), max_size=6))
@example([2, 2, 2, 1, 2], [])  # two words that stood together but once are a chain
def test_a_word_is_banned_just_where_it_would_complete_a_loop(ids, source):
    limits = limits_after(source, SUBWORDS.measures)
    if too_often(tuple(ids), SUBWORDS.measures, limits):
        return
    expected = {word for word in range(5) if too_often((*ids, word), SUBWORDS.measures, limits)}
    assert Repetition(source, SUBWORDS).looping_words(tuple(ids)) == expected


SIGNS = ["", "漢", "字", "漢字", "字漢", "漢字漢", "の", "のの", "、", "a", " a", "の漢"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(range(len(SIGNS))), max_size=9))
def test_a_subword_of_several_words_is_banned_just_where_it_would_complete_a_loop(ids):
    def loops(text: str, limits=OF_TEXT) -> bool:
        return has_stutter(text) or too_often(tuple(words_of(text)), OF_WORDS, limits)

    text = "".join(SIGNS[i] for i in ids)
    if loops(text):
        return
    expected = {i for i, sign in enumerate(SIGNS) if loops(text + sign)}
    found = TextRepetition("x", SubwordTexts(SIGNS)).looping_words(ids)
    assert found <= expected
    no_chains = OF_TEXT._replace(may_chain=True)
    assert found >= {i for i in expected if len(words_of(SIGNS[i])) == 1 or loops(text + SIGNS[i], no_chains)}


def test_a_subword_of_several_known_words_is_banned_where_it_would_complete_a_chain():
    texts = SubwordTexts(["の", "漢", "の漢", "漢の", "の字", "字"])
    ids = [0, 1, 0, 0]
    assert TextRepetition("x", texts).looping_words(ids) == {2, 3}


PIECES = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "<0x41>",
    "<0xC3>",
    "<0xA9>",
    "▁",
    "▁the",
    "▁Wo",
    "men",
    "▁women",
    "▁talk",
    "s",
    ",",
]
SPELT = ["", "", "", "", "A", "?", "?", " ", " the", " Wo", "men", " women", " talk", "s", ","]


def ids_of(*pieces: str) -> tuple[int, ...]:
    return tuple(PIECES.index(piece) for piece in pieces)


def test_by_their_text_phrases_are_the_same_in_other_subwords_and_another_case():
    repetition = TextRepetition("x", SubwordTexts(SPELT))
    assert repetition.looping_words(ids_of("▁the", "▁women", "▁the")) == set(ids_of("▁women"))
    assert repetition.looping_words(ids_of("▁the", "▁women", ",", "▁the", "▁Wo")) == set(ids_of("men"))
    assert repetition.looping_words(ids_of("▁the", "▁women", "▁talk")) == frozenset()
    assert repetition.looping_words(()) == frozenset()
    allowing = TextRepetition("the women, the women", SubwordTexts(SPELT))
    assert allowing.looping_words(ids_of("▁the", "▁women", "▁the")) == frozenset()


STUTTERS = ["lo", "ol", "l", "o", "lolo", "x", ":", "::", "1", " lo"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(range(len(STUTTERS))), max_size=9))
def test_subwords_that_complete_a_stutter_are_banned(ids):
    text = "".join(STUTTERS[i] for i in ids)
    if has_stutter(text):
        return
    expected = {i for i, signs in enumerate(STUTTERS) if has_stutter(text + signs)}
    found = TextRepetition("x", SubwordTexts(STUTTERS)).looping_words(ids)
    assert expected <= found
    assert not TextRepetition("hahahahahahaha", SubwordTexts(STUTTERS)).looping_words([0, 0, 0, 0, 0])


def test_letters_and_words_of_subwords_are_counted_and_bytes_once_a_character():
    subwords = SubwordLetters([spelling(piece_id, PIECES) for piece_id in range(len(PIECES))])
    assert subwords.letters_of == [0, 0, 0, 0, 1, 1, 0, 0, 3, 2, 3, 5, 4, 1, 0]
    assert subwords.words_of == [0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0]
    assert subwords.num_words(ids_of("▁the", "▁Wo", "men")) == 2
    assert subwords.num_words(ids_of("s")) == 1, "one word, however often it stands there"
    assert subwords.num_words(ids_of("▁", "<0xC3>", "<0xA9>", "s", ",")) == 1


def test_characters_of_bytes_are_no_chain_because_they_begin_with_the_same_byte():
    pieces = [*PIECES[:4], "<0xD0>", *(f"<0x{byte:02X}>" for byte in range(0xB0, 0xBC))]
    subwords = SubwordLetters([spelling(piece_id, pieces) for piece_id in range(len(pieces))])
    ids = [piece for number in range(12) for piece in (4, 5 + number)]
    repetition = Repetition([], subwords)
    assert not any(ids[place] in repetition.looping_words(ids[:place]) for place in range(len(ids)))
