"""Word-level vocabularies."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords.vocabularies import load_vocabulary, make_vocabulary, vocabulary_file
from mtmoe.data.subwords.word_vocabulary import WordVocabulary, count_words
from mtmoe.errors import UserError
from mtmoe.vocabulary import EOS, NUM_SPECIAL, UNK


def settings(size: int) -> Subwords:
    # A vocabulary of fewer than 64 is for tests alone.
    return Subwords.model_construct(algorithm="word", vocabulary_size=size)


def made(tmp_path: Path, sentences: list[str], num_words: int) -> WordVocabulary:
    count_words(sentences, settings(num_words + NUM_SPECIAL), tmp_path / "words.txt")
    return WordVocabulary(tmp_path / "words.txt")


def test_the_most_frequent_words_are_taken_and_equally_frequent_ones_by_the_alphabet(tmp_path):
    vocabulary = made(tmp_path, ["b a c", "c a b", "c d", "e f"], 4)
    assert vocabulary.pieces[NUM_SPECIAL:] == ["c", "a", "b", "d"]


def test_a_word_that_is_not_in_the_list_is_unknown_and_comes_back_as_such(tmp_path):
    vocabulary = made(tmp_path, ["the cat", "the dog"], 2)
    ids = vocabulary.encode("the dog saw the cat")
    assert ids == [NUM_SPECIAL, UNK, UNK, NUM_SPECIAL, NUM_SPECIAL + 1]
    assert vocabulary.decode([*ids, EOS]) == "the <unk> <unk> the cat"


def test_the_texts_own_unk_is_the_unknown_word_and_other_special_words_are_not_special(tmp_path):
    vocabulary = made(tmp_path, ["<unk> <unk> a </s> </s> b"], 2)
    assert vocabulary.pieces[NUM_SPECIAL:] == ["a", "b"]
    assert vocabulary.encode("<unk> </s> a <pad>") == [UNK, UNK, NUM_SPECIAL, UNK]


def test_too_few_words_name_both_numbers(tmp_path):
    with pytest.raises(
        UserError, match=r"vocabulary_size = 9 .* has 2 different words, with 4 special ids 6"
    ) as raised:
        made(tmp_path, ["a b"], 5)
    assert "to 6 or less" in str(raised.value)
    assert not (tmp_path / "words.txt").exists()


def test_a_file_that_is_no_list_of_words_is_an_error(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="not a list of words"):
        WordVocabulary(tmp_path / "words.txt")


def test_a_directory_tells_which_kind_it_has(tmp_path):
    path = make_vocabulary(["a b"], settings(6), tmp_path, seed=1)
    assert path == vocabulary_file(tmp_path) == tmp_path / "words.txt"
    loaded = load_vocabulary(path)
    assert isinstance(loaded, WordVocabulary)
    assert pickle.loads(pickle.dumps(loaded)).pieces == loaded.pieces
    assert vocabulary_file(tmp_path / "elsewhere").name == "subwords.model"
