"""The ways to extend a live hypothesis by one word: the likeliest words and those that were asked for, or a drawn one.

Letters as in ``beam_search.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mtmoe.inference.constraints.rules import Rule
from mtmoe.inference.constraints.soft_terms import Mixture
from mtmoe.inference.search.active_hypotheses import Extensions, Live
from mtmoe.inference.search.hypothesis import SearchTask, coverage_penalty
from mtmoe.inference.search.next_words.banned_words import ban_of, barred_words
from mtmoe.inference.search.next_words.likeliest import Scratch, check_numbers, next_words
from mtmoe.inference.search.next_words.sampling import sample_keys, sample_words
from mtmoe.inference.search.next_words.shortlist import ListedWords, Shortlist
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.vocabulary import EOS, NUM_SPECIAL, PAD


class Extender:
    """Asks the model for them; keeps what that takes for each source that is being translated."""

    def __init__(
        self, model: SearchModel, options: SearchOptions, shortlist: Shortlist | None, device: torch.device | str
    ) -> None:
        self.model, self.options, self.device = model, options, device
        self.listed = ListedWords(model, shortlist, device) if shortlist is not None else None
        self.scratch = Scratch()
        self.keys_Q: dict[int, list[int]] = {}

    def enter(
        self,
        indices: Sequence[int],
        sources: Sequence[Sequence[int]],
        tasks: Sequence[SearchTask],
        max_lengths: Sequence[int],
    ) -> None:
        """Get ready for sources; ``indices``: their numbers in the search."""
        if self.listed is not None:
            wanted = [
                [
                    *task.prefix_ids,
                    *task.phrases.words,
                    *itertools.chain.from_iterable(term.ids for term in task.soft_terms),
                    *(task.copies.words if task.copies else ()),
                ]
                for task in tasks
            ]
            self.listed.enter(indices, sources, wanted)
        if self.options.sampling:
            for index, task, max_length in zip(indices, tasks, max_lengths, strict=True):
                for sample, beam in enumerate(self.options.beams_of(index)):
                    self.keys_Q[beam] = sample_keys(self.options.sampling.seed, task.number, sample, max_length + 1)

    def leave(self, index: int) -> None:
        if self.listed is not None:
            self.listed.leave(index)
        for beam in self.options.beams_of(index):
            self.keys_Q.pop(beam, None)

    def extensions(self, hidden_XD: Tensor, live: Live, rules: list[Rule]) -> Extensions:
        """Of each live hypothesis, of which the decoder's last state is hidden_XD.

        Raises:
            UserError: the model's output is not a number.
        """
        return self._drawn(hidden_XD, live, rules) if self.options.sampling else self._best(hidden_XD, live, rules)

    def _best(self, hidden_XD: Tensor, live: Live, rules: list[Rule]) -> Extensions:
        """EOS, the likeliest words (as many as a whole beam has places, which is enough for a group of it, too: the
        groups before it take no more than the others), and the words that rules ask for."""
        num_words = min(self.options.beam_size, self.model.vocabulary_size - NUM_SPECIAL)
        num_asked = max((len(rule.allowed) for rule in rules), default=0)
        asked_XE = np.full((len(live.beam_X), num_asked), PAD)
        for row, rule in enumerate(rules):
            asked_XE[row, : len(rule.allowed)] = sorted(rule.allowed)
        asked = torch.from_numpy(asked_XE).to(self.device) if num_asked else None
        ban = ban_of(rules, self.device)
        if self.listed is None:
            found = next_words(self.model, hidden_XD, num_words, asked, ban, self.scratch)
        else:
            found = self.listed.next_words(hidden_XD, live.beam_X // self.options.num_beams, num_words, asked, ban)
        numbers_XR = torch.cat(
            [found.eos_X[:, None], found.log_probabilities_XW, found.asked_XE, self._coverage(live), found.words_XW],
            dim=1,
        )
        numbers = numbers_XR.double().cpu().numpy()  # at once: each transfer waits for the device
        first_asked = 1 + num_words
        end = first_asked + num_asked
        log_probabilities_XC = numbers[:, :end]
        check_numbers(torch.from_numpy(log_probabilities_XC))
        words_XC = np.full((len(numbers), end), EOS)
        words_XC[:, 1:first_asked] = numbers[:, end + 1 :]
        words_XC[:, first_asked:] = asked_XE
        return Extensions(
            words_XC, log_probabilities_XC, numbers[:, end], log_probabilities_XC.argmax(axis=1) == 0, first_asked
        )

    def _drawn(self, hidden_XD: Tensor, live: Live, rules: list[Rule]) -> Extensions:
        """EOS, and one word: what was drawn is the only one of the two that is possible."""
        assert self.options.sampling is not None
        keys_X = [
            self.keys_Q[beam][length] for beam, length in zip(live.beam_X.tolist(), live.length_X.tolist(), strict=True)
        ]
        drawn_X, log_probability_X, eos_X = sample_words(
            self.model,
            hidden_XD,
            torch.tensor(keys_X, device=self.device),
            self.options.sampling,
            barred_words(rules, self.model.vocabulary_size, self.device),
        )
        numbers_XR = torch.stack([eos_X, log_probability_X, self._coverage(live)[:, 0], drawn_X], dim=1)
        numbers = numbers_XR.double().cpu().numpy()
        check_numbers(torch.from_numpy(numbers))
        words_XC = np.full((len(numbers), 2), EOS)
        words_XC[:, 1] = numbers[:, 3]
        is_end_X = words_XC[:, 1] == EOS
        return Extensions(words_XC, numbers[:, :2], numbers[:, 2], is_end_X, 2)

    def _coverage(self, live: Live) -> Tensor:
        """The coverage penalty [X, 1] of ending now, float64 so that it can stand beside ids."""
        if not self.options.coverage_beta:
            return torch.zeros(len(live.beam_X), 1, dtype=torch.float64, device=self.device)
        positions_S = torch.arange(live.coverage_XS.shape[1], device=live.coverage_XS.device)
        is_real_XS = positions_S < live.source_lengths_X[:, None]
        return coverage_penalty(live.coverage_XS, is_real_XS, self.options.coverage_beta)[:, None].double()

    def possible(
        self, extensions: Extensions, rules: list[Rule], is_last_X: np.ndarray, mixtures: list[Mixture | None]
    ) -> np.ndarray:
        """Log-probabilities [X, C], -inf for what pruning, rules or the greatest length forbid."""
        words_XC, first_asked = extensions.words_XC, extensions.first_asked
        possible_XC = extensions.log_probabilities_XC.copy()
        if self.options.sampling:
            possible_XC[extensions.ends_by_itself_X, 1] = -np.inf
            possible_XC[~extensions.ends_by_itself_X, 0] = -np.inf
        else:
            asked_XE = words_XC[:, first_asked:]
            if asked_XE.size:
                is_asked_XC = (words_XC[:, :first_asked, None] == asked_XE[:, None]).any(axis=2)
                possible_XC[:, first_asked:][asked_XE == PAD] = -np.inf
                possible_XC[:, :first_asked][is_asked_XC] = -np.inf
            for row, rule in enumerate(rules):
                if rule.only:
                    possible_XC[row, 1:first_asked] = -np.inf
                if not rule.may_end:
                    possible_XC[row, 0] = -np.inf
            is_free_XC = np.zeros(possible_XC.shape, dtype=bool)
            is_free_XC[:, :first_asked] = True
            for row, (rule, mixture) in enumerate(zip(rules, mixtures, strict=bool(mixtures))):
                if mixture is not None:
                    possible_XC[row] = mixture.mixed(possible_XC[row], words_XC[row], first_asked)
                    is_free_XC[row, first_asked:] = [word in rule.copied for word in asked_XE[row]]
            lowest_X1 = possible_XC.max(axis=1, keepdims=True) - self.options.prune_margin
            possible_XC[is_free_XC & (possible_XC < lowest_X1)] = -np.inf
        # Where rules leave no word, the end is all that is left.
        only_end_X = is_last_X | (possible_XC == -np.inf).all(axis=1)
        possible_XC[only_end_X] = -np.inf
        possible_XC[only_end_X, 0] = extensions.log_probabilities_XC[only_end_X, 0]
        return possible_XC
