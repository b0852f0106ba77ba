"""What only a CUDA device can show. Without one every test here is skipped, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtmoe.checkpoint import load_model
from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.data.batches import batch_of
from mtmoe.inference.translator import Translator
from mtmoe.model.translation import TranslationModel
from mtmoe.training.loss import output_cross_entropy
from mtmoe.training.reporting import SilentReporter
from mtmoe.training.trainer import run_training
from tests.gates import GATES, WIDTH, make_gate
from tests.toy import prepared_toy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")

SOURCES = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]]
TARGETS = [[20, 21, 22, 23], [24, 25], [26, 27, 28]]


def _model() -> TranslationModel:
    torch.manual_seed(0)
    moe = MixtureOfExpertsSettings(num_experts=8, experts_per_token=2, expert_hidden=32)
    settings = Model(width=64, encoder_moe_after=(1,), decoder_moe_after=(1,), moe=moe)
    model = TranslationModel(settings, 128).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gate_DE"):
            torch.nn.init.normal_(parameter)
    return model


def test_cuda_and_cpu_give_the_same_loss_and_gradients_in_float32():
    results = {}
    for device in ("cpu", "cuda"):
        model = _model().to(device)
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
    for device in ("cpu", "cuda", "cuda"):
        gate = make_gate(name, two_levels).to(device)
        x_ND = inputs_ND.to(device).requires_grad_()
        torch.cuda.set_sync_debug_mode("error" if device == "cuda" else "default")
        try:
            routing = gate(x_ND)
            sum(routing.balance.losses.values(), routing.gates_M.square().sum()).backward()
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


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_training_on_cuda_gives_a_run_that_translates_on_both_devices(tmp_path: Path, precision: str):
    recipe, data = prepared_toy(tmp_path, precision=precision)
    run_training(recipe, tmp_path / "run", data, resume=False, device="cuda", reporter=SilentReporter())
    assert load_model(tmp_path / "run", device="cuda").model.output_VD.is_cuda
    lines = ["one red cat", "", "the big house sees two old dogs"]
    on_cpu = [t.text for t in Translator(tmp_path / "run", device="cpu").translate(lines)]
    on_cuda = [t.text for t in Translator(tmp_path / "run", device="cuda").translate(lines)]
    assert on_cpu == on_cuda
