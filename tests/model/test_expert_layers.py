"""Expert layers: their experts' outputs add up, and a gate does without an expert as eq. 3 says."""

from __future__ import annotations

import pytest
import torch

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings
from mtmoe.model.expert_layers import NONE, outputs_of_experts, watched, without_experts
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from tests.gates import GATES, make_gate

WIDTH = 8


def make_layer(gate: str, two_levels: bool, *, sigmoid_output: bool = False) -> MixtureOfExperts:
    """A layer of 12 experts with random gates, in evaluation."""
    made = make_gate(gate, two_levels)
    levels = Hierarchy(groups=3, groups_per_token=2) if two_levels else None
    settings = MixtureOfExpertsSettings(
        gate=gate,  # type: ignore[arg-type]
        num_experts=12,
        experts_per_token=4 if two_levels else 2,
        expert_hidden=16,
        hierarchy=levels,
        sigmoid_output=sigmoid_output,
        load_loss_weight=0.0,
        **({"noise_floor": 0.03} if gate == "noisy-top-k" else {}),
    )
    torch.manual_seed(5)
    layer = MixtureOfExperts(WIDTH, settings)
    layer.gate = made
    return layer.eval()


@pytest.mark.parametrize(("gate", "two_levels"), GATES)
@pytest.mark.parametrize("sigmoid_output", [False, True])
def test_outputs_of_the_experts_add_up_to_the_layers_output(gate: str, two_levels: bool, sigmoid_output: bool) -> None:
    layer = make_layer(gate, two_levels, sigmoid_output=sigmoid_output)
    x_ND = torch.randn(30, WIDTH)
    with torch.inference_mode(), watched({"layer": layer}) as calls:
        y_ND, _ = layer(x_ND)
        [routed] = calls["layer"]
        outputs_MD = outputs_of_experts(layer, routed)
    assert outputs_MD.shape == (routed.routing.tokens_M.shape[0], WIDTH)
    sums_ND = torch.zeros_like(x_ND).index_add(0, routed.routing.tokens_M, outputs_MD)
    torch.testing.assert_close(sums_ND.sigmoid() if sigmoid_output else sums_ND, y_ND)
    expert, gate_value = int(routed.routing.experts_M[3]), float(routed.routing.gates_M[3])
    first_DH, second_HD = layer.experts.first_EDH[expert].detach(), layer.experts.second_EHD[expert].detach()
    x_D = x_ND[int(routed.routing.tokens_M[3])]
    torch.testing.assert_close(outputs_MD[3], gate_value * ((x_D @ first_DH).relu() @ second_HD))


@pytest.mark.parametrize(("gate", "two_levels"), GATES)
def test_without_an_expert_the_others_of_a_token_have_its_gate_in_their_proportions(
    gate: str, two_levels: bool
) -> None:
    layer = make_layer(gate, two_levels)
    x_ND = torch.randn(40, WIDTH)
    with torch.inference_mode():
        whole = layer.gate(x_ND)
        left_out = int(whole.experts_M[0])
        with without_experts({"layer": layer}, {"layer": left_out}):
            routing = layer.gate(x_ND)
        assert layer.gate(x_ND).experts_M.tolist() == whole.experts_M.tolist()
    assert left_out not in routing.experts_M.tolist()
    num_changed = 0
    for token in range(40):
        before, now = (
            dict(zip(r.experts_M[r.tokens_M == token].tolist(), r.gates_M[r.tokens_M == token].tolist(), strict=True))
            for r in (whole, routing)
        )
        taken = before.pop(left_out, None)
        if taken is None:
            assert now == before
        else:
            num_changed += 1
            left = 1 - taken if gate != "expert-choice" else 1.0
            assert now == pytest.approx({expert: value / left for expert, value in before.items()}, rel=1e-4)
    assert num_changed > 1
    assert routing.token_counts_E.tolist() == torch.bincount(routing.experts_M, minlength=12).tolist()


def test_each_token_can_do_without_another_expert_over_several_calls() -> None:
    layer = make_layer("softmax", False)
    x_ND = torch.randn(10, WIDTH)
    with torch.inference_mode():
        whole = layer.gate(x_ND)
        firsts_N = whole.experts_M[::2].clone()
        firsts_N[1::2] = NONE
        with without_experts({"layer": layer}, {"layer": firsts_N}):
            parts = [layer.gate(x_ND[:4]), layer.gate(x_ND[4:])]
    experts = [
        part.experts_M[part.tokens_M == n].tolist() for part in parts for n in range(4 if part is parts[0] else 6)
    ]
    expected = [pair[1:] if n % 2 == 0 else pair for n, pair in enumerate(whole.experts_M.view(-1, 2).tolist())]
    assert experts == expected


def test_a_token_whose_only_expert_is_left_out_has_the_output_0() -> None:
    layer = make_layer("softmax", False)
    layer.gate = make_gate("softmax", False, k=1).eval()
    x_ND = torch.randn(20, WIDTH)
    with torch.inference_mode():
        experts_N = layer.gate(x_ND).experts_M
        with without_experts({"layer": layer}, {"layer": int(experts_N[0])}):
            y_ND, _ = layer(x_ND)
        whole_ND, _ = layer(x_ND)
    is_left_N = experts_N == experts_N[0]
    assert torch.count_nonzero(y_ND[is_left_N]) == 0
    assert torch.equal(y_ND[~is_left_N], whole_ND[~is_left_N])


def test_beside_shared_experts_the_outputs_of_the_others_add_up_to_the_rest() -> None:
    settings = MixtureOfExpertsSettings(
        gate="sigmoid", gate_scale=2.0, num_experts=12, expert_hidden=16, shared_experts=2, sigmoid_output=False
    )
    layer, x_ND = MixtureOfExperts(WIDTH, settings).eval(), torch.randn(30, WIDTH)
    with torch.inference_mode(), watched({"layer": layer}) as calls:
        y_ND, _ = layer(x_ND)
        [routed] = calls["layer"]
        outputs_MD = outputs_of_experts(layer, routed)
        sums_ND = torch.zeros_like(x_ND).index_add(0, routed.routing.tokens_M, outputs_MD)
        torch.testing.assert_close(sums_ND + layer.shared(x_ND), y_ND)
        # The scale is what the gates of a token sum to, without an expert as with it.
        with without_experts({"layer": layer}, {"layer": int(routed.routing.experts_M[0])}):
            routing = layer.gate(x_ND)
        gates_N = torch.zeros(30).index_add(0, routing.tokens_M, routing.gates_M)
        torch.testing.assert_close(gates_N, torch.full((30,), 2.0))
