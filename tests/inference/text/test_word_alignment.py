"""Word alignments against their definition, written out in loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, train_subwords
from mtmoe.inference.text.word_alignment import align_words, pharaoh, word_numbers, words_of_subwords
from mtmoe.vocabulary import UNK

SENTENCES = ["the old station is closed", "a man rides a bicycle", "two dogs play in the snow", "où est la gare ?"] * 4


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    from mtmoe.config.settings import Subwords

    path = tmp_path_factory.mktemp("subwords") / "a.model"
    train_subwords(SENTENCES, Subwords(vocabulary_size=285, user_symbols=("<ph>",)), path, seed=1)
    return SubwordModel(path)


def links_by_definition(attention, source_words, target_words):
    """For each target word: the source word with the largest mean of sums, unless the rest has more."""
    links = []
    for target in sorted({word for word in target_words if word is not None}):
        rows = [row for row, word in enumerate(target_words) if word == target]
        masses = {}
        for column in range(len(source_words) + 1):
            word = source_words[column] if column < len(source_words) else None
            masses[word] = masses.get(word, 0.0) + sum(float(attention[row][column]) for row in rows) / len(rows)
        nothing = masses.pop(None)
        best = max(masses.values(), default=0.0)
        if best >= nothing and best > 0:
            links.append((min(word for word in masses if masses[word] == best), target))
    return tuple(links)


def word_rows(draw_words):
    """Rising word numbers of subwords, some of them None."""
    words, number = [], 0
    for is_none, begins in draw_words:
        number += bool(begins and any(word is not None for word in words))
        words.append(None if is_none else number)
    used = sorted({word for word in words if word is not None})
    return [None if word is None else used.index(word) for word in words]


rows = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6).map(word_rows)


@given(rows, rows, st.integers(0, 1000))
def test_links_are_those_of_the_definition(source_words, target_words, seed):
    # Multiples of 60, so that means over up to six subwords are exact and ties are ties.
    generator = torch.Generator().manual_seed(seed)
    shape = (len(target_words) + 1, len(source_words) + 1)
    attention_TS = 60.0 * torch.randint(0, 4, shape, generator=generator)
    expected = links_by_definition(attention_TS.tolist(), source_words, target_words)
    assert align_words(attention_TS, source_words, target_words) == expected


def test_the_subwords_of_a_word_count_together():
    # Word 0 of the source has two subwords with 0.3 each, word 1 one with 0.35.
    attention_TS = torch.tensor([[0.3, 0.3, 0.35, 0.05], [0.0, 0.0, 0.0, 1.0]])
    assert align_words(attention_TS, [0, 0, 1], [0]) == ((0, 0),)
    assert align_words(attention_TS, [0, 1, 2], [0]) == ((2, 0),)


def test_the_subwords_of_a_translated_word_vote_by_their_mean():
    attention_TS = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    assert align_words(attention_TS, [0, 1], [0, 0]) == ((1, 0),)
    assert align_words(attention_TS, [0, 1], [0, 1]) == ((0, 0), (1, 1))


def test_a_word_that_attends_to_the_end_of_the_source_has_no_link():
    attention_TS = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.1, 0.4], [0.0, 0.0, 1.0]])
    assert align_words(attention_TS, [0, 1], [0, 1]) == ((0, 1),)


def test_an_attention_of_another_shape_is_a_mistake():
    with pytest.raises(ValueError, match=r"attention has shape \(2, 2\), but the subwords ask for \(2, 3\)"):
        align_words(torch.zeros(2, 2), [0, 1], [0])


@given(st.text(alphabet="abdostr é中ß\u0301\u200b\u3000<>", max_size=30))
def test_subwords_spell_the_words_that_they_belong_to(subwords, text):
    line = normalise_line(text)
    ids = subwords.encode(line)
    words = words_of_subwords(ids, subwords.pieces)
    assert {word for word in words if word is not None} == set(range(len(line.split())))
    for number, word in enumerate(line.split()):
        spelt = subwords.decode([piece for piece, owner in zip(ids, words, strict=True) if owner == number])
        assert spelt.strip() == word


def test_bytes_that_spell_white_space_or_nothing_divide_as_the_text_that_is_shown(subwords):
    ids_of = {piece: number for number, piece in enumerate(subwords.pieces)}
    line_feed, zero_width = [ids_of["<0x0A>"]], [ids_of[f"<0x{byte:02X}>"] for byte in "\u200b".encode()]
    a, b = subwords.encode("a"), subwords.encode("b")[-1:]
    ids = [*a, *line_feed, *zero_width, *line_feed, *b]
    assert normalise_line(subwords.decode(ids)) == "a b"
    assert words_of_subwords(ids, subwords.pieces) == [*[0] * len(a), None, None, None, None, 1, 1]


def test_an_unknown_character_is_part_of_its_word(subwords):
    a, b = subwords.encode("a"), subwords.encode("b")
    assert words_of_subwords([*a, UNK, *b], subwords.pieces) == [0] * (len(a) + 1) + [1] * len(b)


def test_words_that_normalising_removes_keep_their_numbers():
    assert word_numbers("a \u200b  b\tc \ufeff") == [0, 2, 3]


@pytest.mark.parametrize("text", ["The cat▁sat on", "a ▁ b", "a▁▁b", "▁a", "a▁"])
def test_the_sign_for_a_space_divides_words_for_the_model_and_not_for_the_line(subwords, text):
    numbers = word_numbers(text)
    words = words_of_subwords(subwords.encode(normalise_line(text)), subwords.pieces)
    assert len({word for word in words if word is not None}) == len(numbers)
    spelt = text.replace("▁", " ").split()
    assert all(part in text.split()[number] for number, part in zip(numbers, spelt, strict=True))


def test_the_pharaoh_format_is_source_then_target():
    assert pharaoh(((2, 0), (0, 1))) == "2-0 0-1"
    assert pharaoh(()) == ""
