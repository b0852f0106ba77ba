from __future__ import annotations

import torch

from mtmoe.training.optimizers.stochastic_rounding import round_stochastically


def test_stochastic_rounding_gives_a_neighbour_and_the_number_itself_on_average():
    one_step = 2.0**-7  # between bf16 numbers from 1 to 2
    for share in (0.0, 0.1, 0.5, 0.9):
        for sign in (1.0, -1.0):
            x = torch.full((40_000,), sign * (1.0 + share * one_step))
            rounded = round_stochastically(x.clone(), torch.Generator().manual_seed(1))
            assert torch.equal(rounded.bfloat16().float(), rounded)
            assert set(rounded.abs().tolist()) <= {1.0, 1.0 + one_step}
            deviation = one_step * (share * (1 - share) / len(x)) ** 0.5
            assert abs(float(rounded.double().mean() - x.double().mean())) <= 4 * deviation + 1e-9
