"""Private interfaces of torch: there in the versions that are allowed, and each with a fallback of the same values."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from mtmoe.system import torch_internals
from mtmoe.system.torch_internals import INTERNALS, Internal, elementwise_cuda_kernel, missing_internals, probe
from tests.paths import ROOT

PROCESSOR = ("has_avx2", "has_avx512", "has_avx512_bf16", "has_amx", "onednn_has_bf16")


def test_this_torch_is_one_of_those_that_are_allowed_and_has_all_of_them() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    torch_range = next(r for r in map(Requirement, dependencies) if r.name == "torch").specifier
    assert torch_range.contains(torch.__version__.split("+")[0])
    assert any(bound.operator == "<" for bound in torch_range), "no later version has been tested"
    assert missing_internals() == []


def test_what_is_not_there_is_told_and_stood_in_for() -> None:
    gone: Internal[..., str] = Internal("torch:_no_such_thing", lambda word: word.upper())
    assert gone.private is None
    assert gone("a") == "A"
    assert probe("torch.no_such_module:name") is None
    assert probe("torch:ops.aten._no_such_operation") is None


def test_tensors_are_copied_as_one_by_one() -> None:
    sources = [torch.randn(3), torch.randn(2, 2)]
    for copy in (torch_internals.copy_each.private, torch_internals.copy_each.fallback):
        targets = [torch.zeros(3), torch.zeros(2, 2)]
        assert copy is not None
        copy(targets, sources)
        assert all(torch.equal(target, source) for target, source in zip(targets, sources, strict=True))


def test_tensors_move_as_one_by_one() -> None:
    starts, ends = [torch.randn(3), torch.randn(2, 2)], [torch.randn(3), torch.randn(2, 2)]
    moved = []
    for lerp in (torch_internals.lerp_each.private, torch_internals.lerp_each.fallback):
        copies = [start.clone() for start in starts]
        assert lerp is not None
        lerp(copies, ends, 0.25)
        moved.append(copies)
    assert all(torch.equal(one, other) for one, other in zip(*moved, strict=True))


def test_the_cell_in_steps_is_torchs_cell() -> None:
    torch.manual_seed(0)
    cell = torch.nn.LSTMCell(5, 4)
    x, output, before = torch.randn(3, 5), torch.randn(3, 4), torch.randn(3, 4)
    expected = cell(x, (output, before))
    gates = x @ cell.weight_ih.t(), output @ cell.weight_hh.t()
    found = torch_internals.fused_lstm_cell.fallback(*gates, before, cell.bias_ih, cell.bias_hh)
    torch.testing.assert_close(found[:2], expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel is one of a GPU")
def test_the_fused_cell_is_the_cell_in_steps() -> None:
    gates = [torch.randn(3, 16, device="cuda") for _ in range(2)]
    rest = [torch.randn(3, 4, device="cuda"), *(torch.randn(16, device="cuda") for _ in range(2))]
    cell = torch_internals.fused_lstm_cell
    fused, in_steps = cell(*gates, *rest), cell.fallback(*gates, *rest)
    torch.testing.assert_close(fused[:2], in_steps[:2])


@pytest.mark.parametrize("name", PROCESSOR)
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads /proc/cpuinfo")
def test_what_a_processor_can_do_is_a_truth_value(name: str) -> None:
    internal = getattr(torch_internals, name)
    assert internal.private() in (True, False)
    assert internal.fallback() in (True, False)


def test_the_abilities_of_a_processor_are_those_that_linux_names(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_tile\n\nprocessor\t: 1\nflags\t: none\n")
    assert torch_internals.processor_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "amx_tile"}
    assert torch_internals.processor_flags(tmp_path / "none") == frozenset()


def test_a_kernel_that_cannot_be_made_is_stood_in_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_internals, "probe", lambda path: None)
    assert elementwise_cuda_kernel("code", torch.neg) is torch.neg


def test_a_group_whose_timeout_cannot_be_set_keeps_its_own() -> None:
    assert torch_internals.set_group_timeout.fallback(timedelta(seconds=1), None) is None


def test_shards_are_described_as_torch_describes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert (torch_internals.sharding_key(), torch_internals.offsets_key()) == ("DCP_SHARDING_INFO", "saved_offsets")
        monkeypatch.setattr(torch_internals, "probe", lambda path: None)  # the same without torch's word for it


def test_every_internal_is_in_the_list() -> None:
    made: list[Any] = [value for value in vars(torch_internals).values() if isinstance(value, Internal)]
    assert {id(internal) for internal in made} == {id(internal) for internal in INTERNALS}


_PRIVATE = re.compile(
    r"torch(\.\w+)*\._[a-z]|torch\._C|from torch[\w.]* import .*\b_[a-z]|from torch[\w.]*\._\w+ import"
)


def test_no_other_module_uses_what_torch_keeps_for_itself() -> None:
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("mtmoe", "cli")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "torch_internals.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if _PRIVATE.search(line) and "torch.__version__" not in line
    ]
    assert lines == []
