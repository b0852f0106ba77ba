"""Extending: a vocabulary keeps all its entries with their ids, and those of another text come behind them.

Text of the languages that it was made for is split as before, but where a new subword is more likely.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, learned_subwords
from mtmoe.data.subwords.word_vocabulary import WordVocabulary, frequent_words, words_file_content
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.readable_files import read_bytes

_HALF = math.log(0.5)
"""Logarithm of the share that new subwords have: a text is as likely of the old vocabulary as of the new one."""


def extended_subwords(
    old: SubwordModel, sentences: Iterable[str], settings: Subwords, seed: int, progress: Progress = silent
) -> bytes:
    """Return a SentencePiece model with all subwords of ``old``, and behind them those that are learned from sentences
    and that it has not.

    Args:
        settings: ``vocabulary_size`` is the number that is learned, those included that are in ``old``.

    Raises:
        UserError: ``old`` is of another algorithm; as :func:`mtmoe.data.subwords.sentencepiece_model.train_subwords`.
    """
    from sentencepiece import sentencepiece_model_pb2

    extended, learned = sentencepiece_model_pb2.ModelProto(), sentencepiece_model_pb2.ModelProto()
    extended.ParseFromString(read_bytes(old.path))
    kinds = {"unigram": extended.trainer_spec.UNIGRAM, "bpe": extended.trainer_spec.BPE}
    if extended.trainer_spec.model_type != kinds[settings.algorithm]:
        other = next((name for name, kind in kinds.items() if kind == extended.trainer_spec.model_type), "another one")
        raise UserError(
            f'{old.path}: is a model of the algorithm {other}, but subwords.algorithm = "{settings.algorithm}"',
            fix=f'set subwords.algorithm = "{other}"' if other in kinds else "leave subwords.extends out",
        )
    learned.ParseFromString(learned_subwords(sentences, settings, seed, progress))
    had = set(old.pieces)
    of_text = (extended.SentencePiece.NORMAL, extended.SentencePiece.USER_DEFINED)
    new = [piece for piece in learned.pieces if piece.type in of_text and piece.piece not in had]
    lowest = min(piece.score for piece in extended.pieces)
    for rank, piece in enumerate(new, 1):
        # Merges of BPE are made in the order of their scores: the old ones first.
        score = lowest - rank if settings.algorithm == "bpe" else piece.score + _HALF
        extended.pieces.add(piece=piece.piece, score=score, type=piece.type)
    extended.trainer_spec.vocab_size = len(extended.pieces)
    content: bytes = extended.SerializeToString(deterministic=True)
    return content


def extended_words(
    old: WordVocabulary, sentences: Iterable[str], settings: Subwords, progress: Progress = silent
) -> bytes:
    """Return the file of a list with all words of ``old``, and behind them the frequent ones of sentences that it has
    not; raise as :func:`mtmoe.data.subwords.word_vocabulary.frequent_words`."""
    return words_file_content(dict.fromkeys((*old.pieces, *frequent_words(sentences, settings, progress))))
