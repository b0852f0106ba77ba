"""Parameters and operations, against the paper's own counts."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
from torch import nn

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings, Model
from mtmoe.model.description import LayerDescription, describe_language_model, describe_model
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.moe.moe_layer import MixtureOfExperts
from mtmoe.model.ops.shapes_alone import shapes_alone
from mtmoe.model.translation import TranslationModel


def test_operations_of_the_papers_translation_model_are_85_million() -> None:
    """The paper's 85 M: five LSTM-2048-512, a context input to one of them, two MoE layers, softmax over 32,000
    (`docs/explanation/paper.md#decision-16`)."""
    model = Model(
        width=512,
        lstm_hidden=2048,
        encoder_layers=2,
        decoder_layers=2,
        encoder_bottom="sum",
        encoder_moe_after=(1,),
        decoder_moe_after=(1,),
        moe=MixtureOfExpertsSettings(num_experts=32, experts_per_token=4, expert_hidden=2048),
        attention_context="recurrent",
    )
    description = describe_model(model, 32_000)
    gates = 2 * 2 * 512 * 32  # which the spec leaves out of its sum
    assert (description.operations - gates) / 1e6 == pytest.approx(85.1, abs=0.05)
    assert description.operations - description.operations_without_output == 32_000 * 512


@pytest.mark.parametrize("tied", ["all", "target", "none"])
@pytest.mark.parametrize("kind", ["mixture", "dense"])
@pytest.mark.parametrize(("lstm_hidden", "output_attention"), [(0, False), (24, True)])
def test_the_layers_have_all_parameters_once(tied: str, kind: str, lstm_hidden: int, output_attention: bool) -> None:
    model = Model(
        width=16,
        lstm_hidden=lstm_hidden,
        output_attention=output_attention,
        tied_embeddings=tied,  # type: ignore[arg-type]
        encoder_moe_after=(1, 2),
        decoder_moe_after=(2,),
        moe=MixtureOfExpertsSettings(kind=kind, num_experts=4, expert_hidden=8),  # type: ignore[arg-type]
    )
    built = TranslationModel(model, 100)
    description = describe_model(model, 100)
    assert description.num_parameters == sum(parameter.numel() for parameter in built.parameters())
    names = [layer.name for layer in description.layers]
    assert [name for name in names if "moe" in name] == ["encoder moe 1", "encoder moe 2", "decoder moe 2"]
    assert names[-1] == "output"
    assert ("output attention" in names) == output_attention


def test_the_dense_twin_has_the_operations_of_the_mixture_without_its_gate() -> None:
    def operations(kind: str) -> int:
        moe = MixtureOfExpertsSettings(kind=kind, num_experts=16, experts_per_token=2, expert_hidden=32)  # type: ignore[arg-type]
        return describe_model(Model(width=16, encoder_moe_after=(1,), moe=moe), 100).operations

    assert operations("mixture") - operations("dense") == 2 * 16 * 16


def _layer(width: int, **moe: Any) -> LayerDescription:
    settings = Model(width=width, encoder_moe_after=(1,), moe=MixtureOfExpertsSettings(**moe))
    (layer,) = (layer for layer in describe_model(settings, 100).layers if layer.name == "encoder moe 1")
    return layer


@pytest.mark.parametrize(
    ("num_experts", "groups", "parameters", "operations"),
    [
        (32, 0, 37.8, 8.4),
        (256, 16, 272.9, 8.4),
        (1024, 16, 1079.0, 8.5),
        (4096, 16, 4303.4, 8.9),
        (256, 32, 272.9, 8.4),  # from here on, those of the 100-billion-word models
        (4096, 64, 4303.4, 8.6),
    ],
)
def test_the_mixtures_of_tables_7_and_8_have_the_printed_millions(
    num_experts: int, groups: int, parameters: float, operations: float
) -> None:
    """Two LSTM-512 and a mixture of 512-1024-512 experts, 4 for a token; 2 x 2 with two levels."""
    levels = Hierarchy(groups=groups, groups_per_token=2) if groups else None
    layer = _layer(512, num_experts=num_experts, experts_per_token=4, expert_hidden=1024, hierarchy=levels)
    lstms = 2 * 4 * 512 * (512 + 512)
    assert round((lstms + layer.num_parameters) / 1e6, 1) == parameters
    assert round((lstms + layer.operations) / 1e6, 1) == operations


def test_the_difference_between_two_rows_of_table_7_is_that_of_their_mixtures() -> None:
    """MoE-34M: 1,024 experts of hidden size 2,048 in 32 groups between two LSTM-1024, 33.751M operations (Table 7)."""
    moe = {"num_experts": 1024, "experts_per_token": 4, "expert_hidden": 2048, "hierarchy": Hierarchy(groups=32)}
    layer = _layer(1024, **moe)
    lstms = 2 * 4 * 1024 * 2048
    assert (lstms + layer.num_parameters) / 1e6 == pytest.approx(4313.907, abs=5e-4)
    assert (lstms + layer.operations) / 1e6 == pytest.approx(33.751, abs=5e-4)


@pytest.mark.parametrize("gate", ["softmax", "strictly-balanced", "sigmoid"])
def test_a_gate_without_noise_has_half_the_operations(gate: str) -> None:
    for levels in (None, Hierarchy(groups=4, groups_per_token=2)):
        moe = {"num_experts": 16, "experts_per_token": 4 if levels else 2, "expert_hidden": 32, "hierarchy": levels}
        noisy, silent = _layer(64, **moe), _layer(64, gate=gate, **moe)
        gate_operations = 64 * (4 + 2 * 4) if levels else 64 * 16
        assert noisy.operations - silent.operations == gate_operations
        assert noisy.num_parameters - silent.num_parameters + (gate == "strictly-balanced") * (
            20 if levels else 16
        ) == 64 * (4 + 16 if levels else 16)


def test_shared_experts_are_counted_in_the_mixture_and_in_its_twin() -> None:
    moe = {"num_experts": 16, "experts_per_token": 2, "expert_hidden": 32, "shared_experts": 3}
    mixture, dense = _layer(64, **moe, gate="sigmoid", choice_bias_rate=0.1), _layer(64, kind="dense", **moe)
    assert mixture.kind == "16 experts of 32, 2 per token, 3 shared, sigmoid, bias on the choice"
    assert dense.kind == "dense 160"
    assert dense.operations == dense.num_parameters == 2 * 64 * (2 + 3) * 32
    assert mixture.operations - dense.operations == 64 * 16
    assert mixture.num_parameters == 64 * 16 + 16 + (16 + 3) * 2 * 64 * 32


def test_a_mixture_of_two_levels_and_its_dense_twin_say_what_they_are() -> None:
    moe = {"num_experts": 16, "experts_per_token": 6, "expert_hidden": 32, "hierarchy": Hierarchy(groups=4)}
    mixture, dense = _layer(64, **moe), _layer(64, kind="dense", **moe)
    assert mixture.kind == "16 experts of 32 in 4 groups, 6 per token"
    assert _layer(64, gate="softmax", num_experts=4, expert_hidden=8).kind == "4 experts of 8, 2 per token, softmax"
    assert dense.kind == "dense 192"
    assert dense.operations == dense.num_parameters == 2 * 64 * 192
    assert mixture.operations - dense.operations == 2 * 64 * (4 + 2 * 4)


def _counted(name: str, module: nn.Module) -> tuple[str, int, int, int, int]:
    """What a layer of the network has: parameters, operations, weights of matrices, operations of the noise."""
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    weights = sum(p.numel() for name, p in module.named_parameters() if p.dim() > 1 and "threshold" not in name)
    if isinstance(module, MixtureOfExperts):
        return name, num_parameters, module.operations, weights, module.gate.noise_operations
    return name, num_parameters, weights, weights, 0


def _layers_of(model: TranslationModel | LanguageModel) -> list[tuple[str, int, int, int, int]]:
    """Count the layers of a network, but for embeddings and output."""
    stacks = []
    if isinstance(model, TranslationModel):
        stacks.append((model.encoder, [model.encoder.bottom, *model.encoder.upper]))
        stacks.append((model.decoder, [model.decoder.bottom, *model.decoder.upper]))
    else:
        stacks.append((model, list(model.layers)))
    found = []
    for stack, modules in stacks:
        if stack is getattr(model, "decoder", None):
            found.append(_counted("attention", stack.attention))
        for place, module in enumerate(modules, start=1):
            found.append(_counted(f"{stack.side} {place}", module))
            if str(place) in stack.moe_layers:
                found.append(_counted(f"{stack.side} moe {place}", stack.moe_layers[str(place)]))
        if getattr(stack, "output_attention", None) is not None:
            found.append(_counted("output attention", stack.output_attention))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_each_layer_is_counted_as_the_network_has_it(seed: int) -> None:
    draw = random.Random(seed)
    width, hidden, projection = draw.choice([(16, 0, False), (16, 24, False), (32, 32, True), (32, 48, False)])
    kind: dict[str, Any] = {"kind": "dense", "dense_layers": draw.choice([1, 3])}
    if draw.random() < 0.8:
        gate = draw.choice(["noisy-top-k", "softmax", "strictly-balanced", "sigmoid", "expert-choice"])
        levels = draw.choice([True, False]) and gate != "expert-choice"
        kind = {"gate": gate, "hierarchy": Hierarchy(groups=4, groups_per_token=2) if levels else None}
        if gate in ("softmax", "sigmoid") and not levels:
            kind["choice_bias_rate"] = draw.choice([0.0, 0.1])
    kind["shared_experts"] = draw.choice([0, 1, 3])
    sizes = {"num_experts": draw.choice([8, 16]), "experts_per_token": draw.choice([2, 4])}
    settings = Model(
        width=width,
        lstm_hidden=hidden,
        lstm_projection=projection,
        encoder_layers=draw.choice([2, 3]),
        decoder_layers=draw.choice([1, 2, 3]),
        encoder_bottom=draw.choice(["sum", "concatenate", "wide"]),  # type: ignore[arg-type]
        encoder_moe_after=(2,),
        decoder_moe_after=() if kind.get("gate") == "expert-choice" else draw.choice([(), (1,)]),
        attention=draw.choice(["product", "additive"]),  # type: ignore[arg-type]
        attention_width=draw.choice([0, 8]),
        mogrifier_rounds=seed % 3,
        attention_context=draw.choice(["parallel", "recurrent", "recurrent-all"]),  # type: ignore[arg-type]
        output_attention=draw.choice([True, False]),
        moe=MixtureOfExpertsSettings(**sizes, **kind, expert_hidden=draw.choice([8, 24])),
    )
    for describe, network in ((describe_model, TranslationModel), (describe_language_model, LanguageModel)):
        with shapes_alone():
            built = network(settings, 100)
        layers = [layer for layer in describe(settings, 100).layers if "embedding" not in layer.name]
        found = [(each.name, *each[2:]) for each in layers if each.name != "output"]
        assert found == _layers_of(built)


def test_recipes_and_describe_do_not_import_torch() -> None:
    for command in (["recipes"], ["recipes", "--json"], ["describe", "demo"], ["describe", "demo", "--settings"]):
        program = (
            "import sys\n"
            "from mtmoe.cli import main\n"
            f"main({command!r}, standalone_mode=False)\n"
            "print('torch' in sys.modules, file=sys.stderr)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stderr == "False\n", command
