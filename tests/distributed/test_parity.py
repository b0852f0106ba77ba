"""Any number of processes, and any division of the experts, trains what one process trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mtmoe.distributed.data_parallel import BUCKET_BYTES
from tests.distributed.processes.group import run_group
from tests.distributed.processes.recipes import TWO_LEVELS, language_model, small_recipe
from tests.distributed.processes.workers import Job, Trained, train_all

NUM_STEPS = 5  # a batch of each size
BALANCED = {"gate": "strictly-balanced", "threshold_loss_weight": 0.5}
THOROUGH = {
    "expert_optimizer": "factored-adam",
    "ema": {"decay": 0.9, "every_steps": 2},
    "gradient_accumulation": 2,
}
TAUGHT = {
    "distillation": {"teachers": ["a", "b"], "weight": 0.6, "temperature": 2.0, "top_k": 5},
    "consistency": {"weight": 2.0},
    "gradient_accumulation": 2,
    "guided_alignment": {"weight": 0.7},
}
BIASED = {
    "gate": "sigmoid",
    "choice_bias_rate": 0.05,
    "gate_scale": 1.5,
    "importance_loss_weight": 0.0,
    "z_loss_weight": 0.1,
    "shared_experts": 1,
}
ACCUMULATED = {"ema": {"decay": 0.9, "every_steps": 2}, "gradient_accumulation": 2}
MORE = {"z_loss_weight": 0.1, "shared_experts": 2}
SAMPLED = {"sampled_softmax": {"num_samples": 30}, "label_smoothing": 0.0}
DROPPED = {"locked_dropout": True, "embedding_dropout": 0.2, "weight_dropout": 0.3}
PENALISED = {"activation_penalty": 0.5, "activation_change_penalty": 0.5, "consistency": {"weight": 2.0}}
# name: (model.moe, or None for a language model on running text; training; float64; one-sided)
CASES: dict[str, tuple[dict[str, Any] | None, dict[str, Any], bool, bool]] = {
    "noisy": ({}, {}, True, False),
    "noisy-float32": ({}, {}, False, False),
    "two-levels": (TWO_LEVELS, {}, True, False),
    "factored-averaged-accumulated": ({"gate": "softmax"}, THOROUGH, True, False),
    "one-sided": ({"gate": "softmax", "experts_per_token": 1}, {}, True, True),
    "balanced": (BALANCED, {}, True, False),
    "balanced-two-levels": (TWO_LEVELS | BALANCED, {}, True, False),
    "sigmoid-biased-shared": (BIASED, ACCUMULATED, True, False),
    "softmax-biased": ({"gate": "softmax", "choice_bias_rate": 0.05}, {"consistency": {"weight": 2.0}}, True, False),
    "sigmoid-two-levels": (TWO_LEVELS | MORE | {"gate": "sigmoid", "gate_scale": 1.5}, {}, True, False),
    "noisy-two-levels-z-shared": (TWO_LEVELS | MORE, {}, True, False),
    "balanced-two-levels-z": (TWO_LEVELS | BALANCED | {"z_loss_weight": 0.1}, {}, True, False),
    "expert-choice": (BALANCED | MORE | {"gate": "expert-choice"}, {}, True, False),
    "taught-read-twice": ({}, TAUGHT, True, False),
    "running-text-read-twice": (None, {"consistency": {"weight": 2.0}}, True, False),
    "running-text": (None, {}, True, False),
    "dropped": ({}, {"model": DROPPED}, True, False),
    "running-text-regularised": (None, {"model": DROPPED, "gradient_accumulation": 2} | PENALISED, True, False),
    "running-text-mixed": (None, {"model": {"softmaxes": 3}, "label_smoothing": 0.0}, True, False),
    "running-text-sampled": (None, SAMPLED, True, False),
}
# (data, expert): cases. Six experts on four processes are 2, 2, 2 and 0.
MESHES = {
    (2, 1): (
        "noisy",
        "noisy-float32",
        "factored-averaged-accumulated",
        "balanced",
        "running-text-sampled",
        "running-text-regularised",
        "running-text-mixed",
        "dropped",
        "taught-read-twice",
        "sigmoid-biased-shared",
        "balanced-two-levels-z",
        "expert-choice",
    ),
    (1, 2): tuple(CASES),
    (4, 1): ("noisy", "two-levels", "balanced-two-levels"),
    (2, 2): (
        "noisy",
        "noisy-float32",
        "two-levels",
        "factored-averaged-accumulated",
        "balanced",
        "balanced-two-levels",
        "running-text",
        "sigmoid-biased-shared",
        "noisy-two-levels-z-shared",
        "expert-choice",
    ),
    (1, 4): (
        "noisy",
        "noisy-float32",
        "two-levels",
        "factored-averaged-accumulated",
        "one-sided",
        "balanced",
        "balanced-two-levels",
        "sigmoid-two-levels",
        "softmax-biased",
    ),
}
ALL = [(mesh, case) for mesh, cases in MESHES.items() for case in cases]


def job(case: str, expert_size: int) -> Job:
    moe, training, double, one_sided = CASES[case]
    recipe = small_recipe(expert_size, moe, **training) if moe is not None else language_model(expert_size, **training)
    alone = case == "factored-averaged-accumulated"  # each gradient by itself, most of them in the backward pass
    return Job(recipe, NUM_STEPS, double, one_sided, bucket_bytes=1 if alone else BUCKET_BYTES)


@pytest.fixture(scope="module")
def of_one() -> dict[str, Trained]:
    return dict(zip(CASES, run_group(1, train_all, [job(case, 1) for case in CASES])[0], strict=True))


@pytest.fixture(scope="module")
def of_many() -> dict[tuple[tuple[int, int], str], list[Trained]]:
    """What every process of a mesh has in the end. One group for all meshes of a size: starting costs the most."""
    results = {}
    for size in (2, 4):
        wanted = [(mesh, case) for mesh, case in ALL if mesh[0] * mesh[1] == size]
        processes = run_group(size, train_all, [job(case, expert_size) for (_, expert_size), case in wanted])
        results |= {key: [process[place] for process in processes] for place, key in enumerate(wanted)}
    return results


@pytest.mark.parametrize(("mesh", "case"), ALL, ids=[f"{m[0]}x{m[1]}-{case}" for m, case in ALL])
def test_losses_gradients_weights_and_moments_are_those_of_one_process(of_one, of_many, mesh, case):
    one, tolerance = of_one[case], 1e-10 if CASES[case][2] else 1e-5
    for process in of_many[mesh, case]:
        np.testing.assert_allclose(process.losses, one.losses, rtol=tolerance)
        for name in ("gradients", "weights", "moments"):
            expected, found = getattr(one, name), getattr(process, name)
            assert expected.keys() == found.keys()
            for key in expected:
                np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=tolerance, err_msg=f"{name} {key}")


@pytest.mark.parametrize("mesh", [(1, 2), (2, 2), (1, 4)])
def test_all_processes_have_the_same_bits(of_many, mesh):
    first, *others = of_many[mesh, "noisy-float32"]
    for other in others:
        assert first.losses == other.losses
        for key in first.weights:
            assert np.array_equal(first.weights[key], other.weights[key]), key


def test_the_metrics_are_of_the_tokens_of_all_processes(of_one, of_many):
    for mesh in ((2, 1), (1, 2), (2, 2)):
        for process in of_many[mesh, "noisy"]:
            assert process.load_shares == of_one["noisy"].load_shares


def test_a_process_whose_tokens_all_go_elsewhere_and_one_that_gets_none_were_among_them(of_many):
    for shares in of_many[(1, 4), "one-sided"][0].load_shares:
        assert sum(shares[:2]) == pytest.approx(1.0)


def test_dropout_and_gate_noise_were_at_work(of_one):
    """Without either, other first losses: so parity says something about them."""
    quiet = job("noisy", 1)._replace(num_steps=1)
    model = quiet.recipe.model.model_copy(update={"dropout": 0.0})
    moe = quiet.recipe.model.moe.model_copy(update={"noise_floor": 10.0})
    without_dropout = quiet.recipe.model_copy(update={"model": model})
    louder = quiet.recipe.model_copy(update={"model": quiet.recipe.model.model_copy(update={"moe": moe})})
    results = run_group(1, train_all, [quiet._replace(recipe=recipe) for recipe in (without_dropout, louder)])[0]
    for result in results:
        assert abs(result.losses[0][0] - of_one["noisy"].losses[0][0]) > 1e-4


def test_biases_were_at_work_in_the_average_and_beside_it(of_one):
    for case in ("sigmoid-biased-shared", "softmax-biased"):
        biases = [array for name, array in of_one[case].weights.items() if name.endswith("choice_bias_E")]
        assert len(biases) == 2
        assert any(np.abs(array).max() > 0.01 for array in biases)  # in another layer steps up and down may cancel
        assert not any("choice_bias" in name for name in of_one[case].gradients)
    name = "weights.encoder.moe_layers.1.gate.choice_bias_E"  # beside its average
    bias_E = of_one["sigmoid-biased-shared"].moments[name]
    steps = bias_E / 0.05
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert not any(key.startswith("exp_avg") and "choice_bias" in key for key in of_one["softmax-biased"].moments)
