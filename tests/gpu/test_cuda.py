"""What only a CUDA device can show. Without one every test here is skipped, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtmoe.benchmark.machine import timed
from mtmoe.checkpoint import load_language_model, load_model
from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.data.batches.token_batches import batch_of
from mtmoe.data.prepared.preparation import prepare
from mtmoe.inference.models.inference_precision import full_precision
from mtmoe.inference.translator import Translator
from mtmoe.model.lstm import Lstm
from mtmoe.model.moe import grouped_experts
from mtmoe.model.moe.experts import Experts, loop_over_experts
from mtmoe.model.moe.routing import Routing
from mtmoe.model.translation import TranslationModel
from mtmoe.system.splitmix64 import mix
from mtmoe.training.losses.label_smoothing import output_cross_entropy
from mtmoe.training.optimizers import factored_adam
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import run_training
from tests.gates import GATES, WIDTH, make_gate
from tests.toy import counting_recipe, prepared_toy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")

SOURCES = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]]
TARGETS = [[20, 21, 22, 23], [24, 25], [26, 27, 28]]


def _model() -> TranslationModel:
    torch.manual_seed(0)
    moe = MixtureOfExpertsSettings(num_experts=8, experts_per_token=2, expert_hidden=32)
    settings = Model(width=64, encoder_moe_after=(1,), decoder_moe_after=(1,), moe=moe, dropout=0.0)
    model = TranslationModel(settings, 128).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gate_DE"):
            torch.nn.init.normal_(parameter)
    return model


def test_cuda_and_cpu_give_the_same_loss_and_gradients_in_float32(monkeypatch):
    monkeypatch.setattr(torch, "randn_like", lambda t: torch.cos(3.0 * t.detach()))  # the same noise on both
    results = {}
    for device in ("cpu", "cuda"):
        model = _model().to(device).train()  # cuDNN keeps nothing for a backward pass otherwise
        with full_precision():
            output = model(batch_of(SOURCES, TARGETS).to(device))
            loss = output_cross_entropy(output.hidden_ND, model.output_VD, output.labels_N, 0.1, torch.float32)
            loss.smoothed_sum.backward()
        results[device] = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    for name, gradient in results["cpu"].items():
        torch.testing.assert_close(results["cuda"][name], gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(("name", "two_levels"), GATES)
def test_a_gate_trains_on_cuda_without_waiting_and_as_on_a_cpu(monkeypatch, name: str, two_levels: bool):
    monkeypatch.setattr(torch, "randn_like", lambda t: torch.cos(3.0 * t.detach()))  # the same noise on both
    inputs_ND = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(0))
    results = []
    for device, may_wait in (("cpu", True), ("cuda", True), ("cuda", False)):  # what is loaded at first use may wait
        gate = make_gate(name, two_levels).to(device)
        x_ND = inputs_ND.to(device, copy=True).requires_grad_()
        torch.cuda.set_sync_debug_mode("default" if may_wait else "error")
        try:
            routing = gate(x_ND)
            sum(routing.balance.auxiliary_losses.values(), routing.gates_M.square().sum()).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        results.append([routing.gates_M.detach(), routing.balance.load_E.detach(), x_ND.grad])
        results[-1] += [parameter.grad for parameter in gate.parameters()]
    on_cpu, on_cuda, again = results
    for a, b, c in zip(on_cpu, on_cuda, again, strict=True):
        assert torch.equal(b, c)
        torch.testing.assert_close(b.cpu(), a, rtol=1e-3, atol=1e-4)


def test_a_bf16_step_on_cuda_is_close_to_float32():
    model = _model().cuda()
    batch = batch_of(SOURCES, TARGETS).to("cuda")
    exact = model(batch).hidden_ND
    with torch.autocast("cuda", torch.bfloat16):
        rough = model(batch).hidden_ND
    assert float((rough.float() - exact).norm() / exact.norm()) < 0.05


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_what_a_gpu_that_is_not_the_first_takes_is_measured_on_it_and_it_trains(tmp_path: Path):
    second = torch.device("cuda:1")
    a = torch.randn(4096, 4096, device=second)
    seconds = min(timed(lambda: [a @ a for _ in range(20)], second)[1] for _ in range(3))
    assert 20 * 2 * 4096**3 / seconds < 2e15  # no GPU has so many operations a second; launches alone take less
    recipe, data = prepared_toy(tmp_path, expert_optimizer="factored-adam")
    run_training(recipe, tmp_path / "run", data, resume=False, device=second, reporter=SilentReporter())


def test_the_random_numbers_of_a_gpu_are_those_of_a_cpu():
    keys = torch.randint(-(2**63), 2**63 - 1, (7, 33), generator=torch.Generator().manual_seed(0))
    assert torch.equal(mix(keys.cuda()).cpu(), mix(keys.clone()))


@pytest.mark.parametrize("hidden", [64, 96])
def test_small_gradients_pass_through_an_lstm_in_bf16(hidden: int):
    torch.manual_seed(0)
    lstm, x_BTD = Lstm(64, 64, hidden).cuda(), torch.randn(5, 9, 64, device="cuda")

    def gradients() -> list[torch.Tensor]:
        return [g.float() for g in torch.autograd.grad(1e-9 * lstm(x_BTD).float().sum(), list(lstm.parameters()))]

    with full_precision():
        exact = gradients()
    with torch.autocast("cuda", torch.bfloat16):
        assert lstm(x_BTD).dtype == torch.bfloat16
        rough = gradients()
    for one, reference in zip(rough, exact, strict=True):
        assert float((one - reference).norm() / reference.norm()) < 0.05


@pytest.mark.parametrize("hidden", [64, 96])
def test_an_lstm_in_bf16_goes_on_from_its_state(hidden: int):
    torch.manual_seed(0)
    lstm, x_BTD = Lstm(64, 64, hidden).cuda(), torch.randn(5, 10, 64, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        whole_BTD, last = lstm.continued(x_BTD, None)
        first_BTD, state = lstm.continued(x_BTD[:, :6], None)
        second_BTD, end = lstm.continued(x_BTD[:, 6:], state)
    torch.testing.assert_close(torch.cat([first_BTD, second_BTD], dim=1), whole_BTD, rtol=0, atol=0.02)
    torch.testing.assert_close(end.output_BD, last.output_BD, rtol=0, atol=0.02)
    torch.testing.assert_close(end.cell_BH, last.cell_BH, rtol=0, atol=0.05)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("hidden", [64, 96])
def test_a_step_of_an_lstm_without_gradients_is_that_with_them(hidden: int, dtype: torch.dtype, tolerance: float):
    torch.manual_seed(0)
    lstm, x_BD = Lstm(64, 64, hidden).cuda().to(dtype), torch.randn(5, 64, device="cuda", dtype=dtype)
    state = lstm.initial_state(5, x_BD)
    state = state._replace(output_BD=torch.randn_like(x_BD), cell_BH=torch.randn_like(state.cell_BH))
    with full_precision():
        plain = lstm.step(x_BD, state)
        with torch.no_grad():
            fused = lstm.step(x_BD, state)
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(5, 70, 200), (1, 1, 1), (3, 1, 129), (2, 33, 128), (4, 64, 256)])
def test_factored_adam_by_kernels_is_that_of_torch(monkeypatch, weight_decay: float, shape: tuple[int, int, int]):
    generator = torch.Generator().manual_seed(0)
    weights, *gradients = (torch.randn(shape, generator=generator).cuda() for _ in range(5))
    gradients[2][-1] = 0.0  # an expert that had no token
    for gradient in gradients[: 4 if shape[0] > 1 else 0]:
        gradient[0] = 0.0  # one that never had any
    kernels = factored_adam.kernels_of(weights.device)
    assert kernels is not None
    assert factored_adam._suits_kernels(weights, gradients[0])
    results = []
    for used in (None, kernels, kernels):
        monkeypatch.setattr(factored_adam, "kernels_of", lambda _, value=used: value)
        parameter = torch.nn.Parameter(weights.clone())
        optimizer = factored_adam.FactoredAdam([parameter], lr=1e-2, beta2=0.99, eps=1e-9, weight_decay=weight_decay)
        for gradient in gradients:
            parameter.grad = gradient
            optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(results[1], results[2])


@pytest.mark.parametrize("task", ["translation", "running text"])
def test_training_on_cuda_is_repeated_and_resumed_to_the_bit(tmp_path: Path, task: str):
    if task == "translation":
        recipe, data = prepared_toy(tmp_path, precision="bf16")
        load = load_model
    else:
        recipe = counting_recipe(tmp_path, precision="bf16")
        data, load = tmp_path / "data", load_language_model
        prepare(recipe, data, tmp_path / "cache")
    half = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_steps": 6})})
    whole = recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_steps": 12})})
    weights = []
    for name, parts in (("one", [whole]), ("again", [whole]), ("resumed", [half, whole])):
        for number, part in enumerate(parts):
            run_training(part, tmp_path / name, data, resume=number > 0, device="cuda", reporter=SilentReporter())
        weights.append(dict(load(tmp_path / name, checkpoint="last", device="cpu").model.named_parameters()))
    for name, parameter in weights[0].items():
        assert torch.equal(parameter, weights[1][name]), name
        assert torch.equal(parameter, weights[2][name]), name


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_training_on_cuda_gives_a_run_that_translates_on_both_devices(tmp_path: Path, precision: str):
    recipe, data = prepared_toy(tmp_path, precision=precision)
    run_training(recipe, tmp_path / "run", data, resume=False, device="cuda", reporter=SilentReporter())
    assert load_model(tmp_path / "run", device="cuda").model.output_VD.is_cuda
    lines = ["one red cat", "", "the big house sees two old dogs"]
    on_cpu = [t.text for t in Translator(tmp_path / "run", device="cpu").translate(lines)]
    on_cuda = [t.text for t in Translator(tmp_path / "run", device="cuda").translate(lines)]
    assert on_cpu == on_cuda


def _experts_case(num_experts: int, dtype: torch.dtype) -> tuple[Experts, torch.Tensor, Routing]:
    """300 tokens with 4 of the first two thirds of the experts each."""
    torch.manual_seed(0)
    experts = Experts(num_experts, 64, 128).cuda()
    x_ND = torch.randn(300, 64, device="cuda").to(dtype).requires_grad_()
    chosen_M = torch.rand(300, num_experts * 2 // 3, device="cuda").topk(4).indices.flatten()
    gates_M = torch.rand(1200, device="cuda").requires_grad_()
    tokens_M = torch.arange(300, device="cuda").repeat_interleave(4)
    return experts, x_ND, Routing(tokens_M, chosen_M, gates_M, 4, chosen_M.bincount(minlength=num_experts), None)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("num_experts", [8, 1023, 1024, 2048])
def test_the_experts_on_cuda_equal_the_loop_without_waiting_for_the_device(num_experts: int, recompute: bool):
    experts, x_ND, routing = _experts_case(num_experts, torch.bfloat16)
    experts.recompute = recompute
    inputs = [x_ND, routing.gates_M, experts.first_EDH, experts.second_EHD]
    weight_ND = torch.randn(300, 64, device="cuda")

    def value_and_gradients() -> list[torch.Tensor]:
        with torch.autocast("cuda", torch.bfloat16):
            y_ND = experts(x_ND, routing)
        return [y_ND.detach(), *torch.autograd.grad(y_ND, inputs, weight_ND.to(y_ND.dtype))]

    first = value_and_gradients()
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = value_and_gradients()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # The loop has the weights as the fast path sees them, so that no unit is on in the one and off in the other.
    exact = [t.detach().bfloat16().double().requires_grad_() for t in inputs]
    y_ND = loop_over_experts(exact[0], routing._replace(gates_M=exact[1]), *exact[2:])
    expected = [y_ND.detach(), *torch.autograd.grad((y_ND * weight_ND.double()).sum(), exact)]
    for one, two, reference in zip(first, second, expected, strict=True):
        assert torch.equal(one, two)
        assert float((one.double() - reference).norm() / reference.norm()) < 0.02
    for gradient in first[3:]:
        assert not gradient[num_experts * 2 // 3 :].any()


@pytest.mark.parametrize("num_experts", [8, 1024])
def test_gradients_of_a_further_batch_are_added_to_those_of_the_first_without_waiting(monkeypatch, num_experts: int):
    monkeypatch.setattr(grouped_experts, "experts_at_once", lambda *_: 300)
    experts, x_ND, routing = _experts_case(num_experts, torch.bfloat16)
    weight_ND = torch.randn(300, 64, device="cuda", dtype=torch.bfloat16)

    def backward() -> list[torch.Tensor]:
        x_ND.grad = routing.gates_M.grad = None
        with torch.autocast("cuda", torch.bfloat16):
            experts(x_ND, routing).backward(weight_ND)
        return [tensor.grad for tensor in (x_ND, routing.gates_M, *experts.parameters())]

    first = backward()
    once = [gradient.clone() for gradient in first]
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [gradient.data_ptr() for gradient in second[2:]] == [gradient.data_ptr() for gradient in first[2:]]
    for gradient, expected in zip(second, [*once[:2], *(2 * gradient for gradient in once[2:])], strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-2, atol=1e-3)
