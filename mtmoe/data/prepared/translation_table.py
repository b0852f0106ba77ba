"""How likely subwords translate each other, in both directions: by this, attention is guided in training.

The model is IBM model 1 (Brown et al. 1993) with a prior for places near the diagonal (Dyer, Chahuneau and Smith 2013):
a target subword at place j of T is made by the source subword at place i of S with probability proportional to
p(target | source) exp(-4 |i/S - j/T|), or by none; and the other way round. The tables of both directions are learned
by EM, in a few readings of the training pairs each. Pairs are read chunk by chunk, and a table is cut where it would
outgrow its bound: the least likely go first.

Letters: N tokens of the side that is made, of some pairs, one after the other, L links (such a token
and one subword of the other side of its pair, or none), P different pairs of subwords.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.data.prepared.pair_chunks import chunks_of_pairs, sampled_pairs
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.readable_files import read_bytes
from mtmoe.system.safetensors_files import save_tensors
from mtmoe.vocabulary import PAD

TRANSLATION_TABLE_NAME = "translation_table.safetensors"
NOTHING = PAD
"""The subword that stands for none."""
SHARE_OF_NOTHING = 0.08  # prior that a subword is made by none of the other side, as in the paper of 2013
DIAGONAL_TENSION = 4.0
MOST_LINKS = 1 << 26  # in all: of a larger corpus every n-th pair is read
LINKS_AT_ONCE = 1 << 21
MOST_PAIRS_OF_SUBWORDS = 1 << 24
_NUM_READINGS = 3  # a fourth finds no more of the links that both directions of eflomal agree on
_LEAST_PROBABILITY = 1e-3
_RENEW = "make the data directory anew with `mtmoe preprocess`"


class TranslationTable(NamedTuple):
    """forward_P: p(target | source), and backward_P: p(source | target), both float32, of the subwords source_P and
    target_P (int32, in ascending order of the one and then of the other; ``NOTHING`` for none). What is less than 0.001
    is 0, and what is 0 in both directions is left out."""

    source_P: np.ndarray
    target_P: np.ndarray
    forward_P: np.ndarray
    backward_P: np.ndarray


NO_TRANSLATIONS = TranslationTable(
    *(np.zeros(0, np.int32) for _ in range(2)), *(np.zeros(0, np.float32) for _ in range(2))
)
"""A table without any pair."""


def learn_translation_table(corpus: ParallelCorpus, progress: Progress = silent) -> TranslationTable:
    """Learn a table from the corpus: the same one for the same corpus, in bounded memory."""
    size, num_read = corpus.vocabulary_size, 0

    def tell(num_pairs: int) -> None:
        progress("translations", num_read + num_pairs, 2 * _NUM_READINGS * len(corpus), "pairs")

    forward_keys, forward = _learned(corpus.source, corpus.target, corpus, tell)
    num_read = _NUM_READINGS * len(corpus)
    backward_keys, backward = _learned(corpus.target, corpus.source, corpus, tell)
    target_P, source_P = np.divmod(backward_keys, size)
    backward_keys = source_P * size + target_P
    keys_P = np.union1d(forward_keys, backward_keys)
    both = np.zeros((2, len(keys_P)), np.float32)
    both[0, np.searchsorted(keys_P, forward_keys)] = forward
    both[1, np.searchsorted(keys_P, backward_keys)] = backward
    source_P, target_P = np.divmod(keys_P, size)
    return TranslationTable(source_P.astype(np.int32), target_P.astype(np.int32), both[0], both[1])


def _learned(
    given: Callable[[int], np.ndarray],
    made: Callable[[int], np.ndarray],
    corpus: ParallelCorpus,
    tell: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return p(made | given) by EM: given x vocabulary size + made, in ascending order, and the probability of each."""
    size = corpus.vocabulary_size
    pairs = sampled_pairs(corpus, MOST_LINKS)
    keys_P, count_P = np.zeros(0, np.int64), np.zeros(0)
    probability_P: np.ndarray | None = None
    for reading in range(_NUM_READINGS):
        if reading:
            count_P = np.zeros(len(keys_P))
        for chunk in chunks_of_pairs(corpus, pairs, LINKS_AT_ONCE):
            links = _links_of([given(i) for i in chunk], [made(i) for i in chunk], size)
            if probability_P is None:
                share_L = links.shares(np.ones(len(links.key_L)))
                unique, place_L = np.unique(links.key_L, return_inverse=True)
                keys_P, count_P = _merged(keys_P, count_P, unique, np.bincount(place_L, share_L))
            else:
                place_L = np.searchsorted(keys_P, links.key_L).clip(max=len(keys_P) - 1)
                is_known_L = keys_P[place_L] == links.key_L  # some may have been cut
                share_L = links.shares(np.where(is_known_L, probability_P[place_L], 0.0))
                count_P += np.bincount(place_L, share_L, minlength=len(keys_P))
            tell(reading * len(corpus) + int(chunk[-1]))
        given_P = keys_P // size
        total_V = np.bincount(given_P, count_P, minlength=size)
        probability_P = np.divide(count_P, total_V[given_P], out=np.zeros_like(count_P), where=count_P > 0)
    tell(_NUM_READINGS * len(corpus))
    assert probability_P is not None
    is_kept_P = probability_P >= _LEAST_PROBABILITY
    return keys_P[is_kept_P], probability_P[is_kept_P]


def save_translation_table(path: Path, table: TranslationTable) -> None:
    """Write it, so that what has the name is complete."""
    save_tensors(path, table._asdict())


def load_translation_table(path: Path, vocabulary_size: int) -> TranslationTable:
    """Read what :func:`save_translation_table` wrote.

    Raises:
        UserError: it is not there, is damaged, or belongs to a larger vocabulary.
    """
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file, and training.guided_alignment needs it (older versions made none)",
            fix=f"{_RENEW}, or --set training.guided_alignment=false",
        )
    try:
        stored = load(read_bytes(path))
        table = TranslationTable(*(stored[key] for key in TranslationTable._fields))
        _check(table, vocabulary_size)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged: {error}", fix=_RENEW) from None
    return table


def _check(table: TranslationTable, vocabulary_size: int) -> None:
    for name, array in table._asdict().items():
        expected = np.int32 if name in ("source_P", "target_P") else np.float32
        if array.dtype != expected or array.shape != (len(table.source_P),):
            raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}")
        if array.dtype == np.int32 and array.size and not 0 <= int(array.min()) <= int(array.max()) < vocabulary_size:
            raise ValueError(f"{name} has ids from {array.min()} to {array.max()}, the vocabulary {vocabulary_size}")


class _Links(NamedTuple):
    """key_L: given x vocabulary size + made. token_L: which of the N that are made. prior_L: sums to 1 over the links
    of one."""

    key_L: np.ndarray
    token_L: np.ndarray
    prior_L: np.ndarray

    def shares(self, probability_L: np.ndarray) -> np.ndarray:
        """Return the posterior of each link, which sums to 1 over those of one that is made, or to 0."""
        weight_L = probability_L * self.prior_L
        total_L = np.bincount(self.token_L, weight_L)[self.token_L]
        share_L: np.ndarray = np.divide(weight_L, total_L, out=np.zeros_like(weight_L), where=total_L > 0)
        return share_L


def _links_of(given: Sequence[np.ndarray], made: Sequence[np.ndarray], size: int) -> _Links:
    num_given = np.array([len(ids) for ids in given])
    num_made = np.array([len(ids) for ids in made])
    pair_N = np.repeat(np.arange(len(made)), num_made)
    place_N = np.arange(len(pair_N)) - (num_made.cumsum() - num_made)[pair_N]
    num_links_N = num_given[pair_N] + 1
    token_L = np.repeat(np.arange(len(pair_N)), num_links_N)
    place_L = np.arange(len(token_L)) - (num_links_N.cumsum() - num_links_N)[token_L] - 1  # -1 is none
    pair_L = pair_N[token_L]
    # What is given stands one after the other; NOTHING is behind it all.
    first_given = num_given.cumsum() - num_given
    ids = np.concatenate([*given, [NOTHING]]).astype(np.int64)
    given_L = ids[np.where(place_L < 0, len(ids) - 1, first_given[pair_L] + place_L)]
    made_L = np.concatenate(made).astype(np.int64)[token_L]
    distance_L = np.abs((place_L + 0.5) / num_given[pair_L] - (place_N[token_L] + 0.5) / num_made[pair_L])
    near_L = np.where(place_L < 0, 0.0, np.exp(-DIAGONAL_TENSION * distance_L))
    near_L *= (1 - SHARE_OF_NOTHING) / np.bincount(token_L, near_L)[token_L]
    return _Links(given_L * size + made_L, token_L, np.where(place_L < 0, SHARE_OF_NOTHING, near_L))


def _merged(
    keys_P: np.ndarray, count_P: np.ndarray, more_keys: np.ndarray, more_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both tables of counts as one, cut to its bound."""
    both, counts = np.concatenate([keys_P, more_keys]), np.concatenate([count_P, more_counts])
    order = np.argsort(both, kind="stable")
    both, counts = both[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
    both, counts = both[starts], np.add.reduceat(counts, starts)
    if len(both) > MOST_PAIRS_OF_SUBWORDS:
        is_kept = counts > np.partition(counts, len(counts) - MOST_PAIRS_OF_SUBWORDS)[-MOST_PAIRS_OF_SUBWORDS - 1]
        both, counts = both[is_kept], counts[is_kept]
    return both, counts
