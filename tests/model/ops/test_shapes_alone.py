"""Networks without memory: the shapes of the real one, and nothing heavy imported to find them out."""

from __future__ import annotations

import subprocess
import sys

from mtmoe.model.building import build_model, meta_model
from tests.toy import toy_recipe


def test_parameters_have_the_shapes_of_the_real_network_and_no_memory(tmp_path):
    recipe = toy_recipe(tmp_path)
    real, empty = build_model(recipe, 50), meta_model(recipe, 50)
    shapes = {name: parameter.shape for name, parameter in empty.named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in real.named_parameters()}
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert not any(parameter.is_meta for parameter in build_model(recipe, 50).parameters())  # it has ended


def test_a_description_does_not_import_the_compiler():
    program = (
        "import sys\n"
        "from mtmoe.config import load_recipe\n"
        "from mtmoe.model.description import describe_recipe\n"
        "describe_recipe(load_recipe('demo'))\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
