"""N-best lists: from the hypotheses of a search to translations with texts, scores and alignments, ranked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from mtmoe.config.settings import Decoding
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.inference.scoring.minimum_bayes_risk import MinimumBayesRisk
from mtmoe.inference.scoring.reencoding import Reencoder
from mtmoe.inference.scoring.rescoring import NBestEntry, Rescorer, ScorePart, with_parts
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.text.lines import SourcePart, decode_lines
from mtmoe.inference.text.unmasking import with_items
from mtmoe.inference.text.word_alignment import Links, align_words, words_of_subwords
from mtmoe.inference.translation import Translation
from mtmoe.vocabulary import EOS


class NBestLists:
    """Ranks what was found for sources, with the runs that rescore it."""

    def __init__(
        self,
        subwords: SubwordModel,
        decoding: Decoding,
        reencoder: Reencoder,
        rescorer: Rescorer,
        *,
        risk: MinimumBayesRisk | None = None,
        words_apart: bool = True,
    ) -> None:
        """Keep what scores translations.

        Args:
            risk: what ranks them in place of the score, if anything does.
            words_apart: whether the target language divides words by spaces.
        """
        self._risk = risk
        self._words_apart = words_apart
        self._subwords, self._pieces, self._decoding = subwords, subwords.pieces, decoding
        self._reencoder, self._rescorer = reencoder, rescorer

    def translations(
        self,
        parts: Sequence[SourcePart],
        found: Sequence[Sequence[Hypothesis]],
        options: SearchOptions,
        *,
        as_encoded: bool,
        with_alignment: bool = False,
        prefix_lengths: Sequence[int] = (),
    ) -> Iterator[list[Translation]]:
        """Yield the translations of each part that have different texts, highest score first (samples as drawn).

        A score and the rank are of the same numbers: those of the search; where other models take part, which know
        nothing but texts, those of the texts.

        Args:
            as_encoded: whether the numbers of a translation are to be those of its text as it is encoded.
            with_alignment: whether links are wanted; those of a part link words of its whole line.
            prefix_lengths: of the given beginning of each translation, in subwords; by default none has one.
        """
        decoded = iter(decode_lines([hypothesis.ids for group in found for hypothesis in group], self._subwords))
        texts = [list(itertools.islice(decoded, len(group))) for group in found]
        encoded = self._reencoder.as_encoded(parts, texts, found, options) if as_encoded else found
        score_parts = self._score_parts(parts, texts, encoded)
        reranks = self._rescorer.runs.reranks
        is_rescored = reranks or self._rescorer.fused is not None
        is_sorted = reranks or (is_rescored and not self._decoding.sampling)
        for place, (part, group) in enumerate(zip(parts, encoded, strict=True)):
            limit = options.max_length(len(part.ids))
            distinct: dict[str, Translation] = {}
            wholes = []
            for rank, (hypothesis, text) in enumerate(zip(group, texts[place], strict=True)):
                cut_off = f"cut off at {limit} subwords (decoding.max_length_ratio)"
                parts_here = score_parts[place][rank]
                ranked = hypothesis if is_rescored else found[place][rank]
                prefix_length = prefix_lengths[place] if prefix_lengths else 0
                whole, links = self._whole(part, found[place][rank], text, prefix_length, with_alignment)
                translation = Translation(
                    text=whole,
                    score=with_parts(ranked, parts_here, options.length_alpha).score + hypothesis.gain,
                    log_probability=hypothesis.log_probability,
                    num_tokens=len(hypothesis.token_log_probabilities),
                    tokens=tuple(self._pieces[i] for i in (*hypothesis.ids, EOS)),
                    token_log_probabilities=hypothesis.token_log_probabilities,
                    source_tokens=tuple(self._pieces[i] for i in (*part.ids, EOS)),
                    alignment=links,
                    warnings=(cut_off,) if hypothesis.cut_off else (),
                    score_parts=parts_here,
                )
                distinct.setdefault(whole, translation)
                wholes.append(whole)
            translations = list(distinct.values())
            if self._risk is not None:
                yield self._least_risk_first(self._risk, translations, wholes, found[place])
                continue
            yield sorted(translations, key=lambda t: -t.score) if is_sorted else translations

    def _least_risk_first(
        self,
        risk: MinimumBayesRisk,
        translations: Sequence[Translation],
        texts: Sequence[str],
        found: Sequence[Hypothesis],
    ) -> list[Translation]:
        """Return the different translations of a sentence by their expected utility.

        It is computed of what the search found, so that it does not depend on what else is wanted of a translation.

        Args:
            texts: of all hypotheses, those of equal text included.
        """
        ranked = risk.ranked(risk.weights(zip(texts, found, strict=True)))
        return [translations[place]._replace(expected_utility=utility) for place, utility in ranked]

    def _score_parts(
        self, sources: Sequence[SourcePart], texts: list[list[str]], found: Sequence[Sequence[Hypothesis]]
    ) -> list[list[tuple[ScorePart, ...]]]:
        """Return what other models add to the score of each hypothesis."""
        entries = [
            NBestEntry(source.text, text, hypothesis)
            for source, of_source, group in zip(sources, texts, found, strict=True)
            for text, hypothesis in zip(of_source, group, strict=True)
        ]
        parts = iter(self._rescorer.parts(entries))
        return [list(itertools.islice(parts, len(group))) for group in found]

    def _whole(
        self, part: SourcePart, hypothesis: Hypothesis, text: str, prefix_length: int, with_alignment: bool
    ) -> tuple[str, Links]:
        """Return a translation with the items that were cut out of its source, and the links of its words.

        They are of what the search found, which its text as encoded anew has no attention for.
        """
        if hypothesis.attention is None:
            return text, ()
        links: Links = ()
        if with_alignment:
            source_words, target_words = (words_of_subwords(ids, self._pieces) for ids in (part.ids, hypothesis.ids))
            found = align_words(hypothesis.attention, source_words, target_words)
            links = tuple((part.word_of_line(i), j) for i, j in found)
        if not part.items:
            return text, links
        whole = with_items(part, hypothesis.ids, hypothesis.attention, self._pieces, self._words_apart, prefix_length)
        return whole.text, whole.links(links, part.items) if with_alignment else ()
