"""The language model: what it computes, and that its state is all that it knows of the text before."""

from __future__ import annotations

import pytest
import torch

from mtmoe.config.settings import Hierarchy, MixtureOfExpertsSettings, Model
from mtmoe.data.batches.padding import Batch, ragged, text_batch
from mtmoe.model.description import describe_language_model
from mtmoe.model.language_model import LanguageModel, LanguageModelState
from mtmoe.model.lstm import Lstm

MOE = MixtureOfExpertsSettings(num_experts=6, experts_per_token=2, expert_hidden=24)
SETTINGS = {
    "experts": Model(width=16, decoder_moe_after=(1,), moe=MOE, tied_embeddings="none"),
    "projected": Model(width=16, lstm_hidden=32, decoder_layers=3, decoder_moe_after=(1, 3), moe=MOE),
    "two levels": Model(
        width=16,
        decoder_moe_after=(1,),
        moe=MOE.model_copy(update={"experts_per_token": 2, "hierarchy": Hierarchy(groups=3)}),
    ),
    "deep": Model(
        width=16, decoder_moe_after=(1,), moe=MixtureOfExpertsSettings(kind="dense", expert_hidden=8, dense_layers=3)
    ),
    "square projection": Model(width=16, decoder_layers=1, lstm_projection=True),
    "softmaxes": Model(width=16, decoder_moe_after=(1,), moe=MOE, softmaxes=3),
    "mogrifier": Model(width=16, decoder_moe_after=(1,), moe=MOE, mogrifier_rounds=3),
    "projected mogrifier": Model(width=16, lstm_hidden=32, mogrifier_rounds=2),
    "no residual": Model(width=16, residual=False),
    "residual above the bottom": Model(width=16, bottom_residual=False, decoder_moe_after=(1,), moe=MOE),
}


def model_of(name: str) -> LanguageModel:
    torch.manual_seed(1)
    model = LanguageModel(SETTINGS[name], 30).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # gates begin with zeros
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def running(tokens: list[list[int]]) -> Batch:
    rows = torch.tensor(tokens)
    empty = torch.zeros(len(tokens), 0, dtype=torch.int64)
    lengths = torch.full((len(tokens),), rows.shape[1] - 1)
    return Batch(empty, torch.zeros(len(tokens), dtype=torch.int64), rows, lengths)


@pytest.mark.parametrize("name", SETTINGS)
def test_text_in_pieces_with_the_state_between_them_is_the_whole_text(name):
    model = model_of(name)
    tokens = torch.randint(4, 30, (3, 18)).tolist()
    whole_BT = model.log_probabilities(running(tokens))
    state, parts = None, []
    for begin, end in ((0, 5), (5, 6), (6, 17)):
        part_BT, state = model.continued_log_probabilities(running([row[begin : end + 1] for row in tokens]), state)
        parts.append(part_BT)
    assert torch.allclose(torch.cat(parts, dim=1), whole_BT, atol=1e-5)
    # and it is the state that does it
    without, _ = model.continued_log_probabilities(running([row[6:18] for row in tokens]), None)
    assert not torch.allclose(without, parts[-1], atol=1e-3)


@pytest.mark.parametrize("name", SETTINGS)
def test_step_by_step_gives_the_same_probabilities_as_all_at_once(name):
    model = model_of(name)
    tokens = torch.randint(4, 30, (3, 9)).tolist()
    expected_BT = model.log_probabilities(running(tokens))
    state = model.initial_state(3)
    for position in range(8):
        inputs_B = torch.tensor([row[position] for row in tokens])
        logits_BV, state = model.decode_step(inputs_B, state)
        labels_B = torch.tensor([row[position + 1] for row in tokens])
        found_B = logits_BV.log_softmax(1).gather(1, labels_B[:, None])[:, 0]
        assert torch.allclose(found_B, expected_BT[:, position], atol=1e-5)


def test_a_sentence_does_not_depend_on_its_neighbours_or_on_padding():
    model = model_of("experts")
    sentences = [[4, 5, 6, 7], [8], [], [9, 10, 11, 12, 13, 14]]
    together_BT = model.log_probabilities(text_batch(ragged(sentences)))
    for row, sentence in zip(together_BT, sentences, strict=True):
        alone_BT = model.log_probabilities(text_batch(ragged([sentence])))
        assert torch.allclose(row[: len(sentence) + 1], alone_BT[0], atol=1e-5)
        assert (row[len(sentence) + 1 :] == 0).all()


@pytest.mark.parametrize("name", ["experts", "residual above the bottom"])
def test_the_layers_are_the_papers_equations(name):
    """h_0 = embedding, h_l = h_(l-1) + f_l(h_(l-1)), the mixture's f with a sigmoid; softmax without bias."""
    model = model_of(name)
    tokens = torch.tensor([[2, 7, 9, 4]])
    h = model.embedding_VD[tokens[:, :-1]] * 4.0  # the root of the width
    first, second = model.layers
    h = (h if name == "experts" else 0.0) + first.cell(h)[0]
    y_ND, _ = model.moe_layers["1"](h.reshape(-1, 16))
    h = h + y_ND.view_as(h)
    h = h + second.cell(h)[0]
    log_BTV = (h @ model.output_VD.t()).log_softmax(-1)
    expected = log_BTV.gather(2, tokens[:, 1:, None])[:, :, 0]
    assert torch.allclose(model.log_probabilities(running(tokens.tolist())), expected, atol=1e-5)


def test_no_gradient_flows_through_a_detached_state():
    model = model_of("experts").train()
    _, state = model.continued(running([[4, 5, 6]]), None)
    output, _ = model.continued(running([[6, 7, 8]]), state.detached())
    output.hidden_ND.sum().backward()
    embedding_gradient = model.embedding_VD.grad
    assert embedding_gradient is not None
    assert embedding_gradient[7].abs().sum() > 0
    assert embedding_gradient[5].abs().sum() == 0


def test_a_state_survives_by_name():
    state = model_of("projected").initial_state(2)
    state = LanguageModelState(tuple(type(layer)(*(torch.randn_like(t) for t in layer)) for layer in state.layers))
    again = LanguageModelState.from_tensors(state.tensors())
    for one, other in zip(state.layers, again.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    chosen = state.select(torch.tensor([1, 1, 0]))
    assert torch.equal(chosen.layers[2].cell_BH, state.layers[2].cell_BH[[1, 1, 0]])


@pytest.mark.parametrize("name", SETTINGS)
def test_the_description_has_all_parameters_once(name):
    described = describe_language_model(SETTINGS[name], 30)
    model = LanguageModel(SETTINGS[name], 30)
    assert described.num_parameters == sum(p.numel() for p in model.parameters())
    matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    outside = 30 * 16 * (2 if SETTINGS[name].tied_embeddings == "none" else 1)
    assert described.num_inner_weights == matrices - outside


def test_a_projection_to_the_same_size_is_the_equations_of_the_projected_lstm():
    torch.manual_seed(1)
    layer = Lstm(6, 8, 8, projection=True).double()
    x_BTD = torch.randn(2, 5, 6, dtype=torch.float64)
    w = dict(layer.cell.named_parameters())
    m_BD = torch.zeros(2, 8, dtype=torch.float64)
    c_BH = torch.zeros(2, 8, dtype=torch.float64)
    outputs = []
    for t in range(5):
        gates = x_BTD[:, t] @ w["weight_ih_l0"].t() + m_BD @ w["weight_hh_l0"].t() + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, dim=1)
        c_BH = c_BH * f.sigmoid() + i.sigmoid() * g.tanh()
        m_BD = (o.sigmoid() * c_BH.tanh()) @ w["weight_hr_l0"].t()
        outputs.append(m_BD)
    assert torch.allclose(layer(x_BTD), torch.stack(outputs, dim=1), atol=1e-12)
