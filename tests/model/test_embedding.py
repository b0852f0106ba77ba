"""Rows of an embedding against torch's own, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mtmoe.config.settings import Model
from mtmoe.model.embedding import embed, rows_of
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.translation import TranslationModel


@pytest.mark.parametrize("vocabulary_size", [11, 70_000], ids=["malloc recycles it", "reused memory"])
def test_the_gradient_of_rows_that_occur_several_times_or_never_is_that_of_torch(vocabulary_size):
    torch.manual_seed(1)
    ids_BT = torch.randint(11, (3, 7))
    upstream_BTD = torch.randn(3, 7, 8)
    for _ in range(2):  # the second takes the memory that the first has left, which is not zero
        matrix_VD = torch.randn(vocabulary_size, 8, requires_grad=True)
        rows_BTD = rows_of(matrix_VD, ids_BT)
        expected_BTD = F.embedding(ids_BT, matrix_VD)
        assert torch.equal(rows_BTD, expected_BTD)
        (found_VD,) = torch.autograd.grad(rows_BTD, matrix_VD, upstream_BTD)
        (expected_VD,) = torch.autograd.grad(expected_BTD, matrix_VD, upstream_BTD)
        assert torch.allclose(found_VD, expected_VD, atol=1e-6)
        assert int(found_VD.any(1).sum()) == ids_BT.unique().numel()
        del found_VD


@pytest.mark.parametrize("network", [LanguageModel, TranslationModel])
@pytest.mark.parametrize(("embedding_std", "stored"), [(0.0, 1 / 8), (0.5, 0.5)])
def test_what_is_read_has_unit_variance_whatever_is_stored(network, embedding_std, stored):
    torch.manual_seed(1)
    settings = Model(width=64, embedding_std=embedding_std, tied_embeddings="none")
    model = network(settings, 500)
    ends = {name: end for name, end in model.named_parameters() if name.endswith("_VD")}
    assert len(ends) == (2 if network is LanguageModel else 3)
    for matrix_VD in ends.values():
        assert matrix_VD.std().item() == pytest.approx(stored, rel=0.02)
    assert model.embedding_std == stored
    matrix_VD = ends["embedding_VD" if network is LanguageModel else "source_embedding_VD"]
    read_TD = embed(torch.arange(1, 500), matrix_VD, model.embedding_std)
    assert read_TD.std().item() == pytest.approx(1, rel=0.02)
