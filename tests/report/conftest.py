"""A run with random weights, for reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.conftest import SENTENCES, untrained_language_model, untrained_run


@pytest.fixture(scope="session")
def report_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with expert layers on both sides."""
    model = {
        "width": 16,
        "tied_embeddings": "none",
        "encoder_moe_after": [1],
        "decoder_moe_after": [1],
        "moe": {"num_experts": 4, "expert_hidden": 16},
    }
    return untrained_run(tmp_path_factory.mktemp("report"), SENTENCES, model=model)


@pytest.fixture(scope="session")
def language_model_run(report_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a language model, over the same subwords."""
    return untrained_language_model(tmp_path_factory.mktemp("lm"), report_run / "subwords.model")
