"""Which target subwords a source subword is likely to be translated by, learned from the training pairs.

Two subwords that occur in the same pair more often than by chance belong together; how far from chance is said by the
log-likelihood ratio (Dunning 1993; for word lists of translations, Moore 2004). "Hund" also goes with what else is said
of dogs, so in a second reading each target subword of a pair is shared out among the source subwords there, in
proportion to their ratios with it (a step of EM, as of IBM model 1): the candidates are those with the largest shares.

Pairs are counted chunk by chunk, and the table of counts is cut where it would outgrow its bound: the rarest go first.

Letters: V vocabulary, C candidates of a source subword, F frequent target subwords, O occurrences of a subword in a
pair (once each), L links (a source and a target subword of one pair), P different links.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from mtmoe.config.settings import MOST_CANDIDATES
from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.data.prepared.pair_chunks import chunks_of_pairs, sampled_pairs
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.readable_files import read_bytes
from mtmoe.system.safetensors_files import save_tensors
from mtmoe.vocabulary import NUM_SPECIAL, PAD

LEXICON_NAME = "lexicon.safetensors"
_FILE_KEYS = ("candidates_VN", "frequent_F")  # of the tensors in the file
MOST_LINKS = 1 << 28  # in all: of a larger corpus every n-th pair is read
LINKS_AT_ONCE = 1 << 22
_RENEW = "copy it from the data directory again, or make it anew with `mtmoe preprocess`"
_LEAST_SHARE = 1e-6  # of one target subword in all of the text: less is rounding
MOST_COUNTED = 1 << 24  # different links at a time: 256 MB


class Lexicon(NamedTuple):
    """candidates_VC: target subwords for each source subword, the surest first, PAD behind (int32).
    frequent_F: all target subwords of the training text, the most frequent first (int32)."""

    candidates_VC: np.ndarray
    frequent_F: np.ndarray


def learn_lexicon(corpus: ParallelCorpus, progress: Progress = silent) -> Lexicon:
    """Learn a lexicon from the corpus: the same one for the same corpus, in bounded memory."""
    size = corpus.vocabulary_size
    counts = _Counts(size)
    frequency_V = np.zeros(size, np.int64)
    pairs = sampled_pairs(corpus, MOST_LINKS)
    for chunk in chunks_of_pairs(corpus, pairs, LINKS_AT_ONCE):
        counts.add(*_sentences(corpus, chunk))
        frequency_V += np.bincount(np.concatenate(_sentences(corpus, chunk)[1]), minlength=size)
        progress("lexicon", int(chunk[-1]), 2 * len(corpus), "pairs")
    ratio_P = counts.ratios()
    share_P = np.zeros(len(ratio_P))
    for chunk in chunks_of_pairs(corpus, pairs, LINKS_AT_ONCE):
        share_P += counts.shares(ratio_P, *_sentences(corpus, chunk))
        progress("lexicon", len(corpus) + int(chunk[-1]), 2 * len(corpus), "pairs")
    progress("lexicon", 2 * len(corpus), 2 * len(corpus), "pairs")
    frequency_V[:NUM_SPECIAL] = 0
    by_frequency_V = np.argsort(-frequency_V, kind="stable")
    frequent_F = by_frequency_V[frequency_V[by_frequency_V] > 0]
    return Lexicon(counts.best_candidates(share_P, MOST_CANDIDATES), frequent_F.astype(np.int32))


def save_lexicon(path: Path, lexicon: Lexicon) -> None:
    """Write it, so that what has the name is complete."""
    save_tensors(path, dict(zip(_FILE_KEYS, lexicon, strict=True)))


def load_lexicon(path: Path, vocabulary_size: int) -> Lexicon:
    """Read what :func:`save_lexicon` wrote.

    Raises:
        UserError: it is not there, cannot be read, or belongs to another vocabulary.
    """
    return parse_lexicon(read_bytes(path) if path.exists() else None, path, vocabulary_size)


def parse_lexicon(content: bytes | None, path: Path, vocabulary_size: int) -> Lexicon:
    """Read the content of a file that :func:`save_lexicon` wrote; None stands for a file that is not there.

    Args:
        path: what messages call it.

    Raises:
        UserError: as :func:`load_lexicon`.
    """
    if content is None:
        raise UserError(
            f"{path}: there is no such file, and decoding.shortlist needs it (older versions of mtmoe made none)",
            fix=f"run `mtmoe preprocess` into a new directory and copy its {path.name} there, "
            "or --set decoding.shortlist=false",
        )
    try:
        stored = load(content)
        if stored.keys() != set(_FILE_KEYS):
            raise ValueError(f"it has {', '.join(sorted(stored))}, not {' and '.join(_FILE_KEYS)}")
        lexicon = Lexicon(*(stored[key] for key in _FILE_KEYS))
        size = _checked(lexicon)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged: {error}", fix=_RENEW) from None
    if size != vocabulary_size:
        raise UserError(
            f"{path}: is for a vocabulary of {size}, but the run's has {vocabulary_size}",
            fix="copy the one of the data directory that the run was trained on",
        )
    return lexicon


def _checked(lexicon: Lexicon) -> int:
    """Return the size of its vocabulary.

    Raises:
        ValueError: an array has another type or shape than was written, or holds ids that no subword has.
    """
    for (name, array), num_dimensions in zip(zip(_FILE_KEYS, lexicon, strict=True), (2, 1), strict=True):
        if array.dtype != np.int32 or array.ndim != num_dimensions:
            raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}")
        size = len(lexicon.candidates_VC)
        if array.size and not 0 <= int(array.min()) <= int(array.max()) < size:
            raise ValueError(f"{name} has ids from {array.min()} to {array.max()}, the vocabulary those below {size}")
    if lexicon.candidates_VC.shape[1] > MOST_CANDIDATES:
        raise ValueError(f"{_FILE_KEYS[0]} has shape {lexicon.candidates_VC.shape}")
    return len(lexicon.candidates_VC)


class _Counts:
    """In how many pairs each source subword, each target subword, and both of them occur."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.num_pairs = 0
        self.source_V = np.zeros(size, np.int64)
        self.target_V = np.zeros(size, np.int64)
        self.links_P = np.zeros(0, np.int64)  # source x size + target, ascending
        self.counts_P = np.zeros(0, np.int64)

    def add(self, sources: list[np.ndarray], targets: list[np.ndarray]) -> None:
        links = _Links.of(sources, targets, self.size)
        self.num_pairs += len(sources)
        self.source_V += np.bincount(links.source_O, minlength=self.size)
        self.target_V += np.bincount(links.target_O, minlength=self.size)
        self._merge(*np.unique(links.link_L, return_counts=True))

    def _merge(self, links: np.ndarray, counts: np.ndarray) -> None:
        both, both_counts = np.concatenate([self.links_P, links]), np.concatenate([self.counts_P, counts])
        order = np.argsort(both, kind="stable")
        both, both_counts = both[order], both_counts[order]
        starts = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
        self.links_P, self.counts_P = both[starts], np.add.reduceat(both_counts, starts)
        least = 1
        while len(self.links_P) > MOST_COUNTED:
            least += 1
            is_kept_P = self.counts_P >= least
            self.links_P, self.counts_P = self.links_P[is_kept_P], self.counts_P[is_kept_P]

    def ratios(self) -> np.ndarray:
        """Compute :func:`log_likelihood_ratio` of each link."""
        source_P, target_P = np.divmod(self.links_P, self.size)
        return log_likelihood_ratio(self.counts_P, self.source_V[source_P], self.target_V[target_P], self.num_pairs)

    def shares(self, ratio_P: np.ndarray, sources: list[np.ndarray], targets: list[np.ndarray]) -> np.ndarray:
        """Compute what each link gets of the target subwords of these pairs, 1 to share for each."""
        links = _Links.of(sources, targets, self.size)
        place_L = np.searchsorted(self.links_P, links.link_L).clip(max=len(self.links_P) - 1)
        ratio_L = np.where(self.links_P[place_L] == links.link_L, ratio_P[place_L], 0.0)  # some may have been cut
        total_L = np.bincount(links.place_in_targets_L, ratio_L)[links.place_in_targets_L]
        share_L = np.divide(ratio_L, total_L, out=np.zeros_like(ratio_L), where=total_L > 0)
        return np.bincount(place_L, share_L, minlength=len(self.links_P))

    def best_candidates(self, share_P: np.ndarray, most: int) -> np.ndarray:
        """Choose for each source subword the target subwords with the largest shares, [V, N]; N is ``most`` at most."""
        source_P, target_P = np.divmod(self.links_P, self.size)
        is_good_P = (share_P > _LEAST_SHARE) & (target_P >= NUM_SPECIAL)
        source_P, target_P, share_P = source_P[is_good_P], target_P[is_good_P], share_P[is_good_P]
        order = np.lexsort((target_P, -share_P, source_P))
        source_P, target_P = source_P[order], target_P[order]
        rank_P = np.arange(len(source_P)) - np.searchsorted(source_P, source_P)
        is_kept_P = rank_P < most
        candidates_VC = np.full((self.size, min(most, int(rank_P.max(initial=0)) + 1)), PAD, np.int32)
        candidates_VC[source_P[is_kept_P], rank_P[is_kept_P]] = target_P[is_kept_P]
        return candidates_VC


class _Links(NamedTuple):
    """Every source subword of a pair with every target subword of it, for some pairs.

    link_L: source x vocabulary size + target. place_in_targets_L: the target's place in ``target_O``.
    """

    source_O: np.ndarray
    target_O: np.ndarray
    link_L: np.ndarray
    place_in_targets_L: np.ndarray

    @classmethod
    def of(cls, sources: list[np.ndarray], targets: list[np.ndarray], size: int) -> _Links:
        source_O, source_pair_O = _occurrences(sources, size)
        target_O, target_pair_O = _occurrences(targets, size)
        # The targets of a pair stand side by side; each of its sources goes through them once.
        num_targets_B = np.bincount(target_pair_O, minlength=len(sources))
        first_target_B = num_targets_B.cumsum() - num_targets_B
        repeats_O = num_targets_B[source_pair_O]
        place_L = np.arange(repeats_O.sum()) - np.repeat(repeats_O.cumsum() - repeats_O, repeats_O)
        place_L += np.repeat(first_target_B[source_pair_O], repeats_O)
        return cls(source_O, target_O, np.repeat(source_O, repeats_O) * size + target_O[place_L], place_L)


def _sentences(corpus: ParallelCorpus, pairs: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [corpus.source(index) for index in pairs], [corpus.target(index) for index in pairs]


def _occurrences(sentences: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return different subwords of each sentence, and the sentence of each; sentences in order."""
    lengths = [len(ids) for ids in sentences]
    pair_O = np.repeat(np.arange(len(sentences)), lengths)
    keys = np.unique(pair_O * size + np.concatenate(sentences).astype(np.int64))
    pair_O, subword_O = np.divmod(keys, size)
    return subword_O, pair_O


def log_likelihood_ratio(both: np.ndarray, source: np.ndarray, target: np.ndarray, total: int) -> np.ndarray:
    """Compute -2 log lambda of Dunning (1993): how little the two are independent; 0 if they meet less often than

    Args:
        both, source, target: pairs with both, with the source subword, with the target subword. total: all pairs.
    """

    def entropy_like(*cells: np.ndarray) -> np.ndarray:
        """Compute the sum of k log k."""
        return sum((k * np.log(np.maximum(k, 1)) for k in cells), np.zeros(len(both)))

    inside = entropy_like(both, source - both, target - both, total - source - target + both)
    rows = entropy_like(source, total - source)
    columns = entropy_like(target, total - target)
    ratio = 2 * (inside - rows - columns + total * np.log(max(total, 1)))
    return np.where(both * float(total) > source * target.astype(np.float64), np.maximum(ratio, 0), 0.0)
