"""Mixture of softmaxes (Yang et al. 2017, arXiv 1711.03953): the output layer of a language model, several times over.

With W the output matrix, which all components share, and h what the output layer reads::

    p(w) = sum over c of pi_c softmax_w(W tanh(P_c h + b_c)),    pi = softmax(Q h)

so that the matrix of log-probabilities of many contexts can have a rank of more than the width.

Letters: C components, M tokens times components.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE = 1 << 24
"""Elements of [M, V] that are there at a time."""


class SoftmaxMixture(nn.Module):
    """P, b and Q of the module's text."""

    def __init__(self, width: int, num_softmaxes: int) -> None:
        super().__init__()
        self.width, self.num_softmaxes = width, num_softmaxes
        self.prior = nn.Linear(width, num_softmaxes, bias=False)
        self.context = nn.Linear(width, num_softmaxes * width)
        for matrix in (self.prior.weight, self.context.weight):
            nn.init.xavier_uniform_(matrix)
        nn.init.zeros_(self.context.bias)

    def label_log_probabilities(
        self, hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return log p of each label, float32 [N] or wider. With gradients the logits of a part of the tokens are
        computed again in the backward pass: those of all tokens are never there.

        Args:
            dtype: of the products; None for that of ``hidden_ND``.
        """
        dtype = dtype or hidden_ND.dtype
        rows = max(1, LOGITS_AT_ONCE // (output_VD.shape[0] * self.num_softmaxes))
        parts = []
        for part_ND, part_N in zip(hidden_ND.split(rows), labels_N.split(rows), strict=True):
            if torch.is_grad_enabled():
                parts.append(
                    checkpoint(
                        self._label_log, part_ND, output_VD, part_N, dtype,
                        use_reentrant=False, preserve_rng_state=False,
                    )
                )  # fmt: skip
            else:
                parts.append(self._label_log(part_ND, output_VD, part_N, dtype))
        return torch.cat(parts)

    def log_probabilities(self, hidden_ND: Tensor, output_VD: Tensor) -> Tensor:
        """Return log p of all words: float32 [N, V] or wider."""
        log_prior_NC, logits_NCV = self._components(hidden_ND, output_VD, hidden_ND.dtype)
        return (log_prior_NC[:, :, None] + logits_NCV.log_softmax(2)).logsumexp(1)

    def _label_log(self, hidden_ND: Tensor, output_VD: Tensor, labels_N: Tensor, dtype: torch.dtype) -> Tensor:
        log_prior_NC, logits_NCV = self._components(hidden_ND, output_VD, dtype)
        labels_NC1 = labels_N[:, None, None].expand(-1, self.num_softmaxes, 1)
        log_label_NC = logits_NCV.gather(2, labels_NC1)[:, :, 0] - logits_NCV.logsumexp(2)
        return (log_prior_NC + log_label_NC).logsumexp(1)

    def _components(self, hidden_ND: Tensor, output_VD: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return log pi [N, C], and the logits of each component [N, C, V]."""
        wide, hidden_ND = torch.promote_types(torch.float32, dtype), hidden_ND.to(dtype)
        log_prior_NC = F.linear(hidden_ND, self.prior.weight.to(dtype)).to(wide).log_softmax(1)
        contexts = F.linear(hidden_ND, self.context.weight.to(dtype), self.context.bias.to(dtype)).tanh()
        context_MD = contexts.reshape(-1, self.width)
        logits_MV = F.linear(context_MD, output_VD.to(dtype)).to(wide)
        return log_prior_NC, logits_MV.view(-1, self.num_softmaxes, output_VD.shape[0])
