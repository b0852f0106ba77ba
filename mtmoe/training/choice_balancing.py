"""Choice balancing: after each optimizer step the biases on the gates' choice go towards equal numbers of tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from mtmoe.distributed.mesh import Mesh
from mtmoe.model.expert_layers import expert_layers
from mtmoe.model.moe.gating import ScoredGate, changed_bias
from mtmoe.model.moe.routing import Balance


class ChoiceBalancing:
    """The biases of all layers of a model (`mtmoe/model/moe/gating/choice_bias.py`), which have no gradient."""

    def __init__(self, model: nn.Module, frozen: Collection[str], mesh: Mesh) -> None:
        """Find the gates that have a bias. ``frozen`` has the names of parameters that stay as they are."""
        self._mesh = mesh
        kept = {id(parameter) for name, parameter in model.named_parameters() if name in frozen}
        self._gates: dict[str, tuple[Tensor, float]] = {}
        for layer, module in expert_layers(model).items():
            gate = module.gate
            if isinstance(gate, ScoredGate) and gate.choice_bias_E is not None and id(gate.choice_bias_E) not in kept:
                self._gates[layer] = gate.choice_bias_E.detach(), gate.choice_bias_rate

    @torch.no_grad()
    def update(self, batches: Sequence[Mapping[str, Balance]]) -> None:
        """Change all biases by the tokens that the experts received in the batches of one optimizer step.

        All processes must call it: the counts are those of all, and the biases the same bits on each.
        """
        if not self._gates:
            return
        counts = [torch.stack([batch[layer].token_counts_E for batch in batches]).sum(0) for layer in self._gates]
        total = self._mesh.add_up(torch.cat(counts), "the tokens of experts")
        parts = total.split([count.numel() for count in counts])
        for (bias_E, rate), token_counts_E in zip(self._gates.values(), parts, strict=True):
            bias_E.copy_(changed_bias(bias_E, token_counts_E, rate))
