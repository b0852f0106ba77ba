"""What is asked of the translations, applied to the hypotheses that a search is extending.

Letters as in ``beam_search.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mtmoe.inference.constraints.rules import Rule, longest_for, num_missing_of, rule_for
from mtmoe.inference.constraints.soft_terms import Begun, Mixture, mixture_after
from mtmoe.inference.search.active_hypotheses import Extensions, Live
from mtmoe.inference.search.hypothesis import SearchTask
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.selection.best_candidates import (
    Choice,
    Places,
    choose,
    choose_by_progress,
    choose_diverse,
    merged,
)


class Asked:
    """Of the translations of all sources, by the user or by the options."""

    def __init__(self, tasks: Sequence[SearchTask], num_words_B: Sequence[int], options: SearchOptions) -> None:
        self.tasks, self.options, self.num_beams = tasks, options, options.num_beams
        self.min_length_B = [options.min_length(number) for number in num_words_B]
        self.max_length_B = [
            longest_for(task, options.max_length(number)) for number, task in zip(num_words_B, tasks, strict=True)
        ]
        self.has_soft_terms = any(task.soft_terms for task in tasks)
        self.has_rules = (
            bool(options.min_length_ratio or options.no_repeat_ngram)
            or self.has_soft_terms
            or any(task.prefix_ids or task.has_demands for task in tasks)
        )
        self.has_demands_B = np.array([task.has_demands for task in tasks], dtype=bool)

    def mixtures(self, live: Live, attention_XS: Tensor, is_last_X: np.ndarray) -> list[Mixture | None]:
        """How soft terms may go into the next word of each row; empty where the search has none."""
        if not self.has_soft_terms:
            return []
        assert self.options.soft_terms is not None
        attention = attention_XS.double().cpu().numpy()
        mixtures = []
        for row, (ids, begun, beam) in enumerate(zip(live.ids_X, live.begun_X, live.beam_X.tolist(), strict=True)):
            task = self.tasks[beam // self.num_beams]
            can_copy = task.soft_terms and not is_last_X[row]
            mixtures.append(
                mixture_after(ids, begun, task.soft_terms, attention[row], self.options.soft_terms)
                if can_copy
                else None
            )
        return mixtures

    def rules(self, live: Live, is_last_X: np.ndarray, mixtures: list[Mixture | None]) -> list[Rule]:
        """One for each row, or none at all."""
        if not self.has_rules:
            return []
        rules = []
        for row, (ids, beam, is_last) in enumerate(zip(live.ids_X, live.beam_X.tolist(), is_last_X, strict=True)):
            index = beam // self.num_beams
            if is_last:
                rules.append(Rule())
                continue
            rule = rule_for(
                ids,
                self.tasks[index],
                min_length=self.min_length_B[index],
                max_length=self.max_length_B[index],
                no_repeat_ngram=self.options.no_repeat_ngram,
            )
            if mixtures and (mixture := mixtures[row]) is not None:
                rule = rule.with_copied(mixture.copied())
            rules.append(rule)
        return rules

    def grown(
        self, live: Live, going_on: Places, extensions: Extensions, mixtures: list[Mixture | None]
    ) -> tuple[list[tuple[int, ...]], list[tuple[Begun, ...]]]:
        """``ids_X`` and ``begun_X`` of the hypotheses that live on."""
        words_X = extensions.words_XC[going_on]
        ids_X = []
        if self.has_rules:
            ids_X = [(*live.ids_X[row], int(word)) for row, word in zip(going_on.rows, words_X, strict=True)]
        begun_X: list[tuple[Begun, ...]] = []
        if self.has_soft_terms:
            chosen = zip(going_on.rows, words_X, extensions.log_probabilities_XC[going_on], strict=True)
            begun_X = [
                () if (mixture := mixtures[row]) is None else mixture.after(int(word), float(log_p))
                for row, word, log_p in chosen
            ]
        return ids_X, begun_X

    def chosen(self, scores_XC: np.ndarray, words_XC: np.ndarray, live: Live) -> Choice:
        """Which candidates, of log-probabilities ``scores_XC``, end, and which live on."""
        options = self.options
        if options.groups > 1 and not options.sampling:
            return choose_diverse(
                scores_XC, words_XC, live.beam_X, options.width, options.groups, options.diversity_penalty
            )
        has_demands_X = self.has_demands_B[live.beam_X // self.num_beams]
        if not has_demands_X.any():
            return choose(scores_XC, live.beam_X, options.width)
        parts = []
        free = np.flatnonzero(~has_demands_X)
        if len(free):
            parts.append(_placed(choose(scores_XC[free], live.beam_X[free], options.width), free))
        for beam in np.unique(live.beam_X[has_demands_X]):
            rows = np.flatnonzero(live.beam_X == beam)
            task = self.tasks[beam // self.num_beams]
            total = num_missing_of((), task)
            num_banks = min(total + 1, options.width)
            bank_XC = np.full((len(rows), scores_XC.shape[1]), num_banks - 1)
            for place, row in enumerate(rows):
                for column in np.flatnonzero(scores_XC[row, 1:] > -np.inf) + 1:
                    missing = num_missing_of((*live.ids_X[row], int(words_XC[row, column])), task)
                    bank_XC[place, column] = max(0, total - missing) * num_banks // (total + 1)
            parts.append(_placed(choose_by_progress(scores_XC[rows], bank_XC, num_banks, options.width), rows))
        return merged(parts, live.beam_X)


def _placed(choice: Choice, rows: np.ndarray) -> Choice:
    """A choice among some rows as one among all of them."""
    return Choice(*(Places(rows[places.rows], places.columns) for places in choice))
