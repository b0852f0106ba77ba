"""The compiled model computes what the model of torch does, in every wiring and on every family of processors."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from mtmoe.config.settings import Decoding, MixtureOfExpertsSettings, Model
from mtmoe.config.settings.model import Hierarchy
from mtmoe.errors import UserError
from mtmoe.inference.compiled import library as library_module
from mtmoe.inference.compiled.compiled_model import CompiledModel, can_compile
from mtmoe.inference.compiled.library import FAMILIES, best_family, library
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.models.search_models import search_model_of
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.next_words.likeliest import Ban, next_words
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.ops.int8 import Int8Matrix
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import BOS, EOS

VOCABULARY = 53  # no multiple of a block
MIXTURE = MixtureOfExpertsSettings(num_experts=5, experts_per_token=2, expert_hidden=24)
WIRINGS = [
    {},
    {"encoder_bottom": "sum", "output_attention": True},
    {"encoder_bottom": "wide", "encoder_layers": 3, "encoder_moe_after": (2, 3), "decoder_moe_after": (1, 2)},
    {"attention": "additive", "attention_width": 24, "attention_context": "recurrent", "decoder_layers": 3},
    {"attention_context": "recurrent-all", "attention_width": 8, "output_attention": True},
    {"lstm_hidden": 48, "output_attention": True},
    {"lstm_projection": True, "encoder_layers": 1, "encoder_moe_after": (), "decoder_layers": 1},
    {"residual": False, "output_attention": True},
    {"bottom_residual": False, "attention_context": "recurrent-all"},
    {"tied_embeddings": "all", "moe": MIXTURE.model_copy(update={"gate": "softmax", "sigmoid_output": True})},
    {"moe": MIXTURE.model_copy(update={"experts_per_token": 5})},
    {"moe": MIXTURE.model_copy(update={"kind": "dense", "dense_layers": 3, "sigmoid_output": True})},
    {"moe": MIXTURE.model_copy(update={"gate": "sigmoid", "gate_scale": 2.5, "sigmoid_output": True})},
    {"moe": MIXTURE.model_copy(update={"gate": "sigmoid", "choice_bias_rate": 0.1, "shared_experts": 2})},
    {"moe": MIXTURE.model_copy(update={"gate": "softmax", "choice_bias_rate": 0.1}), "residual": False},
    {"moe": MIXTURE.model_copy(update={"shared_experts": 1, "sigmoid_output": True}), "lstm_hidden": 48},
    {"width": 40, "attention_width": 8},  # no multiple of a vector
]
SOURCES = [[5, 6, 7, 8, 9, 10, 11], [12], [13, 14, 15, 16], [5, 5, 5], list(range(4, 40))]
OPTIONS = SearchOptions.from_settings(Decoding(beam_size=4, max_length_ratio=1.0, max_length_extra=6), num_best=3)

families = pytest.mark.parametrize("family", FAMILIES[: FAMILIES.index(best_family() or "plain") + 1])
wirings = pytest.mark.parametrize("wiring", WIRINGS, ids=str)


def model_of(**settings: object) -> TranslationModel:
    """Build a model of random weights, none of which are zeros or alike."""
    torch.manual_seed(1)
    base: dict[str, object] = {"width": 32, "encoder_moe_after": (1,), "decoder_moe_after": (1,), "moe": MIXTURE}
    model = TranslationModel(Model(**(base | settings)), VOCABULARY).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 1.0)
    return model


def batch(sources: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids with EOS at the end and PAD behind, and lengths."""
    lengths_B = torch.tensor([len(source) + 1 for source in sources])
    ids_BS = torch.zeros(len(sources), int(lengths_B.max()), dtype=torch.int64)
    for row_S, source in zip(ids_BS, sources, strict=True):
        row_S[: len(source) + 1] = torch.tensor([*source, EOS])
    return ids_BS, lengths_B


@torch.inference_mode()
def steps_of(model, sources: list[list[int]], num_steps: int = 4) -> list[tuple[torch.Tensor, ...]]:
    """Walk through a search: words [X, 6] that are fixed, rows that go on, double, turn round and leave."""
    generator = np.random.default_rng(0)
    source_BS, lengths_B = batch(sources)
    state = model.initial_state(model.encode(source_BS, lengths_B))
    tokens_X, result = torch.full((len(sources),), BOS), []
    for _ in range(num_steps):
        hidden_XD, attention_XS, state = model.decode_step(tokens_X, state)
        result.append((hidden_XD, attention_XS, model.project(hidden_XD)))
        rows = torch.from_numpy(np.sort(generator.integers(0, len(tokens_X), len(tokens_X) + 1)))
        state = state.select(rows)
        tokens_X = torch.from_numpy(generator.integers(4, VOCABULARY, len(rows)))
        other = model.initial_state(model.encode(*batch(sources[:2])))
        state, tokens_X = state.join(other), torch.cat([tokens_X, torch.full((2,), BOS)])
    return result


def test_the_library_is_built_here():
    assert library() is not None, "there is no C++ compiler, or it failed: pip install -v --editable ."


@families
@wirings
def test_it_computes_what_the_model_does(wiring, family):
    model = model_of(**wiring)
    assert can_compile(model)
    found = steps_of(CompiledModel(model, family=family), SOURCES)
    for step, expected in zip(found, steps_of(model, SOURCES), strict=True):
        hidden_XD, attention_XS, logits_XV = step
        width = attention_XS.shape[1]
        torch.testing.assert_close(hidden_XD, expected[0], rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(attention_XS, expected[1][:, :width], rtol=1e-4, atol=1e-5)
        assert not expected[1][:, width:].any()
        torch.testing.assert_close(logits_XV, expected[2], rtol=1e-4, atol=1e-3)


@wirings
def test_in_8_bits_all_families_round_alike_and_stay_near(wiring):
    model = model_of(**wiring)
    exact = steps_of(model, SOURCES, 2)
    of_families = [steps_of(CompiledModel(model, in_int8=True, family=family), SOURCES, 2) for family in FAMILIES[:1]]
    if best_family() != "plain":
        of_families.append(steps_of(CompiledModel(model, in_int8=True), SOURCES, 2))
    for steps in of_families:
        for step, first, rounded in zip(exact, of_families[0], steps, strict=True):
            # A last bit may round a step up or down.
            torch.testing.assert_close(rounded[0], first[0], rtol=0, atol=0.15 * float(first[0].std()))
            correlation = torch.corrcoef(torch.stack([step[2].flatten(), rounded[2].flatten()]))[0, 1]
            assert correlation > 0.98


@families
def test_a_product_in_8_bits_is_that_of_the_reference(family):
    model = model_of()
    hidden_XD = torch.randn(7, 32)
    expected_XV = Int8Matrix(model.output_VD).product(hidden_XD)
    compiled = CompiledModel(model, in_int8=True, family=family)
    torch.testing.assert_close(compiled.project(hidden_XD), expected_XV, rtol=1e-6, atol=1e-6)


@families
@pytest.mark.parametrize("in_int8", [False, True])
def test_what_a_row_gives_depends_on_the_row_alone_to_the_bit(family, in_int8):
    compiled = CompiledModel(model_of(output_attention=True), in_int8=in_int8, family=family)
    together = steps_of(compiled, SOURCES, 1)[0]
    for number, source in enumerate(SOURCES):
        alone = steps_of(compiled, [source], 1)[0]
        width = alone[1].shape[1]
        assert torch.equal(alone[0][0], together[0][number])
        assert torch.equal(alone[1][0], together[1][number, :width])
        assert torch.equal(alone[2][0], together[2][number])
    hidden_XD = torch.randn(23, 32)
    whole = compiled.next_words(hidden_XD, 5)
    for row in range(23):
        one = compiled.next_words(hidden_XD[row : row + 1], 5)
        assert all(torch.equal(part[0], of_all[row]) for part, of_all in zip(one, whole, strict=True))


@torch.inference_mode()
@families
def test_next_words_are_the_likeliest_without_what_is_banned(family):
    model = model_of()
    compiled = CompiledModel(model, family=family)
    hidden_XD = torch.randn(9, 32)
    free = next_words(model, hidden_XD, 6)
    ban = Ban(torch.tensor([0, 0, 3, 8]), torch.tensor([free.words_XW[0, 0], 7, free.words_XW[3, 2], 9]))
    proposed_XP = torch.randint(4, VOCABULARY, (9, 3))
    for arguments in (
        {},
        {"proposed_XP": proposed_XP},
        {"ban": ban, "proposed_XP": proposed_XP},
        {"not_words": [0, 2, 3]},
    ):
        found, expected = compiled.next_words(hidden_XD, 6, **arguments), next_words(model, hidden_XD, 6, **arguments)
        assert torch.equal(found.words_XW, expected.words_XW)
        for part, of_model in zip(found[1:], expected[1:], strict=True):
            torch.testing.assert_close(part.float(), of_model, rtol=1e-4, atol=1e-4)


def test_of_equal_words_the_first_ones_are_found():
    model = model_of()
    with torch.no_grad():
        model.output_VD[:] = 0
        model.output_VD[20:30] = 1.0
    found = CompiledModel(model).next_words(torch.ones(1, 32), 12)
    assert found.words_XW[0].tolist() == [*range(20, 30), 4, 5]


@wirings
def test_a_search_finds_the_same_hypotheses(wiring):
    model = model_of(**wiring)
    compiled = CompiledModel(model)
    for options in (OPTIONS, replace(OPTIONS, beam_size=1, num_best=1)):
        expected = search_all(model, SOURCES, options, batch_tokens=10_000)
        for batch_tokens, num_threads in itertools.product((1, 60, 10_000), (1, 2)):
            found = search_all(compiled, SOURCES, options, batch_tokens=batch_tokens, num_threads=num_threads)
            for hypotheses, others in zip(found, expected, strict=True):
                assert [one.ids for one in hypotheses] == [one.ids for one in others]
                assert [one.score for one in hypotheses] == pytest.approx([one.score for one in others], abs=1e-4)


def test_an_ensemble_is_compiled_model_by_model():
    models = [model_of(), model_of(output_attention=True, width=40)]
    ensemble = Ensemble(models, [1.0, 2.0])
    compiled = search_model_of(ensemble, "fp32")
    assert all(isinstance(one, CompiledModel) for one in compiled.models)
    expected = search_all(ensemble, SOURCES, OPTIONS, batch_tokens=1000)
    found = search_all(compiled, SOURCES, OPTIONS, batch_tokens=1000)
    assert [[one.ids for one in group] for group in found] == [[one.ids for one in group] for group in expected]


def test_what_is_no_number_is_an_error_in_every_precision():
    for in_int8 in (False, True):
        for name in ("output_VD", "decoder.bottom.cell.weight_hh_l0", "encoder.moe_layers.1.experts.second_EHD"):
            model = model_of()
            with torch.no_grad():
                model.get_parameter(name).fill_(float("nan"))
            with pytest.raises(UserError, match="not a number"):
                search_all(CompiledModel(model, in_int8=in_int8), SOURCES, OPTIONS, batch_tokens=100)


def test_other_models_are_left_to_torch(monkeypatch):
    two_levels = MixtureOfExpertsSettings(num_experts=8, experts_per_token=4, hierarchy=Hierarchy(groups=4))
    balanced = MIXTURE.model_copy(update={"gate": "strictly-balanced"})
    choice = MIXTURE.model_copy(update={"gate": "expert-choice", "shared_experts": 1})
    others = [model_of(moe=two_levels), model_of(moe=balanced), model_of(moe=choice, decoder_moe_after=())]
    others.append(model_of(moe=two_levels.model_copy(update={"gate": "sigmoid"})))
    others.append(model_of(mogrifier_rounds=3))
    others += [model_of().double(), model_of().to(torch.bfloat16)]
    others.append(LanguageModel(Model(width=32, encoder_moe_after=(), decoder_moe_after=()), VOCABULARY))
    assert not any(can_compile(model) for model in others)
    for model in others[:5]:
        assert search_model_of(model, "fp32") is model
        assert search_all(model, SOURCES, OPTIONS, batch_tokens=1000)
    with pytest.raises(UserError, match="needs the compiled search"):
        search_model_of(others[0], "int8", with_shortlist=True)
    assert isinstance(search_model_of(model_of(), "int8", with_shortlist=True), CompiledModel)
    assert not isinstance(search_model_of(model_of(), "bf16-int8"), CompiledModel)
    monkeypatch.setattr(library_module, "library", lambda: None)
    monkeypatch.setattr("mtmoe.inference.compiled.compiled_model.library", lambda: None)
    assert not can_compile(model_of())


def test_weights_take_the_room_that_they_need():
    model = model_of(width=64)
    sizes = [CompiledModel(model, in_int8=in_int8).num_bytes for in_int8 in (False, True)]
    embeddings = model.source_embedding_VD.numel() + model.target_embedding_VD.numel()
    num_weights = sum(parameter.numel() for parameter in model.parameters()) - embeddings
    assert sizes[0] < 4 * num_weights * 1.2
    assert sizes[1] < num_weights * 1.5
