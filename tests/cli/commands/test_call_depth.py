"""The walk from `mtmoe translate` to a step of the search: at most six functions of the library."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

import mtmoe
from mtmoe.inference.compiled import compiled_search
from mtmoe.inference.compiled.compiled_model import CompiledModel
from tests.inference.conftest import SENTENCES, untrained_run

LIBRARY = Path(mtmoe.__file__).parent
TO_THE_SEARCH = (
    "translate_stream.translate_stream",
    "answers.translated",
    "translator.translate",
    "beam_search.search_all",
)


class WatchedLibrary:
    """The compiled library, whose steps are told of."""

    def __init__(self, loaded: Any, walks: set[tuple[str, ...]]) -> None:
        self._loaded, self._walks = loaded, walks

    def __getattr__(self, name: str) -> Any:
        if name == "mtmoe_search_steps":
            self._walks.add((*functions_of_the_library(), "library.mtmoe_search_steps"))
        return getattr(self._loaded, name)


def functions_of_the_library() -> list[str]:
    """Return those that are being called, outermost first. mtmoe.cli is not the library: commands parse and show."""
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(LIBRARY)]
    return [f"{Path(frame.filename).stem}.{frame.name}" for frame in frames]


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, ...]]:
    """Every way in which a step was come to: the functions of the library, outermost first, the step itself last."""
    seen: set[tuple[str, ...]] = set()
    library, decode_step = compiled_search.library, CompiledModel.decode_step

    def watched(self: CompiledModel, *arguments: Any) -> Any:
        seen.add((*functions_of_the_library(), "compiled_model.decode_step"))
        return decode_step(self, *arguments)

    monkeypatch.setattr(compiled_search, "library", lambda: WatchedLibrary(library(), seen))
    monkeypatch.setattr(CompiledModel, "decode_step", watched)
    return seen


def test_a_line_of_standard_input_is_six_functions_from_the_compiled_search(
    invoke: Any, tmp_path: Path, walks: set[tuple[str, ...]]
) -> None:
    run = untrained_run(tmp_path, SENTENCES)
    assert invoke("translate", run, "--device", "cpu", input="Where is the station?\n").exit_code == 0
    assert walks == {
        (*TO_THE_SEARCH, "compiled_search.run", "compiled_search._own_steps", "library.mtmoe_search_steps")
    }


def test_it_is_as_far_from_the_decoder_where_python_searches(
    invoke: Any, tmp_path: Path, walks: set[tuple[str, ...]]
) -> None:
    run, rule = untrained_run(tmp_path, SENTENCES), ("--set", "decoding.no_repeat_ngram=3")
    assert invoke("translate", run, "--device", "cpu", *rule, input="Where is the station?\n").exit_code == 0
    assert walks == {(*TO_THE_SEARCH, "beam_search.run", "compiled_model.decode_step")}


def test_a_file_is_one_function_further(invoke: Any, tmp_path: Path, walks: set[tuple[str, ...]]) -> None:
    run, source = untrained_run(tmp_path, SENTENCES), tmp_path / "x.en"
    source.write_text("Where is the station?\n")
    assert invoke("translate", run, source, "--output", tmp_path / "x.fr", "--device", "cpu").exit_code == 0
    ((*outside, step),) = walks
    assert len(outside) <= 7
    assert step == "library.mtmoe_search_steps"
