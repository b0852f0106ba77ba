"""What is measured on the dev set: loss, perplexity, and BLEU of real translations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from mtmoe.config import Recipe
from mtmoe.data.batches import sequential_batches
from mtmoe.data.preparation import Prepared
from mtmoe.data.subwords import SubwordModel
from mtmoe.inference.beam_search import SearchOptions, search_all
from mtmoe.inference.quality import measure_quality
from mtmoe.model.translation import TranslationModel
from mtmoe.training.loss import output_cross_entropy


class Validator:
    """Measures one model after another on the same dev set.

    The loss is in nats per target token with its end of sentence, without label smoothing; perplexity is its
    exponential. BLEU is sacreBLEU on detokenised text of the first ``translate_sentences`` dev sentences.
    """

    def __init__(self, recipe: Recipe, prepared: Prepared, subwords: SubwordModel, device: torch.device) -> None:
        self.recipe, self.device, self.subwords = recipe, device, subwords
        settings = recipe.training.validation
        self.corpus = prepared.valid
        self.source_lines = list(prepared.valid_source[: settings.translate_sentences])
        self.reference_lines = list(prepared.valid_target[: settings.translate_sentences])

    @torch.no_grad()
    def __call__(self, model: TranslationModel) -> dict[str, Any]:
        was_training = model.training
        model.eval()
        measured: dict[str, Any] = self._loss(model)
        if self.source_lines:
            quality = measure_quality(self._translate(model), [self.reference_lines])
            measured |= {"bleu": quality.bleu, "bleu_signature": quality.bleu_signature, "chrf": quality.chrf}
        model.train(was_training)
        return measured

    def _loss(self, model: TranslationModel) -> dict[str, float]:
        total, num_tokens = 0.0, 0
        for batch in sequential_batches(self.corpus, self.recipe.training.batch_tokens):
            output = model(batch.to(self.device))
            loss = output_cross_entropy(output.hidden_ND, model.output_VD, output.labels_N, 0.0, torch.float32)
            total += float(loss.plain_sum)
            num_tokens += output.labels_N.numel()
        loss_per_token = total / num_tokens
        return {"loss": loss_per_token, "perplexity": math.exp(min(loss_per_token, 50.0))}

    def _translate(self, model: TranslationModel) -> Sequence[str]:
        decoding = self.recipe.decoding
        options = SearchOptions.from_settings(
            decoding.model_copy(update={"beam_size": self.recipe.training.validation.beam_size})
        )
        sources = [ids[: decoding.max_source_tokens] for ids in self.subwords.encode_batch(self.source_lines)]
        found = search_all(model, sources, options, batch_tokens=decoding.batch_tokens, device=self.device)
        return [self.subwords.decode(hypotheses[0].ids) for hypotheses in found]
