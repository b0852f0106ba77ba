"""The augmentation of a corpus: ids to text, text as people type it, and back to ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.config import Recipe
from mtmoe.config.settings import Data
from mtmoe.data.augmentation.aligned_places import AlignedPlace, AlignedPlaces
from mtmoe.data.augmentation.draws import Draws, Kinds, draws_of
from mtmoe.data.augmentation.pairs import PairText, changed_pair
from mtmoe.data.augmentation.planned_lengths import Lengths, PlannedLengths
from mtmoe.data.cleaning.language_tokens import language_tokens, tokened
from mtmoe.data.prepared.corpus import ParallelCorpus
from mtmoe.data.prepared.data_directory import Prepared
from mtmoe.data.prepared.lexicon import Lexicon, load_lexicon
from mtmoe.data.random_streams import Purpose, random_stream
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary
from mtmoe.languages import Direction, parse_direction
from mtmoe.vocabulary import UNK

_PAIRS_TO_MEASURE = 500


class ChangedPair(NamedTuple):
    """Ids of a pair after its changes, without special ids."""

    source: list[int]
    target: list[int]


class Augmenter:
    """Changes pairs of a corpus; what is done to a pair depends on (seed, epoch, pair) alone."""

    def __init__(
        self, corpus: ParallelCorpus, model: SubwordModel, data: Data, seed: int, longest: int, lexicon: Lexicon | None
    ) -> None:
        """Measure how much longer changed pairs get.

        Args:
            data: with ``data.augmentation``.
            longest: subwords of a side that a changed pair may have.
            lexicon: tells where items may stand inside sentences; None: they stand at the ends.
        """
        if data.augmentation is None:
            raise ValueError("data.augmentation is absent")
        self._corpus, self._model, self._settings, self._seed = corpus, model, data.augmentation, seed
        self._longest = longest
        self._places = AlignedPlaces(lexicon, model.pieces) if lexicon is not None else None
        self._known_tokens = language_tokens(data)
        self._directions = list(_directions(corpus, data))
        tags = {source.name: source.tag for source in data.train}
        self._tags = [tags.get(part.name, "") for part in corpus.parts]
        self._part_ends = np.cumsum([part.num_pairs for part in corpus.parts])
        generator = random_stream(Purpose.MEASUREMENT, seed, 1)
        some = generator.integers(0, len(corpus), min(_PAIRS_TO_MEASURE, len(corpus)))
        self._planned = PlannedLengths(self._all_changed, some, self._stored(some))

    def planned_lengths(self, indices: np.ndarray, epoch: int) -> Lengths:
        """Return lengths of the pairs, without EOS, that none of them exceeds in that epoch."""
        return self._plan(indices, epoch)[1]

    def changed(self, indices: np.ndarray, epoch: int) -> dict[int, ChangedPair]:
        """Return the pairs that are changed in the epoch, by their place in ``indices``."""
        draws, planned = self._plan(indices, epoch)
        rows = np.array([row for row in np.flatnonzero(draws.any_B) if self._is_text(indices[row])], np.int64)
        kinds = [draws.of(row) for row in rows]
        partners = self._partners(indices[rows], draws.partner_B[rows])
        found = {}
        for row, pair in zip(rows.tolist(), self._made(indices[rows], kinds, partners, epoch), strict=True):
            fits = len(pair.source) <= planned.source_B[row] and len(pair.target) <= planned.target_B[row]
            if fits and UNK not in pair.source and UNK not in pair.target:
                found[row] = pair
        return found

    def _plan(self, indices: np.ndarray, epoch: int) -> tuple[Draws, Lengths]:
        """Return what is drawn for the pairs, nothing for those that would be too long, and bounds of their lengths."""
        draws = draws_of(indices, epoch, self._seed, self._settings)
        stored = self._stored(indices)
        planned = self._planned.of(draws, stored, self._stored(self._partners(indices, draws.partner_B)))
        fits_B = (planned.source_B <= self._longest) & (planned.target_B <= self._longest)
        num_kinds = len(Kinds._fields)
        draws = Draws(*(field_B & fits_B for field_B in draws[:num_kinds]), *draws[num_kinds:])
        return draws, Lengths(*(np.where(fits_B, new, old) for new, old in zip(planned, stored, strict=True)))

    def _stored(self, indices: np.ndarray) -> Lengths:
        return Lengths(self._corpus.source_lengths[indices], self._corpus.target_lengths[indices])

    def _partners(self, indices: np.ndarray, partner_B: np.ndarray) -> np.ndarray:
        """Return the indices of the pairs to merge with: of the same source of text, so of the same languages."""
        part_B = np.searchsorted(self._part_ends, indices, "right")
        num_B = np.array([part.num_pairs for part in self._corpus.parts])[part_B]
        found: np.ndarray = self._part_ends[part_B] - num_B + (partner_B * num_B).astype(np.int64)
        return found

    def _all_changed(self, indices: np.ndarray, kinds: Kinds) -> tuple[list[list[int]], list[list[int]]]:
        """Make changes of the same kinds to all, as in no epoch: to measure."""
        pairs = list(self._made(indices, [kinds] * len(indices), indices, epoch=-1))
        return [pair.source for pair in pairs], [pair.target for pair in pairs]

    def _is_text(self, index: int) -> bool:
        """Return whether all subwords of a pair can be read."""
        return not any(np.any(ids == UNK) for ids in (self._corpus.source(index), self._corpus.target(index)))

    def _made(
        self, indices: np.ndarray, kinds: Sequence[Kinds], partners: np.ndarray, epoch: int
    ) -> Iterator[ChangedPair]:
        """Change the pairs, each with its partner if it is to be merged."""
        texts = self._texts(indices)
        merging = [place for place, kinds_of_pair in enumerate(kinds) if kinds_of_pair.merged]
        others = dict(zip(merging, self._texts(partners[merging]), strict=True))
        sources, targets = [], []
        for place, index in enumerate(indices.tolist()):
            beginning, pair = texts[place]
            changed = changed_pair(
                pair,
                kinds[place],
                random_stream(Purpose.AUGMENTATION, self._seed, epoch + 1, index),
                self._directions[self._part_of(index)],
                typo_rate=self._settings.typo_rate,
                places=self._aligned(index, len(beginning.split())) if kinds[place].items else (),
                partner=others[place][1] if place in others else None,
            )
            sources.append(f"{beginning} {changed.source}".strip())
            targets.append(changed.target)
        return map(ChangedPair, self._model.encode_batch(sources), self._model.encode_batch(targets))

    def _texts(self, indices: np.ndarray) -> list[tuple[str, PairText]]:
        """Return what stands before the source sentence of each pair, language token and tag, and its two texts."""
        sources = self._model.decode_batch([self._corpus.source(index).tolist() for index in indices])
        targets = self._model.decode_batch([self._corpus.target(index).tolist() for index in indices])
        beginnings = map(self._divided, indices.tolist(), sources)
        return [(begins, PairText(text, target)) for (begins, text), target in zip(beginnings, targets, strict=True)]

    def _divided(self, index: int, source: str) -> tuple[str, str]:
        """Return language token and tag of a source sentence, and the sentence itself."""
        line, tag = tokened(source, self._known_tokens), self._tags[self._part_of(index)]
        text = line.text.removeprefix(f"{tag} ") if tag else line.text
        return " ".join(filter(None, (line.token, tag))), text

    def _part_of(self, index: int) -> int:
        return int(np.searchsorted(self._part_ends, index, "right"))

    def _aligned(self, index: int, num_before: int) -> list[AlignedPlace]:
        """Return places between words, by their numbers in the text without the words that stand before it."""
        if self._places is None:
            return []
        found = self._places.find(self._corpus.source(index), self._corpus.target(index))
        return [place._replace(source=place.source - num_before) for place in found if place.source > num_before]


def augmenter_of(recipe: Recipe, prepared: Prepared, vocabulary: Vocabulary) -> Augmenter | None:
    """Return the augmenter of a recipe; None if it has no ``data.augmentation``.

    Raises:
        UserError: the lexicon is damaged.
    """
    if recipe.data.augmentation is None or not isinstance(vocabulary, SubwordModel):
        return None
    path = prepared.lexicon_path
    lexicon = load_lexicon(path, vocabulary.size) if path.exists() else None
    longest = min(recipe.training.max_tokens_per_sentence, recipe.training.batch_tokens - 1)
    return Augmenter(prepared.train, vocabulary, recipe.data, recipe.seed, longest, lexicon)


def _directions(corpus: ParallelCorpus, data: Data) -> Iterator[Direction]:
    """Yield the languages of each part of the corpus."""
    named = {source.name: source.direction for source in data.train}
    for part in corpus.parts:
        if data.multilingual is None:
            yield Direction(data.source_language, data.target_language)
        else:
            yield parse_direction(named[part.name]) if named.get(part.name) else Direction("", "")
