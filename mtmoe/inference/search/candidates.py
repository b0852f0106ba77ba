"""Candidates: the words by which each active hypothesis may be extended, and the end.

These words are the likeliest and those that decoding rules propose, or a drawn one.

Letters: Q beams, X active hypotheses, C candidates of a hypothesis, P proposed words, R numbers of a row on their way
from the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtmoe.inference.constraints.decoding_rule import UNRESTRICTED, Restriction
from mtmoe.inference.search.active_hypotheses import ActiveHypotheses
from mtmoe.inference.search.gnmt_score import FindsCoveragePenalty, coverage_penalty
from mtmoe.inference.search.next_words.banned_words import ban_of, banned_mask
from mtmoe.inference.search.next_words.likeliest import (
    FindsNextWords,
    NextWords,
    Scratch,
    check_numbers,
    next_words,
)
from mtmoe.inference.search.next_words.sampling import sample_keys, sample_words
from mtmoe.inference.search.next_words.shortlist import ListedWords, Shortlist
from mtmoe.inference.search.search_constraints import SearchConstraints
from mtmoe.inference.search.search_model import SearchModel
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SearchSource
from mtmoe.inference.search.selection.pruning import prune_unlikely_words
from mtmoe.vocabulary import EOS, NUM_SPECIAL, PAD


class Candidates(NamedTuple):
    """The candidates of each hypothesis, on the CPU: column 0 is EOS, then come the likeliest words, best first, then
    the words that rules propose (from ``first_proposed`` on)."""

    words_XC: np.ndarray
    log_probabilities_XC: np.ndarray
    coverage_penalty_X: np.ndarray
    """Of ending now."""
    ends_by_itself_X: np.ndarray
    """Whether EOS is what the model, left to itself, would have next."""
    first_proposed: int


class CandidateExpansion:
    """Asks the model for the candidates; keeps what that takes for each source that is being translated."""

    def __init__(
        self,
        model: SearchModel[Any, Any],
        options: SearchOptions,
        constraints: SearchConstraints,
        shortlist: Shortlist | None,
        device: torch.device | str,
    ) -> None:
        """Get ready to expand with a model; ``shortlist``: the words to look among, None for all of them."""
        self.model, self.options, self.constraints, self.device = model, options, constraints, device
        self.listed = ListedWords(model, shortlist, device) if shortlist is not None else None
        scratch = Scratch()
        self._next_words: Callable[..., NextWords] = (
            model.next_words if isinstance(model, FindsNextWords) else partial(next_words, model, scratch=scratch)
        )
        self.keys_Q: dict[int, list[int]] = {}

    def enter(self, places: Sequence[int], sources: Sequence[SearchSource]) -> None:
        """Get ready for sources; ``places``: theirs in the search."""
        if self.listed is not None:
            wanted = [source.constraints.shortlist_words() for source in sources]
            self.listed.enter(places, [source.ids for source in sources], wanted)
        if self.options.sampling:
            for place, source in zip(places, sources, strict=True):
                num_positions = source.constraints.max_length + 1
                for sample, beam in enumerate(self.options.beams_of(place)):
                    self.keys_Q[beam] = sample_keys(
                        self.options.sampling.seed, source.task.number, sample, num_positions
                    )

    def leave(self, place: int) -> None:
        """Forget a source."""
        if self.listed is not None:
            self.listed.leave(place)
        for beam in self.options.beams_of(place):
            self.keys_Q.pop(beam, None)

    def expand(
        self, hidden_XD: Tensor, active: ActiveHypotheses[Any], restrictions: Sequence[Restriction]
    ) -> Candidates:
        """Find the candidates of each hypothesis.

        Args:
            hidden_XD: of the decoder, behind the last word.

        Raises:
            UserError: the model's output is not a number.
        """
        if self.options.sampling:
            return self._drawn(hidden_XD, active, restrictions)
        return self._likeliest(hidden_XD, active, restrictions)

    def _likeliest(
        self, hidden_XD: Tensor, active: ActiveHypotheses[Any], restrictions: Sequence[Restriction]
    ) -> Candidates:
        """Return EOS, the likeliest words and the proposed ones.

        There are as many likeliest words as a whole beam has places. That is enough for a group of it, too: the groups
        before it take no more than the others.
        """
        num_words = min(self.options.beam_size, self.model.vocabulary_size - NUM_SPECIAL)
        further = [(row, each.further_words) for row, each in enumerate(restrictions) if each is not UNRESTRICTED]
        num_proposed = max((len(words) for _, words in further), default=0)
        proposed_XP = np.full((len(active.beam_X), num_proposed), PAD)
        for row, words in further:
            proposed_XP[row, : len(words)] = words
        proposed = torch.from_numpy(proposed_XP).to(self.device) if num_proposed else None
        ban = ban_of(restrictions, self.device) if restrictions else None
        if self.listed is None:
            found = self._next_words(hidden_XD, num_words, proposed, ban, not_words=self.constraints.not_words)
        else:
            source_X = active.beam_X // self.options.num_beams
            found = self.listed.next_words(hidden_XD, source_X, num_words, proposed, ban)
        first_proposed = 1 + num_words
        end = first_proposed + num_proposed
        numbers = _on_cpu(found, self._coverage(active))
        log_probabilities_XC = numbers[:, :end]
        check_numbers(log_probabilities_XC)
        words_XC = np.full((len(numbers), end), EOS)
        words_XC[:, 1:first_proposed] = numbers[:, end + 1 :]
        words_XC[:, first_proposed:] = proposed_XP
        ends_by_itself_X = log_probabilities_XC.argmax(axis=1) == 0
        return Candidates(words_XC, log_probabilities_XC, numbers[:, end], ends_by_itself_X, first_proposed)

    def _drawn(
        self, hidden_XD: Tensor, active: ActiveHypotheses[Any], restrictions: Sequence[Restriction]
    ) -> Candidates:
        """Return EOS, and one word: what was drawn is the only one of the two that is possible."""
        assert self.options.sampling is not None
        positions = zip(active.beam_X.tolist(), active.length_X.tolist(), strict=True)
        keys_X = [self.keys_Q[beam][length] for beam, length in positions]
        drawn_X, log_probability_X, eos_X = sample_words(
            self.model,
            hidden_XD,
            torch.tensor(keys_X, device=self.device),
            self.options.sampling,
            banned_mask(restrictions, self.model.vocabulary_size, self.device),
            self.constraints.not_words,
        )
        numbers_XR = torch.stack([eos_X, log_probability_X, self._coverage(active)[:, 0], drawn_X], dim=1)
        numbers = numbers_XR.double().cpu().numpy()
        check_numbers(numbers)
        words_XC = np.full((len(numbers), 2), EOS)
        words_XC[:, 1] = numbers[:, 3]
        return Candidates(words_XC, numbers[:, :2], numbers[:, 2], words_XC[:, 1] == EOS, 2)

    def _coverage(self, active: ActiveHypotheses[Any]) -> Tensor:
        """Return the coverage penalty [X, 1] of ending now, float64 so that it can stand beside ids."""
        if not self.options.coverage_beta:
            return torch.zeros(len(active.beam_X), 1, dtype=torch.float64, device=self.device)
        if isinstance(self.model, FindsCoveragePenalty):
            own_X = self.model.coverage_penalty(active.coverage_XS, active.source_lengths_X, self.options.coverage_beta)
            return own_X[:, None]
        positions_S = torch.arange(active.coverage_XS.shape[1], device=active.coverage_XS.device)
        is_real_XS = positions_S < active.source_lengths_X[:, None]
        return coverage_penalty(active.coverage_XS, is_real_XS, self.options.coverage_beta)[:, None].double()

    def allowed(self, candidates: Candidates, restrictions: Sequence[Restriction], is_last_X: np.ndarray) -> np.ndarray:
        """Return log-probabilities [X, C], -inf for what pruning, rules or the greatest length forbid."""
        allowed_XC = candidates.log_probabilities_XC.copy()
        if self.options.sampling:
            allowed_XC[candidates.ends_by_itself_X, 1] = -np.inf
            allowed_XC[~candidates.ends_by_itself_X, 0] = -np.inf
        else:
            is_prunable_XC = _restricted(allowed_XC, candidates, restrictions)
            prune_unlikely_words(allowed_XC, is_prunable_XC, self.options.prune_margin)
        # Where rules leave no word, the end is all that is left.
        only_end_X = is_last_X | (allowed_XC == -np.inf).all(axis=1)
        allowed_XC[only_end_X] = -np.inf
        allowed_XC[only_end_X, 0] = candidates.log_probabilities_XC[only_end_X, 0]
        return allowed_XC


def _on_cpu(found: NextWords, coverage_X1: Tensor) -> np.ndarray:
    """Return log-probabilities of the end, of the words and of the proposed ones, the coverage penalty, and the words:
    float64 [X, R]. Together, since each transfer waits for the device."""
    parts = [found.eos_X[:, None], found.log_probabilities_XW, found.proposed_XP, coverage_X1, found.words_XW]
    if coverage_X1.device.type == "cpu":
        return np.concatenate([part.numpy() for part in parts], axis=1, dtype=np.float64)
    numbers: np.ndarray = torch.cat(parts, dim=1).double().cpu().numpy()
    return numbers


def _restricted(allowed_XC: np.ndarray, candidates: Candidates, restrictions: Sequence[Restriction]) -> np.ndarray:
    """Apply restrictions to log-probabilities, in place.

    Returns:
        Which candidates may be pruned: all but the proposed words.
    """
    first_proposed = candidates.first_proposed
    proposed_XP = candidates.words_XC[:, first_proposed:]
    if proposed_XP.size:
        is_proposed_XC = (candidates.words_XC[:, :first_proposed, None] == proposed_XP[:, None]).any(axis=2)
        allowed_XC[:, first_proposed:][proposed_XP == PAD] = -np.inf
        allowed_XC[:, :first_proposed][is_proposed_XC] = -np.inf
    is_prunable_XC = np.zeros(allowed_XC.shape, dtype=bool)
    is_prunable_XC[:, :first_proposed] = True
    for row, restriction in enumerate(restrictions):
        if restriction is UNRESTRICTED:
            continue
        if restriction.only_proposed:
            allowed_XC[row, 1:first_proposed] = -np.inf
        if not restriction.may_end:
            allowed_XC[row, 0] = -np.inf
        if (mixture := restriction.mixture) is not None:
            allowed_XC[row] = mixture.mixed(allowed_XC[row], candidates.words_XC[row], first_proposed)
            is_prunable_XC[row, first_proposed:] = [word in restriction.optional for word in proposed_XP[row]]
    return is_prunable_XC
