"""Translating in bf16 and int8: nearly the same, with gates and cells in full precision."""

from __future__ import annotations

import itertools

import pytest
import torch

from mtmoe.checkpoint import load_model
from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.data.batches.token_batches import batch_of
from mtmoe.errors import UserError
from mtmoe.inference.models.ensemble import Ensemble
from mtmoe.inference.models.inference_precision import prepare_for_search
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.translator import Translator
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.ops.int8 import Int8Matrix
from mtmoe.model.ops.rows import with_common_number_of_rows
from mtmoe.model.translation import TranslationModel
from mtmoe.precision import check_precision
from tests.hardware import NEEDS_BF16

SOURCES, TARGETS = [[5, 6, 7, 8], [9, 10]], [[11, 12, 13], [14, 15, 16, 17]]


def _model(**settings) -> TranslationModel:
    torch.manual_seed(0)
    moe = MixtureOfExpertsSettings(num_experts=4, experts_per_token=2, expert_hidden=32, gate="softmax")
    base = {"width": 32, "encoder_moe_after": (1,), "decoder_moe_after": (1,), "moe": moe}
    return TranslationModel(Model(**(base | settings)), 50).eval()


def _step_by_step(model: TranslationModel, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities of the targets [B, T], and of the last step what is projected and its logits."""
    batch = batch_of(SOURCES, TARGETS)
    state = model.initial_state(model.encode(batch.source_BS, batch.source_lengths_B))
    steps = []
    for step in range(batch.target_BT.shape[1] - 1):
        hidden_BD, attention_BS, state = model.decode_step(batch.target_BT[:, step], state)
        logits_BV = model.project(hidden_BD)
        assert (logits_BV.dtype, attention_BS.dtype, hidden_BD.dtype) == (torch.float32, torch.float32, dtype)
        assert state.layers[0].cell_BH.dtype == torch.float32
        steps.append(logits_BV.log_softmax(1).gather(1, batch.target_BT[:, step + 1 : step + 2]))
    return torch.cat(steps, dim=1) * (batch.target_BT[:, 1:] != 0), hidden_BD, logits_BV


WIRINGS = [
    {},
    {"attention_context": "recurrent", "attention": "additive"},
    {"lstm_hidden": 48},
    {"output_attention": True},
]


@torch.inference_mode()
@pytest.mark.parametrize("wiring", WIRINGS, ids=str)
def test_bf16_gives_nearly_the_log_probabilities_of_fp32_step_by_step(wiring):
    exact_BT = _model(**wiring).log_probabilities(batch_of(SOURCES, TARGETS))
    model = _model(**wiring)
    prepare_for_search(model, "bf16")
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert {name for name, dtype in dtypes.items() if dtype == torch.float32} == {n for n in dtypes if ".gate." in n}
    assert set(dtypes.values()) == {torch.float32, torch.bfloat16}
    found_BT, hidden_BD, logits_BV = _step_by_step(model, torch.bfloat16)
    torch.testing.assert_close(found_BT, exact_BT, rtol=0.02, atol=0.02)
    assert not torch.equal(found_BT, exact_BT)
    torch.testing.assert_close(model.project(hidden_BD, out=torch.empty_like(logits_BV)), logits_BV)


@torch.inference_mode()
@pytest.mark.parametrize("wiring", WIRINGS, ids=str)
def test_int8_gives_nearly_the_log_probabilities_of_fp32_step_by_step(wiring):
    exact_BT = _model(**wiring).log_probabilities(batch_of(SOURCES, TARGETS))
    model = _model(**wiring)
    prepare_for_search(model, "int8")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    found_BT, hidden_BD, logits_BV = _step_by_step(model, torch.float32)
    torch.testing.assert_close(found_BT, exact_BT, rtol=0.02, atol=0.02)
    assert not torch.equal(found_BT, exact_BT)
    assert torch.equal(model.project(hidden_BD, out=torch.empty_like(logits_BV)), logits_BV)


@NEEDS_BF16
@torch.inference_mode()
@pytest.mark.parametrize("wiring", WIRINGS, ids=str)
def test_bf16_with_int8_gives_nearly_the_log_probabilities_of_fp32_step_by_step(wiring):
    exact_BT = _model(**wiring).log_probabilities(batch_of(SOURCES, TARGETS))
    model, listed, other = _model(**wiring), _model(**wiring), _model(**wiring)
    prepare_for_search(model, "bf16-int8")
    prepare_for_search(listed, "bf16-int8", with_shortlist=True)
    prepare_for_search(other, "bf16")
    assert (model.int8_output is None, listed.int8_output is None) == (False, True)
    assert all(isinstance(lstm.joined.both_GI, Int8Matrix) for lstm in (model.decoder.bottom, *model.decoder.upper))
    assert model.encoder.bottom.forward_direction.joined is None, "it has no steps"
    found = [_step_by_step(each, torch.bfloat16)[0] for each in (model, listed, other)]
    for one_BT in found:
        torch.testing.assert_close(one_BT, exact_BT, rtol=0.03, atol=0.03)
    assert not any(torch.equal(one_BT, other_BT) for one_BT, other_BT in itertools.combinations(found, 2))


@torch.inference_mode()
def test_int8_is_of_every_model_that_searches():
    one, other = _model(), _model()
    language_model = LanguageModel(Model(width=32, decoder_layers=2, tied_embeddings="none"), 50).eval()
    tokens_B = torch.tensor([5, 6])
    exact_BV, _ = language_model.decode_step(tokens_B, language_model.initial_state(2))
    for model in (Ensemble([one, other]), language_model):
        prepare_for_search(model, "int8")
    assert one.int8_output is not None
    assert other.int8_output is not None
    found_BV, _ = language_model.decode_step(tokens_B, language_model.initial_state(2))
    torch.testing.assert_close(found_BV, exact_BV, rtol=0.05, atol=0.05)
    assert not torch.equal(found_BV, exact_BV)


def test_translations_in_int8_do_not_depend_on_the_batch(run_directory):
    lines = ["Where is the station?", "Two dogs play in the snow.", "A man", "Yes."] * 3
    exact = Translator(run_directory, device="cpu").translate(lines)
    found = Translator(run_directory, device="cpu", overrides=["decoding.precision='int8'"]).translate(lines)
    small = ["decoding.precision='int8'", "decoding.batch_tokens=30"]
    alone = Translator(run_directory, device="cpu", overrides=small).translate(lines[::-1])[::-1]
    for translation, other, reference in zip(found, alone, exact, strict=True):
        # Attention is in fp32, whose last bits depend on the number of rows, and may make a step of 1/63 another one.
        assert translation.text == other.text
        assert translation.log_probability == pytest.approx(other.log_probability, rel=1e-3)
        assert translation.log_probability != reference.log_probability
        if translation.text == reference.text:
            assert translation.log_probability == pytest.approx(reference.log_probability, rel=0.05)


@pytest.mark.parametrize("precision", ["int8", "bf16-int8"])
def test_int8_is_refused_on_a_gpu(precision):
    message = rf'decoding\.precision = "{precision}" is for CPUs, but the device is cuda:0'
    with pytest.raises(UserError, match=message) as error:
        check_precision(torch.device("cuda:0"), precision, "decoding.precision", "take fp32")
    assert error.value.fix == "take fp32"


@NEEDS_BF16
def test_the_setting_is_the_precision_of_the_translator(run_directory):
    lines = ["Where is the station?", "Two dogs play in the snow."]
    exact = Translator(run_directory, device="cpu").translate(lines)
    rough = Translator(run_directory, device="cpu", overrides=["decoding.precision='bf16'"])
    assert rough.loaded.model.output_VD.dtype == torch.bfloat16
    for translation, other in zip(rough.translate(lines), exact, strict=True):
        assert translation.log_probability != other.log_probability
        if translation.text == other.text:
            assert translation.log_probability == pytest.approx(other.log_probability, rel=0.05)


@NEEDS_BF16
@pytest.mark.parametrize("precision", ["bf16", "bf16-int8"])
def test_translations_in_lower_precision_score_nearly_as_in_full(run_directory, precision):
    lines = ["Where is the station?", "Two dogs play in the snow.", "A man", "Yes."]
    found = Translator(run_directory, device="cpu", overrides=[f"decoding.precision={precision}"]).translate(lines)
    loaded = load_model(run_directory, "best", "cpu")
    for translation, score in zip(found, score_pairs(loaded, lines, [t.text for t in found]), strict=True):
        assert translation.log_probability != score.log_probability
        assert translation.log_probability == pytest.approx(score.log_probability, rel=0.05)


def test_a_processor_without_bf16_arithmetic_is_told_what_to_set(run_directory, monkeypatch):
    monkeypatch.setattr("mtmoe.precision.onednn_has_bf16", lambda: False)
    with pytest.raises(
        UserError, match=r'decoding\.precision = "bf16": this processor has no bf16 arithmetic'
    ) as error:
        Translator(run_directory, device="cpu", overrides=["decoding.precision='bf16'"])
    assert error.value.fix == "--set decoding.precision=fp32"


def test_rows_of_zeros_fill_up_to_a_number_that_is_common():
    x_XD = torch.ones(150, 3, dtype=torch.bfloat16)
    filled_XD = with_common_number_of_rows(x_XD)
    assert len(filled_XD) == 160
    assert torch.equal(filled_XD[:150], x_XD)
    assert not filled_XD[150:].any()
    sizes = {len(with_common_number_of_rows(torch.ones(rows, 1, dtype=torch.bfloat16))) for rows in range(1, 513)}
    assert len(sizes) <= 20
    assert with_common_number_of_rows(x_XD.float()).shape == (150, 3)
