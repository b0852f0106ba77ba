"""Calibration of next subwords: the same figures as one sentence at a time, by the model's own probabilities."""

from __future__ import annotations

import pytest
import torch

from mtmoe.checkpoint import load_model
from mtmoe.data.batches.padding import batch_of
from mtmoe.inference.scoring.calibration import reliability
from mtmoe.report.examining import token_calibration
from mtmoe.vocabulary import EOS


def test_figures_are_those_of_single_sentences(report_run, monkeypatch):
    loaded = load_model(report_run)
    sentences = [("Where is the station?", "Où est la gare ?"), ("Two dogs play.", "Deux chiens."), ("No.", "Non non.")]
    pairs = [(loaded.subwords.encode(source), loaded.subwords.encode(target)) for source, target in sentences]
    probabilities, outcomes = [], []
    for source, target in pairs:
        with torch.inference_mode():
            output = loaded.model(batch_of([source], [target]))
            P_TV = torch.softmax(output.hidden_ND @ loaded.model.output_VD.T, dim=1)
        for row_V, label in zip(P_TV, [*target, EOS], strict=True):
            probabilities.append(float(row_V.max()))
            outcomes.append(int(row_V.argmax()) == label)
    expected = reliability(probabilities, outcomes)
    monkeypatch.setattr(token_calibration, "SENTENCES_AT_ONCE", 2)
    found = token_calibration.token_reliability(loaded.model, pairs)
    assert found.num_lines == expected.num_lines == sum(len(target) + 1 for _, target in pairs)
    assert found.share_good == expected.share_good
    assert found.expected_calibration_error == pytest.approx(expected.expected_calibration_error, abs=1e-5)
