"""Validation on the dev sets: loss, perplexity, and BLEU of real translations of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtmoe.config import Recipe
from mtmoe.data.batches.running_text import rows_of_text
from mtmoe.data.batches.token_batches import Batch, sequential_batches
from mtmoe.data.prepared.lexicon import load_lexicon
from mtmoe.data.prepared.preparation import Prepared
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import Vocabulary
from mtmoe.distributed.batch_sharding import own_sentences
from mtmoe.distributed.mesh import ONE_PROCESS, Mesh
from mtmoe.distributed.unsynchronised_calls import unsynchronised_calls
from mtmoe.evaluation.bleu_tokenisers import ANOTHER_TOKENISER, check_tokeniser
from mtmoe.evaluation.quality import Quality, measure_quality
from mtmoe.inference.constraints.line_constraints import LineConstraints
from mtmoe.inference.constraints.pass_through import PassThrough
from mtmoe.inference.requests import Request
from mtmoe.inference.search.beam_search import SearchOptions, SearchTask, search_all
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.next_words.shortlist import shortlist_of
from mtmoe.inference.text.lines import SourcePart, decode_lines, joined
from mtmoe.inference.text.unmasking import with_items
from mtmoe.languages import Tokeniser, chosen_tokeniser, has_spaces
from mtmoe.model.building import Network
from mtmoe.model.language_model import LanguageModel, LanguageModelState
from mtmoe.model.softmax_mixture import SoftmaxMixture
from mtmoe.model.translation import Output, TranslationModel
from mtmoe.training.losses.label_smoothing import output_cross_entropy
from mtmoe.training.metrics.metrics_window import perplexity_of
from mtmoe.training.metrics.records import DevSetMetrics, ModelQuality, TranslationExample
from mtmoe.training.metrics.routing_by_language import routing_by_language

ROWS_OF_TEXT = 8
TOKENS_AT_ONCE = 256
_EXAMPLES = 2  # translations that people are shown


def validator_of(
    recipe: Recipe, prepared: Prepared, vocabulary: Vocabulary, device: torch.device, mesh: Mesh = ONE_PROCESS
) -> Validator | LanguageModelValidator:
    """Return the validator that suits the recipe's task."""
    if isinstance(vocabulary, SubwordModel) and recipe.task == "translation":
        return Validator(recipe, prepared, vocabulary, device, mesh)
    return LanguageModelValidator(recipe, prepared, device, mesh)


class Validator:
    """Measures one model after another on the same dev set.

    The loss is in nats per target token with its end of sentence, without label smoothing; perplexity is its
    exponential. BLEU is sacreBLEU on detokenised text of the first ``translate_sentences`` dev sentences, by the
    tokeniser of the language that the set translates into: what ``mtmoe bleu`` finds for these sentences with the same
    beam. Where there are several dev sets, it is their mean, in which each counts the same, whatever its size, its
    language and its tokeniser: a direction that is measured in characters weighs no more than one in words, and only
    changes of a set, which are of one tokeniser, decide which checkpoint is better. Of each set the first of its equal
    share of the sentences are translated. Loss, BLEU and the use of the experts are then told of each set, too.

    Of several processes all must call it, each with its experts: each takes its share of the sentences, and the main
    one alone is told of BLEU.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        subwords: SubwordModel,
        device: torch.device,
        mesh: Mesh = ONE_PROCESS,
    ) -> None:
        self.recipe, self.device, self.subwords, self.mesh = recipe, device, subwords, mesh
        settings = recipe.training.validation
        self.corpus = prepared.valid
        self.source_lines: list[str] = []
        self.reference_lines: list[str] = []
        self.parts: list[_Part] = []
        self.shortlist = shortlist_of(recipe.decoding, lambda: load_lexicon(prepared.lexicon_path, subwords.size))
        begin, parts = 0, self.corpus.parts
        for part in parts:
            chosen = slice(begin, begin + min(part.num_pairs, -(-settings.translate_sentences // len(parts))))
            self.source_lines += prepared.valid_source[chosen]
            self.reference_lines += prepared.valid_target[chosen]
            if chosen.stop > chosen.start:
                language = prepared.target_language("valid", part.name)
                tokeniser = chosen_tokeniser(settings.bleu_tokeniser, language)
                check_tokeniser(tokeniser, another=ANOTHER_TOKENISER)
                self.parts.append(_Part(part.name, chosen.stop - chosen.start, tokeniser))
            begin += part.num_pairs

    @torch.no_grad()
    def __call__(self, model: Network) -> ModelQuality:
        """Measure a model, which is in evaluation mode meanwhile."""
        assert isinstance(model, TranslationModel)
        was_training = model.training
        model.eval()
        sums = self._sums_by_set(model)
        translations = self.translate(model) if self.source_lines else []
        model.train(was_training)
        found = self._quality_by_set(translations) if translations and self.mesh.is_main else {}
        loss = sum(of_set.loss for of_set in sums.values()) / sum(of_set.num_tokens for of_set in sums.values())
        routing = routing_by_language({name: of_set.counts for name, of_set in sums.items() if of_set.num_tokens})
        return ModelQuality(
            loss=loss,
            perplexity=perplexity_of(loss),
            bleu=_mean([quality.bleu for quality in found.values()]),
            chrf=_mean([quality.chrf for quality in found.values()]),
            length_ratio=_length_ratio(translations, self.reference_lines) if found else None,
            dev_sets={
                name: DevSetMetrics(
                    of_set.loss / of_set.num_tokens if of_set.num_tokens else None,
                    found[name].bleu if name in found else None,
                    found[name].bleu_signature if name in found else None,
                    routing.get(name, {}),
                )
                for name, of_set in sums.items()
            },
            examples=tuple(map(TranslationExample, self.source_lines, self.reference_lines, translations))[:_EXAMPLES],
        )

    def _quality_by_set(self, translations: Sequence[str]) -> dict[str, Quality]:
        """Return BLEU and chrF of each dev set that is translated, by name."""
        found, begin = {}, 0
        for part in self.parts:
            lines = slice(begin, begin + part.num_lines)
            found[part.name] = measure_quality(
                translations[lines], [self.reference_lines[lines]], tokeniser=part.tokeniser
            )
            begin = lines.stop
        return found

    def _sums_by_set(self, model: TranslationModel) -> dict[str, _Sums]:
        """Return loss, tokens and routing of each dev set, by name."""
        found, begin = {}, 0
        for part in self.corpus.parts:
            pairs = slice(begin, begin + part.num_pairs)
            batches = sequential_batches(self.corpus, self.recipe.training.batch_tokens, pairs)
            outputs = (model(_own_part(batch, self.mesh).to(self.device)) for batch in batches)
            found[part.name] = _sums(outputs, model.output_VD, self.mesh)
            begin = pairs.stop
        return found

    def _texts(self, parts: Sequence[SourcePart], found: Sequence[Hypothesis]) -> list[str]:
        """Return translations of parts of lines, with what was cut out of these."""
        texts = decode_lines([hypothesis.ids for hypothesis in found], self.subwords)
        pieces = self.subwords.pieces if any(part.items for part in parts) else []
        words_apart = has_spaces(self.recipe.data.target_language)
        for place, (part, hypothesis) in enumerate(zip(parts, found, strict=True)):
            if part.items and hypothesis.attention is not None:
                texts[place] = with_items(part, hypothesis.ids, hypothesis.attention, pieces, words_apart).text
        return texts

    def translate(self, model: TranslationModel) -> list[str]:
        """Return the translations that BLEU is measured on; to all processes but the main one as many empty texts."""
        decoding = self.recipe.decoding
        # The best translation that one beam finds, whatever else the recipe translates with.
        beam_size = self.recipe.training.validation.beam_size
        one_beam = {"beam_size": beam_size, "diverse_beams": None, "sampling": None}
        own_lines = self.source_lines[self.mesh.rank :: self.mesh.size]
        data = self.recipe.data
        decoding = decoding.model_copy(update=one_beam)
        pass_through = PassThrough(decoding, self.subwords, data, self.recipe.subwords.user_symbols)
        sources = pass_through.divided([Request(line) for line in own_lines])
        parts = [part for source in sources for part in source.parts]
        options = SearchOptions.from_settings(decoding, keep_attention=any(part.items for part in parts))
        required = LineConstraints(decoding, self.subwords, None, words_apart=True)
        with unsynchronised_calls(model, self.mesh):
            found = search_all(
                model,
                [part.ids for part in parts],
                options,
                batch_tokens=decoding.batch_tokens,
                device=self.device,
                tasks=[required.added(SearchTask(number=number), part) for number, part in enumerate(parts)],
                shortlist=self.shortlist,
            )
        texts = iter(self._texts(parts, [hypotheses[0] for hypotheses in found]))
        own = [source.untranslated or joined([next(texts) for _ in source.parts], source, data) for source in sources]
        translations = [""] * len(self.source_lines)
        for rank, of_process in enumerate(self.mesh.gathered_by_main(own, "translations of the dev set")):
            translations[rank :: self.mesh.size] = of_process
        return translations


class LanguageModelValidator:
    """Loss and perplexity of a language model on the dev set, whole softmax, ends of sentences counted.

    A model that is trained on running text reads it in 8 rows, each from a zero state; `mtmoe score` reads it in one,
    and comes to a slightly lower perplexity. Of several processes all must call it.
    """

    def __init__(self, recipe: Recipe, prepared: Prepared, device: torch.device, mesh: Mesh = ONE_PROCESS) -> None:
        self.recipe, self.device, self.corpus, self.mesh = recipe, device, prepared.valid, mesh

    @torch.no_grad()
    def __call__(self, model: Network) -> ModelQuality:
        """Measure a model, which is in evaluation mode meanwhile."""
        assert isinstance(model, LanguageModel)
        was_training = model.training
        model.eval()
        sums = _sums(self._outputs(model), model.output_VD, self.mesh, model.softmax_mixture)
        model.train(was_training)
        loss = sums.loss / sums.num_tokens
        return ModelQuality(loss=loss, perplexity=perplexity_of(loss))

    def _outputs(self, model: LanguageModel) -> Iterator[Output]:
        settings = self.recipe.training
        state: LanguageModelState | None = None
        runs_on = settings.bptt_steps > 0
        batches: Iterator[Batch] = (
            rows_of_text(self.corpus, ROWS_OF_TEXT, TOKENS_AT_ONCE)
            if runs_on
            else sequential_batches(self.corpus, settings.batch_tokens)
        )
        for batch in batches:
            output, after = model.continued(_own_part(batch, self.mesh).to(self.device), state)
            state = after if runs_on else None
            yield output


class _Part(NamedTuple):
    """A dev set, as far as it is translated."""

    name: str
    num_lines: int
    tokeniser: Tokeniser


class _Sums(NamedTuple):
    """Over all target tokens: loss in nats, their number, and tokens of each expert by layer."""

    loss: float
    num_tokens: int
    counts: dict[str, Tensor]


def _own_part(batch: Batch, mesh: Mesh) -> Batch:
    """Return this process's sentences of a batch of the dev set, with which the model's next call begins."""
    mesh.collective_log.begin_batch()
    return own_sentences(batch, mesh)[0]


def _sums(outputs: Iterator[Output], output_VD: Tensor, mesh: Mesh, mixture: SoftmaxMixture | None = None) -> _Sums:
    """Return the sums over all processes, which all must come with the outputs of their parts of the same batches."""
    total, num_tokens = 0.0, 0
    counts: dict[str, Tensor] = {}
    for output in outputs:
        if mixture is not None:
            log_N = mixture.label_log_probabilities(output.hidden_ND, output_VD, output.labels_N, torch.float32)
            total -= float(log_N.sum())
        else:
            loss = output_cross_entropy(output.hidden_ND, output_VD, output.labels_N, 0.0, torch.float32)
            total += float(loss.plain_sum)
        num_tokens += output.labels_N.numel()
        for layer, balance in output.balances.items():
            counts[layer] = counts.get(layer, 0) + balance.token_counts_E
    told = torch.tensor([total, num_tokens], dtype=torch.float64, device=output_VD.device)
    total, num_tokens = mesh.add_up(told, "the loss on the dev set").tolist()
    counts = {layer: mesh.add_up(of_layer, f"tokens of {layer}").cpu() for layer, of_layer in counts.items()}
    return _Sums(total, int(num_tokens), counts)


def _length_ratio(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return the characters of translations, divided by those of their references."""
    return sum(map(len, translations)) / max(sum(map(len, references)), 1)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
