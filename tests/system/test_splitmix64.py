from __future__ import annotations

import torch

from mtmoe.system.splitmix64 import STEP, mix, mix_step_by_step


def test_splitmix_is_that_of_its_authors():
    # The first outputs of the reference implementation for the seed 1234567.
    steps = torch.arange(1, 4) * STEP + 1234567
    assert [n % (1 << 64) for n in mix(steps).tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_devices_without_numpy_compute_the_same_bits():
    keys = torch.arange(1000) * STEP
    assert torch.equal(mix_step_by_step(keys.clone()), mix(keys.clone()))
