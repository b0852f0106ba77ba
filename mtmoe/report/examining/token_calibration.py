"""Calibration of next subwords: how often the likeliest one is that of the reference, by how likely it is.

Letters: N target tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mtmoe.data.batches.padding import batch_of
from mtmoe.inference.scoring.calibration import Reliability, reliability
from mtmoe.model.translation import TranslationModel

SENTENCES_AT_ONCE = 50


@torch.inference_mode()
def token_reliability(model: TranslationModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Reliability:
    """Return how well P of the likeliest next subword, given the reference so far, agrees with whether it is right.

    Args:
        pairs: ids of source and target sentences, without special symbols; at least one.
    """
    device = next(model.parameters()).device
    probabilities: list[float] = []
    outcomes: list[bool] = []
    for begin in range(0, len(pairs), SENTENCES_AT_ONCE):
        part = pairs[begin : begin + SENTENCES_AT_ONCE]
        output = model(batch_of([source for source, _ in part], [target for _, target in part]).to(device))
        logits_NV = output.hidden_ND.float() @ model.output_VD.float().T
        likeliest_N, ids_N = torch.log_softmax(logits_NV, dim=1).max(dim=1)
        probabilities += likeliest_N.exp().clamp(max=1.0).tolist()
        outcomes += (ids_N == output.labels_N).tolist()
    return reliability(probabilities, outcomes)
