"""Expert choice: every expert takes its best tokens, and gates are softmax values as they are."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from mtmoe.config.settings import Model
from mtmoe.model.layer_names import layer_of
from tests.gates import WIDTH, best, make_gate


@pytest.mark.parametrize("num_tokens", [60, 61])  # 61 x 2 / 12 is rounded up
def test_gates_in_training_are_the_softmax_of_the_best_tokens_in_value_and_gradient(num_tokens: int) -> None:
    gate = make_gate("expert-choice", False).double()
    x_ND = torch.randn(num_tokens, WIDTH, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    routing = gate(x_ND)
    found_NE = x_ND.new_zeros(num_tokens, 12).index_put((routing.tokens_M, routing.experts_M), routing.gates_M)
    logits_NE = x_ND @ gate.gate_DE
    values_NE = torch.exp(logits_NE) / torch.exp(logits_NE).sum(1, keepdim=True)
    each = -(-2 * num_tokens // 12)
    mask_NE = torch.zeros_like(values_NE)
    for expert in range(12):
        mask_NE[best(values_NE[:, expert], each), expert] = 1.0
    slow_NE = values_NE * mask_NE
    torch.testing.assert_close(found_NE, slow_NE)
    assert routing.token_counts_E.tolist() == [each] * 12
    assert float(slow_NE.sum(1).min()) < 0.5 < float(slow_NE.sum(1).max())  # no sum is 1
    weights_NE = torch.randn(num_tokens, 12, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    fast = torch.autograd.grad((found_NE * weights_NE).sum(), [x_ND, gate.gate_DE])
    slow = torch.autograd.grad((slow_NE * weights_NE).sum(), [x_ND, gate.gate_DE])
    for gradient, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(gradient, expected)


def test_in_evaluation_a_token_has_the_experts_above_their_thresholds_with_the_same_values() -> None:
    gate = make_gate("expert-choice", False).eval()
    with torch.no_grad():
        gate.log_threshold_E.copy_(torch.linspace(-1.0, 1.0, 12))
    x_ND = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
    routing = gate(x_ND)
    values_NE = (x_ND @ gate.gate_DE).softmax(1)
    above_NE = values_NE > torch.linspace(-1.0, 1.0, 12).exp() / 12
    found_NE = torch.zeros(40, 12).index_put((routing.tokens_M, routing.experts_M), routing.gates_M)
    torch.testing.assert_close(found_NE, values_NE * above_NE)


def test_a_decoder_refuses_it_since_it_would_see_the_future() -> None:
    moe = {"gate": "expert-choice"}
    Model.model_validate({"encoder_moe_after": (1,), "moe": moe})
    with pytest.raises(ValidationError) as error:
        Model.model_validate({"encoder_moe_after": (1,), "decoder_moe_after": (2,), "moe": moe})
    message = str(error.value)
    assert 'moe.gate = "expert-choice" is for encoders: with decoder_moe_after = [2]' in message
    assert "words behind it; decoder_moe_after = []" in message
    # Its dense twin has no gate.
    Model.model_validate({"decoder_moe_after": (2,), "moe": {**moe, "kind": "dense"}})


def test_the_layer_of_its_thresholds_is_that_of_its_gate() -> None:
    assert layer_of("encoder.moe_layers.1.gate.log_threshold_E") == "encoder.moe1"
