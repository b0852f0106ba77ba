"""The translation model: one pass equals step by step, padding changes nothing, wiring is the paper's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mtmoe.config.settings import MixtureOfExpertsSettings, Model
from mtmoe.data.batches.token_batches import Batch, batch_of
from mtmoe.model.attention import Attention, OutputAttention
from mtmoe.model.lstm import BidirectionalLstm
from mtmoe.model.ops.keyed_noise import SideNoise, new_side_noise
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import PAD

SOURCES = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]]
TARGETS = [[20, 21, 22, 23], [24, 25], [26, 27, 28]]
WIRINGS = [
    {"attention_context": context, "attention": attention, "lstm_hidden": hidden, "encoder_bottom": bottom}
    for context in ("parallel", "recurrent")
    for attention in ("product", "additive")
    for hidden, bottom in ((0, "concatenate"), (48, "sum"))
]
GNMT = {"attention_context": "recurrent-all", "attention": "additive", "encoder_bottom": "wide"}
WIRINGS += [{**GNMT, "encoder_moe_after": (2,)}, {**GNMT, "encoder_bottom": "sum", "lstm_projection": True}]
WIRINGS += [{"attention_context": context, "bottom_residual": False} for context in ("parallel", "recurrent")]
WIRINGS += [{"attention_context": context, "output_attention": True} for context in ("parallel", "recurrent")]
WIRINGS += [{"attention_context": context, "mogrifier_rounds": 3} for context in ("parallel", "recurrent")]


def _model(noise: SideNoise | None = None, **settings) -> TranslationModel:
    torch.manual_seed(0)
    moe = MixtureOfExpertsSettings(num_experts=8, experts_per_token=2, expert_hidden=16)
    base = {"width": 32, "encoder_layers": 3, "encoder_moe_after": (1, 2), "decoder_moe_after": (1,), "moe": moe}
    model = TranslationModel(Model(**(base | settings)), 50, noise=noise).eval()
    for module in _gates(model):
        torch.nn.init.normal_(module.gate_DE)
    for name, parameter in model.named_parameters():
        if "mogrifier" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def _gates(model: TranslationModel) -> Iterator[torch.nn.Module]:
    return (module for module in model.modules() if hasattr(module, "gate_DE"))


# What another test has left to be collected is not this one's.
NO_WARNINGS = pytest.mark.filterwarnings(  # but for what `mtmoe.system.process_settings` hides
    "error", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:LSTM with projections is not supported"
)


@NO_WARNINGS
@pytest.mark.parametrize("wiring", WIRINGS, ids=lambda w: "-".join(str(value) for value in w.values()))
def test_decoding_step_by_step_gives_the_log_probabilities_of_one_pass(wiring):
    model, batch = _model(**wiring), batch_of(SOURCES, TARGETS)
    in_one_BT = model.log_probabilities(batch)
    state = model.initial_state(model.encode(batch.source_BS, batch.source_lengths_B))
    steps, attentions = [], []
    for step in range(batch.target_BT.shape[1] - 1):
        hidden_BD, attention_BS, state = model.decode_step(batch.target_BT[:, step], state)
        logits_BV = model.project(hidden_BD)
        torch.testing.assert_close(attention_BS.sum(1), torch.ones(3))
        attentions.append(attention_BS)
        steps.append(logits_BV.log_softmax(1).gather(1, batch.target_BT[:, step + 1 : step + 2]))
    real_BT = batch.target_BT[:, 1:] != PAD
    torch.testing.assert_close(torch.cat(steps, dim=1) * real_BT, in_one_BT, rtol=1e-5, atol=1e-5)
    output = model(batch, with_attention=True)
    assert len(output.attentions) == (2 if wiring.get("output_attention") else 1)
    seen_BTS = torch.stack(attentions, dim=1)
    torch.testing.assert_close(output.attentions[-1][real_BT], seen_BTS[real_BT], rtol=1e-5, atol=1e-5)
    assert torch.equal(output.hidden_ND, model(batch).hidden_ND)


@NO_WARNINGS
@pytest.mark.parametrize("wiring", WIRINGS, ids=lambda w: "-".join(str(value) for value in w.values()))
def test_a_sentence_scores_the_same_alone_and_padded_among_longer_ones(wiring):
    model = _model(**wiring)
    together_BT = model.log_probabilities(batch_of(SOURCES, TARGETS))
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone_1T = model.log_probabilities(batch_of([source], [target]))
        torch.testing.assert_close(together_BT[row, : len(target) + 1], alone_1T[0], rtol=1e-5, atol=1e-5)
        assert not together_BT[row, len(target) + 1 :].any()


def test_padding_takes_no_part_in_the_balance_of_the_experts():
    batch = batch_of(SOURCES, TARGETS)
    output = _model()(batch)
    num_source, num_target = int(batch.source_lengths_B.sum()), int(batch.target_lengths_B.sum())
    counts = {layer: int(balance.token_counts_E.sum()) for layer, balance in output.balances.items()}
    assert counts == {"encoder.moe1": 2 * num_source, "encoder.moe2": 2 * num_source, "decoder.moe1": 2 * num_target}


def test_what_comes_later_in_the_target_does_not_change_what_came_before():
    model = _model()
    changed = [[*TARGETS[0][:2], 40, 41], *TARGETS[1:]]
    before_BT = model.log_probabilities(batch_of(SOURCES, TARGETS))
    after_BT = model.log_probabilities(batch_of(SOURCES, changed))
    torch.testing.assert_close(before_BT[0, :2], after_BT[0, :2])
    assert float((before_BT[0, 2:] - after_BT[0, 2:]).detach().abs().min()) > 0


@pytest.mark.parametrize("wiring", WIRINGS, ids=lambda w: "-".join(str(value) for value in w.values()))
def test_selecting_rows_of_a_state_repeats_and_reorders_sentences(wiring):
    model, batch = _model(**wiring), batch_of(SOURCES, TARGETS)
    state = model.initial_state(model.encode(batch.source_BS, batch.source_lengths_B))
    _, _, state = model.decode_step(batch.target_BT[:, 0], state)
    hidden_BD, attention_BS, _ = model.decode_step(batch.target_BT[:, 1], state)
    for rows in ([2, 0, 2], [1, 1, 1, 0, 2, 2], [1], [0, 1, 2]):
        picked = state.select(torch.tensor(rows))
        hidden_XD, attention_XS, _ = model.decode_step(batch.target_BT[rows, 1], picked)
        torch.testing.assert_close(hidden_XD, hidden_BD[rows])
        length = attention_XS.shape[1]
        torch.testing.assert_close(attention_XS, attention_BS[rows, :length])
        assert not attention_BS[rows, length:].any()


def test_states_of_different_batches_go_on_together_as_they_would_alone():
    model = _model()
    states, hidden = [], []
    for sources, first in ((SOURCES[:1], 11), (SOURCES[1:], 12)):
        batch = batch_of(sources, sources)
        state = model.initial_state(model.encode(batch.source_BS, batch.source_lengths_B))
        state = state.select(torch.arange(len(sources)).repeat_interleave(2))
        _, _, state = model.decode_step(torch.full((2 * len(sources),), first), state)
        states.append(state)
        hidden.append(model.decode_step(torch.arange(20, 20 + 2 * len(sources)), state)[0])
    both, tokens_X = states[0].join(states[1]), torch.tensor([20, 21, 20, 21, 22, 23])
    hidden_XD, attention_XS, _ = model.decode_step(tokens_X, both)
    torch.testing.assert_close(hidden_XD, torch.cat(hidden))
    torch.testing.assert_close(attention_XS.sum(1), torch.ones(6))
    three, six_X = states[1].join(states[0], states[1]), torch.tensor([20, 21, 22, 23])
    hidden_XD, attention_XS, _ = model.decode_step(torch.cat([six_X, tokens_X]), three)
    torch.testing.assert_close(hidden_XD, torch.cat([hidden[1], *hidden]))
    torch.testing.assert_close(attention_XS.sum(1), torch.ones(10))


def test_memory_of_sources_without_rows_is_let_go():
    model, batch = _model(), batch_of([*SOURCES, *SOURCES[:2]], [*TARGETS, *TARGETS[:2]])
    state = model.initial_state(model.encode(batch.source_BS, batch.source_lengths_B))
    assert state.select(torch.tensor([0, 1, 2, 3])).memory.num_sources == 5  # moving four to save one does not pay
    assert state.select(torch.tensor([0, 1, 3])).memory.num_sources == 3
    alone = state.select(torch.tensor([1, 1]))
    assert tuple(alone.memory.values_BSD.shape[:2]) == (1, len(SOURCES[1]) + 1)
    assert state.select(torch.tensor([0, 1, 2, 4])).join(alone).memory.num_sources == 5


@torch.inference_mode()
def test_logits_go_where_they_are_wanted():
    model = _model()
    hidden_XD = torch.randn(3, 32)
    expected_XV = model.project(hidden_XD)
    out_XV = torch.full_like(expected_XV, torch.nan)
    torch.testing.assert_close(model.project(hidden_XD, out=out_XV), expected_XV)
    torch.testing.assert_close(out_XV, expected_XV)


def test_the_backward_direction_reads_each_sentence_from_its_own_end():
    torch.manual_seed(0)
    layer = BidirectionalLstm(16, 16, "concatenate")
    x_BSD, lengths_B = torch.randn(2, 5, 16), torch.tensor([5, 3])
    y_BSD = layer(x_BSD, lengths_B)
    turned = layer.backward_direction(x_BSD[1:, :3].flip(1)).flip(1)
    torch.testing.assert_close(y_BSD[1:, :3, 8:], turned)


def test_output_attention_adds_a_projection_of_what_the_top_layer_looks_at():
    torch.manual_seed(0)
    layer, first = OutputAttention(8, 6, "product"), Attention(8, 6, "product")
    values_BSD, query_BTD = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    memory = first.memory(values_BSD, torch.tensor([5, 2]))
    seen_BTD = layer(query_BTD, memory)
    _, weights_BTS = layer.look(layer.project_query(query_BTD), memory)
    assert not weights_BTS[1, :, 2:].any()
    for sentence, length in ((0, 5), (1, 2)):
        keys_SA = (values_BSD[sentence, :length] @ first.key_projection.weight.t()).tanh()
        queries_TA = (query_BTD[sentence] @ layer.attention.query_projection.weight.t()).tanh()
        weights_TS = ((queries_TA * layer.attention.scale_A) @ keys_SA.t()).softmax(1)
        torch.testing.assert_close(weights_BTS[sentence, :, :length], weights_TS)
        context_TD = weights_TS @ values_BSD[sentence, :length]
        torch.testing.assert_close(seen_BTD[sentence], context_TD @ layer.projection.weight.t())


def test_with_output_attention_the_weights_of_a_step_are_those_of_the_top_layer():
    model, batch = _model(output_attention=True), batch_of(SOURCES, TARGETS)
    state = model.initial_state(model.encode(batch.source_BS, batch.source_lengths_B))
    _, before_BS, _ = model.decode_step(batch.target_BT[:, 0], state)
    torch.nn.init.normal_(model.decoder.upper[0].cell.weight_ih_l0)  # above the first attention
    _, after_BS, _ = model.decode_step(batch.target_BT[:, 0], state)
    assert float((before_BS - after_BS).abs().max()) > 1e-4


def test_product_attention_is_equation_22_and_additive_attention_equation_21():
    torch.manual_seed(0)
    values_BSD, query_BTD = torch.randn(1, 4, 8), torch.randn(1, 2, 8)
    for kind in ("product", "additive"):
        attention = Attention(8, 6, kind)
        torch.nn.init.normal_(attention.scale_A)
        memory = attention.memory(values_BSD, torch.tensor([3]))
        context_BTD = attention(query_BTD, memory)
        _, weights_BTS = attention.look(attention.project_query(query_BTD), memory)
        torch.testing.assert_close(context_BTD, weights_BTS @ values_BSD)
        u_DA, w_DA = attention.key_projection.weight.t(), attention.query_projection.weight.t()
        for t in range(2):
            scores = []
            for s in range(3):
                key_A, query_A = values_BSD[0, s] @ u_DA, query_BTD[0, t] @ w_DA
                hidden_A = key_A.tanh() * query_A.tanh() if kind == "product" else (key_A + query_A).tanh()
                scores.append((attention.scale_A * hidden_A).sum())
            expected = torch.stack([*scores, torch.tensor(-torch.inf)]).softmax(0)
            torch.testing.assert_close(weights_BTS[0, t], expected)


@pytest.mark.parametrize(("tied", "num_matrices"), [("all", 1), ("target", 2), ("none", 3)])
def test_tied_embeddings_share_one_matrix(tied, num_matrices):
    model = _model(tied_embeddings=tied)
    matrices = {id(m) for m in (model.source_embedding_VD, model.target_embedding_VD, model.output_VD)}
    assert len(matrices) == num_matrices


def test_every_parameter_of_every_wiring_has_a_gradient():
    for wiring in ({}, {"attention_context": "recurrent"}, {"tied_embeddings": "none"}):
        model = _model(**wiring).train()
        output = model(batch_of(SOURCES, TARGETS))
        loss = (output.hidden_ND @ model.output_VD.t()).square().sum()
        loss = loss + sum(sum(b.auxiliary_losses.values()) for b in output.balances.values())
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


def test_a_batch_moves_to_a_device_whole():
    assert isinstance(batch_of(SOURCES, TARGETS).to("cpu"), Batch)


def test_gnmts_bottom_is_two_full_directions_and_residuals_begin_above_the_layer_that_reads_them():
    """GNMT (Wu et al. 2016, section 3)."""
    model = _model(**GNMT, encoder_moe_after=())
    encoder, x_BSD = model.encoder, torch.randn(1, 5, 32)
    encoded_BSD, _ = encoder(x_BSD, torch.tensor([5]), torch.arange(5))
    ahead_BSD = encoder.bottom.forward_direction(x_BSD)
    back_BSD = encoder.bottom.backward_direction(x_BSD.flip(1)).flip(1)
    second_BSD = encoder.upper[0](torch.cat((ahead_BSD, back_BSD), dim=2))
    torch.testing.assert_close(encoded_BSD, second_BSD + encoder.upper[1](second_BSD))


def test_without_a_residual_around_the_bottom_layer_the_decoder_passes_no_embedding_on():
    """What the attention asks with is the bottom layer's output alone; the layers above add to it."""
    decoder = _model(bottom_residual=False, decoder_moe_after=()).decoder
    embedded_BTD, values_BSD = torch.randn(2, 4, 32), torch.randn(2, 5, 32)
    memory = decoder.attention.memory(values_BSD, torch.tensor([5, 5]))
    bottom_BTD = decoder.bottom(embedded_BTD)
    context_BTD = decoder.attention(bottom_BTD, memory)
    expected_BTD = bottom_BTD + decoder.upper[0](torch.cat((bottom_BTD, context_BTD), dim=2))
    found_ND, _ = decoder(embedded_BTD, memory, torch.arange(8))
    torch.testing.assert_close(found_ND, expected_BTD.reshape(8, 32))


def test_gnmts_context_goes_into_every_decoder_layer():
    decoder = _model(**GNMT, encoder_moe_after=()).decoder
    assert [layer.cell.input_size for layer in (decoder.bottom, *decoder.upper)] == [64, 64]


@pytest.mark.parametrize("wiring", WIRINGS, ids=lambda w: "-".join(str(value) for value in w.values()))
def test_in_training_a_sentence_has_its_numbers_and_gradients_whatever_is_beside_it(wiring):
    """Dropout and the noise of gates belong to its tokens, and not to the width of the batch."""
    noise = new_side_noise()
    model = _model(noise, **({"dropout": 0.4} | wiring)).double().train()
    found = []
    for rows in ([0, 1, 2], [1]):
        batch = batch_of([SOURCES[row] for row in rows], [TARGETS[row] for row in rows])
        noise.source.begin(5, torch.tensor(rows), batch.source_lengths_B, batch.source_BS.shape[1])
        noise.target.begin(5, torch.tensor(rows), batch.target_lengths_B, batch.target_BT.shape[1] - 1)
        hidden_ND = model(batch).hidden_ND
        begin = sum(len(TARGETS[row]) + 1 for row in rows[: rows.index(1)])
        of_sentence_ND = hidden_ND[begin : begin + len(TARGETS[1]) + 1]
        model.zero_grad()
        of_sentence_ND.square().sum().backward()
        found.append(
            (of_sentence_ND.detach(), model.source_embedding_VD.grad, model.decoder.bottom.cell.bias_ih_l0.grad)
        )
    for among_others, alone in zip(*found, strict=True):
        assert among_others is not None
        assert alone is not None
        torch.testing.assert_close(among_others, alone)
