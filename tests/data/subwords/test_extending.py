"""Vocabularies that keep what they have, and get more behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, train_subwords
from mtmoe.data.subwords.vocabularies import load_vocabulary, make_vocabulary
from mtmoe.errors import UserError

ENGLISH = ["the old red house sees a big green tree", "one dog eats two cats", "the houses and the trees"] * 30
GERMAN = ["das alte rote haus sieht einen großen baum", "ein hund frisst zwei katzen", "die bäume am haus"] * 30


def extended(folder: Path, algorithm: Any, **settings: Any) -> tuple[SubwordModel, SubwordModel]:
    """Learn English subwords, and extend them by German ones."""
    train_subwords(ENGLISH, Subwords(vocabulary_size=288, algorithm=algorithm), folder / "old.model", 1)
    more = Subwords(vocabulary_size=288, algorithm=algorithm, extends=str(folder / "old.model"), **settings)
    return SubwordModel(folder / "old.model"), SubwordModel(make_vocabulary(GERMAN, more, folder, 1))


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_old_subwords_keep_their_ids_and_the_new_language_is_split_into_larger_ones(tmp_path, algorithm):
    old, new = extended(tmp_path, algorithm)
    assert new.pieces[: old.size] == old.pieces
    assert len(set(new.pieces)) == new.size > old.size
    assert sum(map(len, new.encode_batch(GERMAN))) < 0.8 * sum(map(len, old.encode_batch(GERMAN)))
    for model in (old, new):
        assert model.decode_batch(model.encode_batch(GERMAN + ENGLISH)) == GERMAN + ENGLISH
    again = tmp_path / "again"
    again.mkdir()
    assert extended(again, algorithm)[1].path.read_bytes() == new.path.read_bytes(), "the same bytes each time"


def test_merges_of_the_old_text_come_before_new_ones(tmp_path):
    old, new = extended(tmp_path, "bpe")
    assert new.encode_batch(ENGLISH) == old.encode_batch(ENGLISH)


def test_languages_can_be_added_by_their_tokens(tmp_path):
    old, new = extended(tmp_path, "unigram", user_symbols=("<2de>",))
    added = [new.pieces[number] for number in new.encode("<2de> haus")]
    assert "<2de>" in added
    assert "<2de>" not in old.pieces


def test_lists_of_words_are_extended_as_well(tmp_path):
    settings: dict[str, Any] = {"algorithm": "word", "byte_fallback": False}
    (tmp_path / "old").mkdir()
    old = make_vocabulary(["d b d a b e d"], Subwords(vocabulary_size=8, **settings), tmp_path / "old", 1)
    more = Subwords(vocabulary_size=8, extends=str(old), **settings)
    words = load_vocabulary(make_vocabulary(["c b f c g"], more, tmp_path, 1)).pieces
    assert words[4:] == ["d", "b", "a", "e", "c", "f", "g"]


def test_what_cannot_be_extended_is_told(tmp_path):
    old, _ = extended(tmp_path, "unigram")
    with pytest.raises(UserError, match=r'old.model: is a model of the algorithm unigram, but .*algorithm = "bpe"'):
        make_vocabulary(GERMAN, Subwords(vocabulary_size=300, algorithm="bpe", extends=str(old.path)), tmp_path, 1)
    with pytest.raises(UserError, match=r"subwords.extends = 'gone.model': no such file"):
        make_vocabulary(GERMAN, Subwords(extends="gone.model"), tmp_path, 1)
    with pytest.raises(UserError, match="vocabulary_size = 5000 is too large for this text"):
        make_vocabulary(GERMAN, Subwords(vocabulary_size=5000, extends=str(old.path)), tmp_path, 1)
    with pytest.raises(ValidationError, match="are two vocabularies"):
        Subwords(file="a", extends="b")
    with pytest.raises(ValidationError, match="does nothing without extends"):
        Subwords(extended_by="target")
