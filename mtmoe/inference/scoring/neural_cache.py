"""Neural cache (Grave et al. 2016, arXiv 1612.04426): a pointer to the words that a language model has just read.

Of the last places i before place t, h_i is the model's output there and w_i the word that came after it::

    p_cache(w) = sum over i with w_i = w of exp(theta h_t . h_i) / sum over all i of exp(theta h_t . h_i)
    p(w) = (1 - lambda) p_model(w) + lambda p_cache(w)

Letters: N tokens of a stretch, M remembered places, J remembered places and then those of the stretch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtmoe.config.settings import NeuralCache

ELEMENTS_AT_ONCE = 1 << 20  # of the similarities


class Cache:
    """What is remembered of a text, and how likely its next words are with it."""

    def __init__(self, settings: NeuralCache) -> None:
        self.settings = settings
        self._hidden_MD: Tensor | None = None
        self._words_M = torch.zeros(0, dtype=torch.int64)

    @torch.no_grad()
    def mixed(self, log_N: Tensor, hidden_ND: Tensor, words_N: Tensor) -> Tensor:
        """Return log p of the next words of the text, and remember them.

        Args:
            log_N: log p_model of each.
            hidden_ND: the model's output before each.
            words_N: the words.

        Returns:
            float64 [N]; each word is found among those before it alone.
        """
        length = max(1, ELEMENTS_AT_ONCE // (self.settings.size_tokens + len(log_N)))
        parts = zip(log_N.split(length), hidden_ND.split(length), words_N.split(length), strict=True)
        return torch.cat([self._mixed(*part) for part in parts]) if len(log_N) else log_N.double()

    def _mixed(self, log_N: Tensor, hidden_ND: Tensor, words_N: Tensor) -> Tensor:
        settings = self.settings
        if self._hidden_MD is None:
            self._hidden_MD, self._words_M = hidden_ND[:0], words_N[:0]
        num_before, num_new = len(self._words_M), len(words_N)
        hidden_JD, words_J = torch.cat((self._hidden_MD, hidden_ND)), torch.cat((self._words_M, words_N))
        places_N1 = torch.arange(num_before, num_before + num_new, device=words_J.device)[:, None]
        places_J = torch.arange(len(words_J), device=words_J.device)
        is_remembered_NJ = (places_J < places_N1) & (places_J >= places_N1 - settings.size_tokens)
        similarity_NJ = (settings.theta * (hidden_ND @ hidden_JD.t())).masked_fill_(~is_remembered_NJ, -math.inf)
        of_all_N = similarity_NJ.logsumexp(1)
        of_word_N = similarity_NJ.masked_fill_(words_J != words_N[:, None], -math.inf).logsumexp(1)
        self._hidden_MD, self._words_M = hidden_JD[-settings.size_tokens :], words_J[-settings.size_tokens :]
        log_N = log_N.double()
        weight = settings.weight
        log_weight = math.log(weight) if weight > 0 else -math.inf
        mixed_N = torch.logaddexp(log_N + math.log1p(-weight), (of_word_N - of_all_N).double() + log_weight)
        return torch.where(of_all_N == -math.inf, log_N, mixed_N)  # with nothing to remember, it is the model's alone
