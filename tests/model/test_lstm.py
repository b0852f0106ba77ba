"""A step of an LSTM with joined weights against the plain step, which is the equations."""

from __future__ import annotations

import pytest
import torch

from mtmoe.model.dropout import WeightDropout
from mtmoe.model.lstm import Lstm, LstmState
from mtmoe.model.ops.keyed_noise import TokenNoise

SHAPES = [(24, 16, 16, False), (16, 16, 40, False), (16, 16, 16, True)]


def _lstm(input_width: int, width: int, hidden: int, projection: bool) -> Lstm:
    torch.manual_seed(0)
    lstm = Lstm(input_width, width, hidden, projection)
    for parameter in lstm.parameters():  # biases are zeros and ones else, and gates hardly leave their middle
        torch.nn.init.normal_(parameter)
    return lstm


def _state(lstm: Lstm, num_rows: int) -> LstmState:
    generator = torch.Generator().manual_seed(1)
    output_BD = torch.randn(num_rows, lstm.width, generator=generator)
    return LstmState(output_BD, 3 * torch.randn(num_rows, lstm.hidden, generator=generator))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("num_rows", [1, 7, 130])
def test_joined_weights_make_the_plain_step(shape, num_rows):
    lstm, x_BD = _lstm(*shape), torch.randn(num_rows, shape[0], generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        plain = lstm.step(x_BD, _state(lstm, num_rows))
        lstm.join_weights()
        joined = lstm.step(x_BD, _state(lstm, num_rows))
    for one, other in zip(joined, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-6)


def test_joined_weights_make_a_step_in_bf16_as_near_to_that_in_fp32_as_the_plain_one():
    lstm, x_BD = _lstm(24, 16, 16, False), torch.randn(400, 24, generator=torch.Generator().manual_seed(2))
    state = _state(lstm, 400)
    lstm.bfloat16()
    x_BD, state = x_BD.bfloat16(), state._replace(output_BD=state.output_BD.bfloat16())
    with torch.no_grad():
        plain = lstm.step(x_BD, state)
        lstm.join_weights()
        joined = lstm.step(x_BD, state)
        lstm.joined = None
        exact = lstm.double().step(x_BD.double(), LstmState(state.output_BD.double(), state.cell_BH.double()))
    assert joined.output_BD.dtype == torch.bfloat16
    assert joined.cell_BH.dtype == torch.float32
    for one, other, expected in zip(joined, plain, exact, strict=True):
        error, plain_error = ((part.double() - expected).abs().mean() for part in (one, other))
        assert error <= 1.05 * plain_error


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_joined_weights_in_int8_make_nearly_the_plain_step(shape):
    lstm, x_BD = _lstm(*shape), torch.randn(40, shape[0], generator=torch.Generator().manual_seed(2))
    for name, parameter in lstm.named_parameters():
        if "weight" in name:  # gates that are not all at their ends
            torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        plain = lstm.step(x_BD, _state(lstm, 40))
        lstm.join_weights(in_int8=True)
        rough = lstm.step(x_BD, _state(lstm, 40))
    for one, other in zip(rough, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.1)
        assert 0 < (one - other).abs().mean() < 0.02


def test_training_goes_on_with_the_weights_themselves():
    lstm, x_BD = _lstm(24, 16, 16, False), torch.randn(3, 24)
    lstm.join_weights()
    with torch.no_grad():
        before = lstm.step(x_BD, _state(lstm, 3)).output_BD
        for parameter in lstm.parameters():
            parameter.mul_(0.5)
        assert torch.equal(lstm.step(x_BD, _state(lstm, 3)).output_BD, before), "as they were"
    output_BD = lstm.step(x_BD, _state(lstm, 3)).output_BD
    assert not torch.allclose(output_BD, before)
    output_BD.sum().backward()
    assert all(parameter.grad is not None for parameter in lstm.parameters())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("num_rows", [1, 7, 16, 70])
def test_steps_under_bf16_autocast_are_those_in_fp32_but_for_rounding(shape, num_rows):
    lstm, x_BD = _lstm(*shape), torch.randn(num_rows, shape[0], generator=torch.Generator().manual_seed(2))
    torch.nn.init.normal_(lstm.cell.weight_ih_l0, std=0.1)
    torch.nn.init.normal_(lstm.cell.weight_hh_l0, std=0.1)
    exact = narrow = lstm.initial_state(num_rows, x_BD)
    for _ in range(3):  # the first state is float32, those after it bf16
        exact = lstm.step(x_BD, exact)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = lstm.step(x_BD, narrow)
    assert narrow.output_BD.shape == exact.output_BD.shape
    torch.testing.assert_close(narrow.cell_BH, exact.cell_BH, rtol=0.1, atol=0.1)


def _dropping(shape, noise: TokenNoise, dtype: torch.dtype = torch.float64) -> Lstm:
    torch.manual_seed(0)
    lstm = Lstm(*shape, WeightDropout(0.5, noise)).to(dtype).train()
    for parameter in lstm.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return lstm


def _begun(seed: int) -> TokenNoise:
    noise = TokenNoise(1)
    noise.begin(seed, torch.arange(3), torch.full((3,), 7), 7)
    return noise


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weight_dropout_is_one_mask_of_the_recurrent_matrix_at_all_positions(shape):
    """Against the equations, with a matrix that was masked before: values, and gradients of all weights and inputs."""
    lstm, reference = _dropping(shape, _begun(5)), _dropping(shape, _begun(5))
    x_BLD = torch.randn(3, 7, shape[0], dtype=torch.float64)
    ours_BLD, theirs_BLD = x_BLD.clone().requires_grad_(), x_BLD.clone().requires_grad_()
    begin = LstmState(torch.randn(3, shape[1]).double(), torch.randn(3, shape[2]).double())
    output_BLD, after = lstm.continued(ours_BLD, begin)
    dropped = WeightDropout(0.5, _begun(5)).train().dropped(torch.ones_like(reference.cell.weight_hh_l0))
    assert dropped is not None
    w, state, outputs = dict(reference.cell.named_parameters()), begin, []
    for x_BD in theirs_BLD.unbind(1):
        recurrent_BG = state.output_BD @ (w["weight_hh_l0"] * dropped).t()
        gates = x_BD @ w["weight_ih_l0"].t() + recurrent_BG + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, dim=1)
        cell_BH = f.sigmoid() * state.cell_BH + i.sigmoid() * g.tanh()
        output_BH = o.sigmoid() * cell_BH.tanh()
        state = LstmState(output_BH @ w["weight_hr_l0"].t() if "weight_hr_l0" in w else output_BH, cell_BH)
        outputs.append(state.output_BD)
    assert torch.allclose(output_BLD, torch.stack(outputs, dim=1), atol=1e-10)
    assert torch.allclose(after.cell_BH, state.cell_BH, atol=1e-10)
    weights_BLD = torch.randn_like(output_BLD)
    (output_BLD * weights_BLD).sum().backward()
    (torch.stack(outputs, dim=1) * weights_BLD).sum().backward()
    assert torch.allclose(ours_BLD.grad, theirs_BLD.grad, atol=1e-9)
    for name, parameter in lstm.named_parameters():
        assert torch.allclose(parameter.grad, dict(reference.named_parameters())[name].grad, atol=1e-9), name
    # Step by step with the weights of the sequence it is the same, and the next batch drops others.
    again = _dropping(shape, _begun(5))
    weights, state = again.dropped_weights(), begin
    for x_BD in x_BLD.unbind(1):
        state = again.step(x_BD, state, weights)
    assert torch.allclose(state.output_BD, output_BLD[:, -1], atol=1e-10)
    assert not torch.allclose(lstm.continued(x_BLD, begin)[0], output_BLD, atol=1e-3)


def test_weight_dropout_stays_with_onednns_layer():
    lstm = _dropping((16, 16, 16, False), _begun(5), torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        lstm(torch.randn(3, 7, 16)).sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert {"aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward"} <= names
    plain = {parameter for parameter in lstm.parameters() if parameter.grad is None}
    assert plain == set()


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mogrifier_is_the_papers_rounds_before_the_equations(shape, rounds):
    torch.manual_seed(0)
    lstm = Lstm(*shape, mogrifier_rounds=rounds).double()
    fresh = Lstm(*shape).double()
    fresh.load_state_dict({name: tensor for name, tensor in lstm.state_dict().items() if "mogrifier" not in name})
    x_BLD = torch.randn(3, 7, shape[0], dtype=torch.float64, requires_grad=True)
    assert torch.allclose(lstm(x_BLD), fresh(x_BLD), atol=1e-10), "it begins as an LSTM without one"
    for parameter in lstm.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    w, state = dict(lstm.named_parameters()), lstm.initial_state(3, x_BLD)
    outputs = []
    for x_BD in x_BLD.unbind(1):
        x, h = x_BD, state.output_BD
        for number in range(1, rounds + 1):
            matrix = w[f"mogrifier.{number - 1}"]
            if number % 2 == 1:
                x = 2 * (1 / (1 + torch.exp(-(h @ matrix.t())))) * x
            else:
                h = 2 * (1 / (1 + torch.exp(-(x @ matrix.t())))) * h
        gates = x @ w["cell.weight_ih_l0"].t() + h @ w["cell.weight_hh_l0"].t()
        i, f, g, o = (gates + w["cell.bias_ih_l0"] + w["cell.bias_hh_l0"]).chunk(4, dim=1)
        cell_BH = f.sigmoid() * state.cell_BH + i.sigmoid() * g.tanh()
        output_BH = o.sigmoid() * cell_BH.tanh()
        projection = w.get("cell.weight_hr_l0")
        state = LstmState(output_BH if projection is None else output_BH @ projection.t(), cell_BH)
        outputs.append(state.output_BD)
    expected_BLD = torch.stack(outputs, dim=1)
    found_BLD = lstm(x_BLD)
    assert torch.allclose(found_BLD, expected_BLD, atol=1e-10)
    weights_BLD = torch.randn_like(found_BLD)
    wanted = [x_BLD, *lstm.parameters()]
    ours = torch.autograd.grad((found_BLD * weights_BLD).sum(), wanted)
    theirs = torch.autograd.grad((expected_BLD * weights_BLD).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-9)
    with torch.no_grad():  # joined weights and pieces of the text
        lstm.join_weights()
        first_BLD, after = lstm.continued(x_BLD[:, :3], None)
        second_BLD, _ = lstm.continued(x_BLD[:, 3:], after)
        assert torch.allclose(torch.cat((first_BLD, second_BLD), dim=1), expected_BLD, atol=1e-10)
