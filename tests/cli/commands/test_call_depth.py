"""The walk from `mtmoe translate` to a step of the decoder: at most six functions of the library."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

import mtmoe
from mtmoe.inference.compiled.compiled_model import CompiledModel
from tests.inference.conftest import SENTENCES, untrained_run

LIBRARY = Path(mtmoe.__file__).parent


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, ...]]:
    """Every way in which a step was come to: the functions of the library, outermost first, the step itself last."""
    seen: set[tuple[str, ...]] = set()
    decode_step = CompiledModel.decode_step

    def watched(self: CompiledModel, *arguments: Any) -> Any:
        # mtmoe.cli is not the library: commands parse and show.
        frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(LIBRARY)]
        seen.add((*(f"{Path(frame.filename).stem}.{frame.name}" for frame in frames), "compiled_model.decode_step"))
        return decode_step(self, *arguments)

    monkeypatch.setattr(CompiledModel, "decode_step", watched)
    return seen


def test_a_line_of_standard_input_is_six_functions_from_the_decoder(
    invoke: Any, tmp_path: Path, walks: set[tuple[str, ...]]
) -> None:
    run = untrained_run(tmp_path, SENTENCES)
    assert invoke("translate", run, "--device", "cpu", input="Where is the station?\n").exit_code == 0
    assert walks == {
        (
            "translate_stream.translate_stream",
            "answers.translated",
            "translator.translate",
            "beam_search.search_all",
            "beam_search.run",
            "compiled_model.decode_step",
        )
    }


def test_a_file_is_one_function_further(invoke: Any, tmp_path: Path, walks: set[tuple[str, ...]]) -> None:
    run, source = untrained_run(tmp_path, SENTENCES), tmp_path / "x.en"
    source.write_text("Where is the station?\n")
    assert invoke("translate", run, source, "--output", tmp_path / "x.fr", "--device", "cpu").exit_code == 0
    ((*outside, step),) = walks
    assert len(outside) <= 6
    assert step == "compiled_model.decode_step"
