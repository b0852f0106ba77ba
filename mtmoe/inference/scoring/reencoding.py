"""Re-encoding: hypotheses with the probabilities of their texts as these are encoded.

A text has many segmentations, and the one that the search found is not always the one that encoding gives. What is
reported for a text must be reproducible from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.inference.scoring.forced_decoding import force_decode
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.next_words.shortlist import ListedWords, Shortlist
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.source_batching import batches_by_length
from mtmoe.inference.text.lines import SourcePart, encode_targets


class Reencoder:
    """Scores texts anew where the search found them in other subwords than encoding gives."""

    def __init__(
        self,
        model: SearchModel[Any, Any],
        subwords: SubwordModel,
        shortlist: Shortlist | None,
        device: torch.device,
        batch_tokens: int,
        *,
        scores_all: bool,
    ) -> None:
        """Keep the model that scores.

        Args:
            subwords: in which it reads and writes.
            shortlist: over which probabilities are normalised; None for the whole vocabulary.
            batch_tokens: source tokens that are scored at a time, padding included.
            scores_all: whether to score every text, because the search's log-probabilities are not the model's alone.
        """
        self._model, self._subwords, self._shortlist, self._device = model, subwords, shortlist, device
        self._batch_tokens, self._scores_all = batch_tokens, scores_all

    def as_encoded(
        self,
        sources: Sequence[SourcePart],
        texts: Sequence[Sequence[str]],
        found: Sequence[Sequence[Hypothesis]],
        options: SearchOptions,
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of each source with the probabilities of their texts, in the order of the search.

        Args:
            texts: of each hypothesis.
        """
        result = [list(group) for group in found]
        places = [(line, rank) for line, group in enumerate(found) for rank in range(len(group))]
        encoded = encode_targets([texts[line][rank] for line, rank in places], self._subwords)
        other = [
            (place, tuple(ids))
            for place, ids in zip(places, encoded, strict=True)
            if self._scores_all or tuple(ids) != found[place[0]][place[1]].ids
        ]
        batches = batches_by_length([sources[line].ids for (line, _), _ in other], self._batch_tokens)
        for indices, source_BS, lengths_B in batches:
            targets = [other[index][1] for index in indices]
            listed = None
            if self._shortlist is not None:
                listed = ListedWords(self._model, self._shortlist, self._device)
                own_sources = [sources[other[index][0][0]].ids for index in indices]
                listed.enter(range(len(indices)), own_sources, targets)
            scored = force_decode(
                self._model, source_BS.to(self._device), lengths_B.to(self._device), targets, options, listed
            )
            for index, hypothesis in zip(indices, scored, strict=True):
                line, rank = other[index][0]
                before = found[line][rank]
                result[line][rank] = hypothesis._replace(cut_off=before.cut_off, gain=before.gain)
        return result
