"""Vectors of a new vocabulary: those of the old one, or means of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, train_subwords
from mtmoe.data.subwords.word_vocabulary import WordVocabulary
from mtmoe.errors import UserError
from mtmoe.training.start.vocabulary_change import vocabulary_change

ENGLISH = ["the old red house sees a big green tree", "one dog eats two cats", "the houses and the trees"] * 30
GERMAN = ["das alte rote haus sieht einen großen baum", "ein hund frisst zwei katzen", "die bäume am haus"] * 30


def learned(directory: Path, name: str, text: list[str], **settings: object) -> SubwordModel:
    path = directory / f"{name}.model"
    train_subwords(text, Subwords(vocabulary_size=296, algorithm="bpe", **settings), path, 1)  # type: ignore[arg-type]
    return SubwordModel(path)


def test_each_row_is_what_a_loop_over_the_subwords_makes_of_it(tmp_path):
    old, new = learned(tmp_path, "old", ENGLISH), learned(tmp_path, "new", GERMAN)
    old_VD, fresh_VD = torch.randn(old.size, 6), torch.randn(new.size, 6)
    change = vocabulary_change(old, new)
    found_VD = change.applied(old_VD, fresh_VD)
    num_same = 0
    for number, piece in enumerate(new.pieces):
        if piece in old.pieces:
            num_same += 1
            assert torch.equal(found_VD[number], old_VD[old.pieces.index(piece)]), piece
            continue
        # Behind another word the piece is spelt as it stands: no space is put in front of it.
        inside = old.encode(f"x{piece.replace(chr(0x2581), ' ')}")[len(old.encode("x")) :]
        torch.testing.assert_close(found_VD[number], old_VD[inside].mean(0), msg=piece)
    assert (change.num_same, change.num_left, change.num_random) == (num_same, old.size - num_same, 0)
    assert change.num_mean == new.size - num_same > 10
    assert num_same > 270  # bytes and letters


def test_a_subword_of_unknown_letters_begins_at_random(tmp_path):
    old = learned(tmp_path, "old", ENGLISH * 20, byte_fallback=False, user_symbols=tuple(f"<{n}>" for n in range(250)))
    new = learned(tmp_path, "new", GERMAN)
    change = vocabulary_change(old, new)
    fresh_VD = torch.randn(new.size, 3)
    found_VD = change.applied(torch.randn(old.size, 3), fresh_VD)
    place = new.pieces.index("ß")
    assert not change.old_rows[place]
    assert torch.equal(found_VD[place], fresh_VD[place])
    assert change.num_random == sum(not rows for rows in change.old_rows) > 0


def test_vocabularies_without_a_common_subword_are_refused(tmp_path):
    old = learned(tmp_path, "old", ENGLISH)
    (tmp_path / "words.txt").write_text("<pad>\n<unk>\n<s>\n</s>\nhaus\n", encoding="utf-8")
    words = WordVocabulary(tmp_path / "words.txt")
    with pytest.raises(UserError, match="have no subword in common"):
        vocabulary_change(old, words)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "words.txt").write_text("<pad>\n<unk>\n<s>\n</s>\nbaum\nhaus\n", encoding="utf-8")
    change = vocabulary_change(words, WordVocabulary(tmp_path / "more" / "words.txt"))
    assert change.old_rows == ((0,), (1,), (2,), (3,), (), (4,))
