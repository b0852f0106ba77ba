"""Parameters and operations, against the paper's own counts."""

from __future__ import annotations

import pytest

from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.model.description import describe_model
from mtmoe.model.translation import TranslationModel


def test_operations_of_the_papers_translation_model_are_85_million() -> None:
    """Spec 6.10: five LSTM-2048-512, a context input to one of them, two MoE layers, softmax over 32,000."""
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
@pytest.mark.parametrize("lstm_hidden", [0, 24])
def test_the_layers_have_all_parameters_once(tied: str, kind: str, lstm_hidden: int) -> None:
    model = Model(
        width=16,
        lstm_hidden=lstm_hidden,
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


def test_the_dense_twin_has_the_operations_of_the_mixture_without_its_gate() -> None:
    def operations(kind: str) -> int:
        moe = MixtureOfExpertsSettings(kind=kind, num_experts=16, experts_per_token=2, expert_hidden=32)  # type: ignore[arg-type]
        return describe_model(Model(width=16, encoder_moe_after=(1,), moe=moe), 100).operations

    assert operations("mixture") - operations("dense") == 2 * 16 * 16
