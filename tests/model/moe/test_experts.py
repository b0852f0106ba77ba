"""The operator of the experts against eq. 1 written as a loop: values and every gradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.moe import expert_operator, grouped_experts, padded_experts
from mtmoe.model.moe.expert_operator import experts_operator
from mtmoe.model.moe.experts import Experts, loop_over_experts
from mtmoe.model.moe.moe_layer import DenseFeedForward, MixtureOfExperts
from mtmoe.model.moe.routing import Routing
from mtmoe.model.ops import buffer_pool as reused_memory
from mtmoe.model.ops.rows import inverse_permutation

WIDTH, HIDDEN = 16, 24


def _routing(tokens: list[int], experts: list[int], num_experts: int, k: int | None, dtype=torch.float32) -> Routing:
    experts_M = torch.tensor(experts, dtype=torch.int64)
    gates_M = torch.rand(len(tokens), dtype=dtype).add_(0.1).requires_grad_()
    token_counts_E = torch.tensor(np.bincount(experts_M.numpy(), minlength=num_experts))
    return Routing(torch.tensor(tokens, dtype=torch.int64), experts_M, gates_M, k, token_counts_E, None)


def _fixed(num_tokens: int, num_experts: int, k: int, used: int | None = None, dtype=torch.float32) -> Routing:
    """K different experts for each token, in any order, among the first ``used``."""
    experts = [torch.randperm(used or num_experts)[:k].tolist() for _ in range(num_tokens)]
    tokens = [n for n in range(num_tokens) for _ in range(k)]
    return _routing(tokens, list(itertools.chain(*experts)), num_experts, k, dtype)


def _varying(num_pairs_of: list[int], num_experts: int, dtype=torch.float32) -> Routing:
    """As many different experts for each token as the list says."""
    experts = [torch.randperm(num_experts)[:n].tolist() for n in num_pairs_of]
    tokens = [n for n, num_pairs in enumerate(num_pairs_of) for _ in range(num_pairs)]
    return _routing(tokens, list(itertools.chain(*experts)), num_experts, None, dtype)


CASES = {
    "fixed": lambda: (33, 8, _fixed(33, 8, 2)),
    "one token": lambda: (1, 8, _fixed(1, 8, 2)),
    "every expert for each token": lambda: (7, 4, _fixed(7, 4, 4)),
    "one expert for each token": lambda: (50, 3, _fixed(50, 3, 1)),
    "more experts than pairs": lambda: (5, 40, _fixed(5, 40, 3)),
    "few of the experts": lambda: (60, 9, _fixed(60, 9, 2, used=3)),
    "uneven": lambda: (300, 6, _routing([*range(300), 299], [0] * 290 + [5, 4, 3] * 3 + [2, 5], 6, None)),
    "varying": lambda: (9, 8, _varying([2, 0, 1, 8, 0, 0, 3, 1, 2], 8)),
    "first and last token without experts": lambda: (4, 3, _varying([0, 2, 1, 0], 3)),
    "a thousand and more": lambda: (64, 1100, _fixed(64, 1100, 4)),
}


@pytest.fixture(params=CASES, name="case")
def _case(request):
    torch.manual_seed(0)
    num_tokens, num_experts, routing = CASES[request.param]()
    return Experts(num_experts, WIDTH, HIDDEN), torch.randn(num_tokens, WIDTH, requires_grad=True), routing


def _inputs(experts: Experts, x_ND: Tensor, routing: Routing) -> list[Tensor]:
    return [x_ND, routing.gates_M, experts.first_EDH, experts.second_EHD]


def _reference(experts: Experts, x_ND: Tensor, routing: Routing, weight_ND: Tensor) -> tuple[Tensor, ...]:
    """y and the gradients of sum(weight y), by the loop in float64."""
    inputs = [t.detach().double().requires_grad_() for t in _inputs(experts, x_ND, routing)]
    y_ND = loop_over_experts(inputs[0], routing._replace(gates_M=inputs[1]), *inputs[2:])
    return y_ND.detach(), *torch.autograd.grad((y_ND * weight_ND.double()).sum(), inputs)


def _assert_close(values, expected, **tolerances):
    for value, reference in zip(values, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, **tolerances)


def _value_and_gradients(experts: Experts, x_ND: Tensor, routing: Routing, weight_ND: Tensor) -> list[Tensor]:
    y_ND = experts(x_ND, routing)
    gradients = torch.autograd.grad(y_ND, _inputs(experts, x_ND, routing), weight_ND.to(y_ND.dtype))
    return [y_ND.detach(), *gradients]


def test_the_loop_is_equation_1_token_by_token():
    torch.manual_seed(0)
    routing = _varying([2, 0, 3], 4)
    x_ND, first_EDH, second_EHD = torch.randn(3, 5), torch.randn(4, 5, 7), torch.randn(4, 7, 5)
    y_ND = torch.zeros(3, 5)
    for token, expert, gate in zip(*(v.tolist() for v in routing[:3]), strict=True):
        y_ND[token] += gate * (torch.clamp(x_ND[token] @ first_EDH[expert], min=0) @ second_EHD[expert])
    torch.testing.assert_close(loop_over_experts(x_ND, routing, first_EDH, second_EHD).detach(), y_ND)


def test_the_operator_equals_a_loop_over_experts_in_value_and_gradient(case):
    weight_ND = torch.randn_like(case[1])
    _assert_close(_value_and_gradients(*case, weight_ND), _reference(*case, weight_ND), rtol=1e-5, atol=1e-5)


def test_the_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    routing = _varying([2, 0, 1, 3], 5, torch.float64)
    experts = Experts(5, 8, 16).double()
    x_ND = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)

    def layer(x_ND, gates_M, first_EDH, second_EHD):
        changed = {"first_EDH": first_EDH, "second_EHD": second_EHD}
        return torch.func.functional_call(experts, changed, (x_ND, routing._replace(gates_M=gates_M)))

    assert torch.autograd.gradcheck(layer, _inputs(experts, x_ND, routing))


def test_batches_of_cast_weights_equal_the_loop_also_in_double_precision(case):
    experts, x_ND, routing = case
    order_M = routing.experts_M.argsort(stable=True)
    inputs = _inputs(experts, x_ND, routing)
    indices = (routing.tokens_M, routing.experts_M, order_M, inverse_permutation(order_M), routing.token_counts_E)
    y_ND, _ = experts_operator(*inputs, *indices, routing.experts_per_token, torch.float64, True)
    weight_ND = torch.randn_like(x_ND)
    gradients = torch.autograd.grad(y_ND, inputs, weight_ND.double())
    assert [g.dtype for g in gradients] == [torch.float32] * 4
    y, *expected = _reference(*case, weight_ND)
    torch.testing.assert_close(y_ND, y, rtol=1e-6, atol=1e-6)
    _assert_close(gradients, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("most_groups", [1023, 3])
@pytest.mark.parametrize("keep_hidden", [True, False])
def test_the_grouped_arithmetic_of_a_gpu_equals_the_loop_also_in_slices(case, most_groups, keep_hidden):
    experts, x_ND, routing = case
    if experts.first_EDH.shape[0] > 1023 and most_groups == 3:
        most_groups = 400
    order_M = routing.experts_M.argsort(stable=True)
    inverse_M = inverse_permutation(order_M)
    starts_N = torch.searchsorted(routing.tokens_M, torch.arange(x_ND.shape[0]))
    source_M = routing.tokens_M[order_M]
    tensors = [t.detach() for t in (x_ND, routing.gates_M)], [experts.first_EDH.detach(), experts.second_EHD.detach()]
    common = (*tensors[0], starts_N, *tensors[1], source_M)
    weight_ND = torch.randn_like(x_ND)
    with _poisoned_memory():
        y_ND, hidden = grouped_experts.forward(*common, inverse_M, routing.token_counts_E, torch.float32, most_groups)
        kept = hidden if keep_hidden else None
        gradients = grouped_experts.backward(
            weight_ND, *common, order_M, inverse_M, routing.token_counts_E, torch.float32, kept, most_groups
        )
    _assert_close([y_ND, *gradients], _reference(*case, weight_ND), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("recompute", [True, False])
def test_on_a_gpu_gradients_of_further_batches_are_added_to_those_that_are_there(monkeypatch, recompute, at_once):
    """Some experts at a time, never all of them a second time; whoever waits for a gradient is told each time."""
    torch.manual_seed(0)
    experts = Experts(7, 8, 16, recompute=recompute)
    batches = [(torch.randn(n, 8, requires_grad=True), _varying(pairs, 7, torch.float32), torch.randn(n, 8))
               for n, pairs in ((5, [2, 0, 1, 3, 4]), (3, [1, 2, 2]), (2, [0, 0]), (2, [3, 1]))]  # fmt: skip
    expected = [torch.zeros_like(p) for p in experts.parameters()]
    for x_ND, routing, weight_ND in batches:
        _, x_gradient, _, *of_stacks = _reference(experts, x_ND, routing, weight_ND)
        expected = [total + gradient for total, gradient in zip(expected, of_stacks, strict=True)]
        of_last_x = x_gradient
    monkeypatch.setattr(expert_operator, "is_grouped", lambda *_: True)
    monkeypatch.setattr(grouped_experts, "experts_at_once", lambda *_: at_once)
    told: list[str] = []
    for name, parameter in experts.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: told.append(name))
    kept = []
    for x_ND, routing, weight_ND in batches:
        x_ND.grad = None
        experts(x_ND, routing).backward(weight_ND)
        kept.append(experts.first_EDH.grad)
    assert all(gradient is kept[0] for gradient in kept)
    assert sorted(told) == ["first_EDH"] * 4 + ["second_EHD"] * 4
    _assert_close([p.grad for p in experts.parameters()], expected, rtol=1e-5, atol=1e-5)
    _assert_close([batches[-1][0].grad], [of_last_x], rtol=1e-5, atol=1e-5)


class _poisoned_memory:
    """Fresh memory is full of NaN: what is read before it is written shows."""

    def __enter__(self):
        self.before = torch.utils.deterministic.fill_uninitialized_memory
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *_):
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = self.before


def test_nothing_is_read_from_memory_that_was_not_written(case):
    """Fresh memory holds NaN, and so does memory that an earlier gradient has left."""
    weight_ND = torch.randn_like(case[1])
    for memories in reused_memory._free.values():
        for memory in memories:
            memory.fill(255)  # NaN in every type
    with _poisoned_memory():
        values = _value_and_gradients(*case, weight_ND)
    _assert_close(values, _reference(*case, weight_ND), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(WIDTH, HIDDEN), (64, 512)])
def test_an_expert_without_tokens_has_a_gradient_of_exactly_zero(size):
    torch.manual_seed(0)
    experts, x_ND, routing = Experts(16, *size), torch.randn(20, size[0]), _fixed(20, 16, 2, used=3)
    for _ in range(2):  # the second time in memory that the first has left, if it is large
        experts.zero_grad(set_to_none=True)
        experts(x_ND, routing).square().sum().backward()
        for parameter in experts.parameters():
            assert not parameter.grad[3:].any()
            assert parameter.grad[:3].abs().amax((1, 2)).all()
            parameter.grad.fill_(torch.nan)


def test_no_tokens_at_all_give_no_output_and_zero_gradients():
    experts, x_ND = Experts(8, WIDTH, HIDDEN), torch.empty(0, WIDTH, requires_grad=True)
    y_ND = experts(x_ND, _fixed(0, 8, 2))
    assert y_ND.shape == (0, WIDTH)
    y_ND.sum().backward()
    for parameter in experts.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_tokens_without_any_expert_give_zeros_and_zero_gradients():
    experts, x_ND = Experts(8, WIDTH, HIDDEN), torch.randn(3, WIDTH, requires_grad=True)
    y_ND = experts(x_ND, _varying([0, 0, 0], 8))
    assert y_ND.shape == (3, WIDTH)
    assert not y_ND.any()
    y_ND.sum().backward()
    assert not x_ND.grad.any()
    assert not experts.first_EDH.grad.any()


def test_a_tokens_output_does_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    experts, x_ND, routing = Experts(8, WIDTH, HIDDEN), torch.randn(64, WIDTH), _fixed(64, 8, 2)
    together = experts(x_ND, routing)
    for n in range(64):
        pairs = slice(2 * n, 2 * n + 2)
        chosen = routing.experts_M[pairs]
        alone = Routing(torch.zeros(2).long(), chosen, routing.gates_M[pairs], 2, torch.bincount(chosen), None)
        padded_counts = torch.bincount(chosen, minlength=8)
        torch.testing.assert_close(
            experts(x_ND[n : n + 1], alone._replace(token_counts_E=padded_counts))[0], together[n]
        )


def test_a_neighbour_that_is_not_finite_spoils_no_other_token():
    torch.manual_seed(0)
    experts, x_ND, routing = Experts(8, WIDTH, HIDDEN), torch.randn(64, WIDTH), _fixed(64, 8, 2)
    expected = experts(x_ND, routing)
    x_ND[0] = torch.inf
    y_ND = experts(x_ND, routing)
    assert torch.equal(y_ND[1:], expected[1:])
    assert not y_ND[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_runs_are_equal_to_the_bit_and_so_is_recomputation(case, dtype):
    experts, x_ND, routing = case
    weight_ND = torch.randn_like(x_ND)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        first = _value_and_gradients(experts, x_ND, routing, weight_ND)
        second = _value_and_gradients(experts, x_ND, routing, weight_ND)
        experts.recompute = True
        recomputed = _value_and_gradients(experts, x_ND, routing, weight_ND)
    assert first[0].dtype == dtype
    for one, two, three in zip(first, second, recomputed, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def _bytes_kept(experts: Experts, x_ND: Tensor, routing: Routing) -> dict[int, int]:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        experts(x_ND, routing)
    for own in (*experts.parameters(), x_ND, *routing[:3], routing.token_counts_E):
        kept.pop(own.untyped_storage().data_ptr(), None)
    return kept


def test_recomputation_keeps_no_hidden_activations_and_nothing_keeps_the_experts_outputs():
    torch.manual_seed(0)
    experts, x_ND, routing = Experts(8, WIDTH, HIDDEN), torch.randn(400, WIDTH, requires_grad=True), _fixed(400, 8, 2)
    indices = 2 * 800 * 8  # the order and its inverse
    hidden = 800 * HIDDEN * 4
    assert indices + hidden <= sum(_bytes_kept(experts, x_ND, routing).values()) <= indices + 1.25 * hidden
    experts.recompute = True
    assert sum(_bytes_kept(experts, x_ND, routing).values()) == indices


def test_the_setting_reaches_the_experts():
    settings = MixtureOfExpertsSettings(num_experts=4, expert_hidden=16, recompute_experts=True)
    assert MixtureOfExperts(16, settings).experts.recompute
    assert not MixtureOfExperts(16, MixtureOfExpertsSettings(num_experts=4, expert_hidden=16)).experts.recompute


def test_bf16_autocast_computes_the_experts_in_bf16_with_gradients_in_float32():
    torch.manual_seed(0)
    experts, x_ND, routing = Experts(8, WIDTH, HIDDEN), torch.randn(64, WIDTH), _fixed(64, 8, 2)
    for tensor in (x_ND, *(p.data for p in experts.parameters())):
        tensor.copy_(tensor.bfloat16())  # rounded before, so that no unit of the reference is on where ours is off
    x_ND.requires_grad_()
    weight_ND = torch.randn(64, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        values = _value_and_gradients(experts, x_ND, routing, weight_ND)
    assert [v.dtype for v in values] == [torch.bfloat16] + [torch.float32] * 4
    for value, expected in zip(values, _reference(experts, x_ND, routing, weight_ND), strict=True):
        assert float((value.double() - expected).norm() / expected.norm()) < 0.02


def test_weights_in_bf16_have_gradients_in_bf16():
    torch.manual_seed(0)
    experts, routing = Experts(8, WIDTH, HIDDEN).bfloat16(), _fixed(64, 8, 2)
    x_ND = torch.randn(64, WIDTH).bfloat16().requires_grad_()
    weight_ND = torch.randn(64, WIDTH)
    values = _value_and_gradients(experts, x_ND, routing, weight_ND)
    assert [v.dtype for v in values] == [torch.bfloat16] * 2 + [torch.float32] + [torch.bfloat16] * 2
    for value, expected in zip(values, _reference(experts, x_ND, routing, weight_ND), strict=True):
        assert float((value.double() - expected).norm() / expected.norm()) < 0.02


def test_no_distribution_of_pairs_takes_more_than_the_padded_rows_that_were_promised():
    generator = np.random.default_rng(0)
    distributions = [[5], [31, 32, 33], [47], [1023], [0, 0, 7], [1] * 100, [49, 39], [100, 0, 1, 1, 1, 1000, 800, 640]]
    distributions += [[count] for count in range(1, 70)] + [list(range(40)), [1, 1, 1, 2, 3, 4, 5]]
    distributions += [generator.negative_binomial(1, 0.02, size=50).tolist() for _ in range(50)]
    for counts in distributions:
        experts = [e for e, count in enumerate(counts) for _ in range(count)]
        routing = _routing(list(range(len(experts))), experts, len(counts), 1)
        order_M = routing.experts_M.argsort(stable=True)
        layout = padded_experts.make_layout(
            routing.token_counts_E,
            routing.tokens_M,
            routing.experts_M,
            inverse_permutation(order_M),
            len(experts),
            1 << 16,
        )
        assert len(layout.source_P) <= padded_experts.most_rows(len(experts))
        assert sorted(layout.idle + [e for b in layout.batches for e in b.experts]) == list(range(len(counts)))
        for batch in layout.batches:  # every pair lies among the rows of its own expert, alone
            for place, expert in enumerate(batch.experts):
                first = batch.first_row + place * batch.num_rows
                rows = layout.row_M[routing.experts_M == expert]
                assert rows.tolist() == list(range(first, first + counts[expert]))
                assert (layout.source_P[first + counts[expert] : first + batch.num_rows] == len(experts)).all()


def _arguments(keep_hidden: bool, dtype=torch.float32, num_tokens: int = 12):
    torch.manual_seed(0)
    experts, routing = Experts(6, WIDTH, HIDDEN), _fixed(num_tokens, 6, 2)
    order_M = routing.experts_M.argsort(stable=True)
    indices = (routing.tokens_M, routing.experts_M, order_M, inverse_permutation(order_M), routing.token_counts_E)
    x_ND = torch.randn(num_tokens, WIDTH, requires_grad=True)
    return (*_inputs(experts, x_ND, routing), *indices, 2, dtype, keep_hidden)


@pytest.mark.parametrize("keep_hidden", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operator_is_registered_as_torch_wants_it(keep_hidden, dtype):
    checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    # The last one compares every output, but the spare rows of the hidden activations are never written.
    torch.library.opcheck(
        experts_operator, _arguments(keep_hidden, dtype), test_utils=checks[: 3 if keep_hidden else 4]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_compiles_whole_and_once_for_any_number_of_tokens(dtype):
    torch.manual_seed(0)
    torch._dynamo.reset()
    experts = Experts(6, WIDTH, HIDDEN)
    compiled = torch.compile(experts, backend="aot_eager", fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True), torch.autocast("cpu", dtype, dtype != torch.float32):
        for num_tokens in (9, 31, 5, 64):
            x_ND, routing = torch.randn(num_tokens, WIDTH, requires_grad=True), _fixed(num_tokens, 6, 2)
            torch._dynamo.mark_dynamic(x_ND, 0)
            for pairs in routing[:3]:
                torch._dynamo.mark_dynamic(pairs, 0)
            weight_ND = torch.randn_like(x_ND)
            eager = _value_and_gradients(experts, x_ND, routing, weight_ND)
            y_ND = compiled(x_ND, routing)
            gradients = torch.autograd.grad(y_ND, _inputs(experts, x_ND, routing), weight_ND.to(y_ND.dtype))
            for one, other in zip([y_ND, *gradients], eager, strict=True):
                assert torch.equal(one, other)


def test_more_than_2_to_the_31_hidden_elements_have_their_shapes_and_indices_in_int64(monkeypatch):
    num_tokens, k, width, hidden = 1 << 18, 4, 8, 4096
    monkeypatch.setattr(Experts, "draw", lambda self: None)  # fake weights have no values
    with FakeTensorMode():
        experts, x_ND = Experts(2, width, hidden), torch.empty(num_tokens, width, requires_grad=True)
        pairs_M = torch.empty(num_tokens * k, dtype=torch.int64)
        gates_M = torch.empty(num_tokens * k, requires_grad=True)
        routing = Routing(pairs_M, pairs_M, gates_M, k, torch.empty(2, dtype=torch.int64), None)
        y_ND = experts(x_ND, routing)
        y_ND.sum().backward()
    assert y_ND.shape == x_ND.grad.shape == (num_tokens, width)
    hidden_elements = padded_experts.most_rows(num_tokens * k) * hidden
    assert hidden_elements > 2**31
    layout = padded_experts.make_layout(*(torch.tensor([n]) for n in (1, 0, 0, 0)), 1, 64)
    assert layout.row_M.dtype == layout.source_P.dtype == torch.int64


def test_large_memory_is_used_again_once_it_is_free_and_never_before():
    reused_memory._free.clear()
    first = reused_memory.reused_empty((1 << 19,), torch.float32)
    view, address = first[5:], first.data_ptr()
    assert address % 64 == 0
    del first
    second = reused_memory.reused_empty((1 << 18, 2), torch.float32)
    assert second.data_ptr() != address  # the view still needs it
    del view
    third = reused_memory.reused_empty((1 << 20,), torch.bfloat16)
    assert third.data_ptr() == address
    del second
    reused_memory.reused_empty((1 << 20,), torch.float32)
    assert list(reused_memory._free) == [1 << 22]  # another size let go of what was free


def test_the_sigmoid_is_on_the_sum_and_can_be_switched_off():
    torch.manual_seed(1)
    settings = MixtureOfExpertsSettings(num_experts=4, experts_per_token=2, expert_hidden=16)
    layer = MixtureOfExperts(16, settings).eval()
    x_ND = torch.randn(10, 16)
    with_sigmoid, _ = layer(x_ND)
    layer.sigmoid_output = False
    without, _ = layer(x_ND)
    torch.testing.assert_close(with_sigmoid, without.sigmoid())


def test_the_dense_twin_has_the_operations_of_the_chosen_experts():
    settings = MixtureOfExpertsSettings(num_experts=8, experts_per_token=2, expert_hidden=24)
    mixture, dense = MixtureOfExperts(16, settings), DenseFeedForward(16, settings)
    per_expert = sum(p.numel() for p in mixture.experts.parameters()) // 8
    assert sum(p.numel() for p in dense.parameters()) == 2 * per_expert


def test_some_experts_alone_have_the_weights_that_they_have_among_all():
    torch.manual_seed(3)
    whole, after = Experts(7, 8, 16), torch.rand(4)
    parts = []
    for share in (slice(0, 3), slice(3, 7), slice(7, 7)):
        torch.manual_seed(3)
        parts.append(Experts(7, 8, 16, shard=lambda num_experts, share=share: share))
        assert torch.equal(torch.rand(4), after)  # what is drawn next does not depend on them either
        assert parts[-1].num_experts == whole.num_experts == 7
    for name in ("first_EDH", "second_EHD"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert len(whole.first_EDH.flatten().unique()) == whole.first_EDH.numel()  # no two experts are alike
    assert Experts(7, 8, 16).shard == slice(0, 7)


def test_few_rows_without_a_gradient_equal_a_loop_over_experts(case):
    experts, x_ND, routing = case
    with torch.inference_mode():
        y_ND = experts(x_ND, routing)
    expected_ND = loop_over_experts(x_ND, routing, experts.first_EDH, experts.second_EHD)
    torch.testing.assert_close(y_ND, expected_ND.detach())
    is_here_M = routing.tokens_M == 0
    alone = routing._replace(
        tokens_M=routing.tokens_M[is_here_M],
        experts_M=routing.experts_M[is_here_M],
        gates_M=routing.gates_M[is_here_M],
        token_counts_E=torch.bincount(routing.experts_M[is_here_M], minlength=len(experts.first_EDH)),
    )
    with torch.inference_mode():
        torch.testing.assert_close(experts(x_ND[:1], alone), y_ND[:1])
