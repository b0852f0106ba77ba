"""Devices by name."""

from __future__ import annotations

import pytest

from mtmoe.device import choose_device
from mtmoe.errors import UserError


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error_that_names_it(name):
    with pytest.raises(UserError, match=f"device '{name}'"):
        choose_device(name)
