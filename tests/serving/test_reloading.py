"""Reloading: another checkpoint is served without a lost line, and the old model is let go of."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.continuous_translation import LoadedModel
from mtmoe.inference.engine import TranslationEngine
from mtmoe.inference.requests import Request, Wanted
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.serving.directions import ServedDirection
from mtmoe.serving.loading import ServedRun, load_run
from mtmoe.serving.reloading import Reloading, identity_of
from tests.inference.conftest import SENTENCES
from tests.inference.held_models import AtOnce


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def named(name: str, source: str = "en") -> ServedRun:
    """Return a run whose translations are its name."""

    def translate(lines: Any, wanted: Wanted) -> list[Translation]:
        return [Translation(name) for _ in lines]

    return ServedRun("runs/x", [ServedDirection(source, "fr", "runs/x")], AtOnce(translate), 1)


def text_of(engine: TranslationEngine) -> str:
    return str(engine.submit("runs/x", [Request("a")]).future.result(60)[0].text)


def test_who_asks_gets_the_new_model_and_the_old_one_is_released() -> None:
    told: list[str] = []
    runs = [named("old")]
    with TranslationEngine({"runs/x": runs[0].model}) as engine:
        with Reloading(runs, engine, lambda path: named("new"), "best", told.append) as reloading:
            runs.clear()
            assert text_of(engine) == "old"
            reloading.ask()
            wait_for(lambda: told)
            assert text_of(engine) == "new"
    assert told[0].startswith("reloaded runs/x: ")
    assert " MB now" in told[0]
    assert "at work still" not in told[0]


@pytest.mark.parametrize("problem", ["damaged", "another direction", "a mistake of ours"])
def test_what_cannot_be_loaded_leaves_the_old_model_at_work(problem: str) -> None:
    def load(path: Path) -> ServedRun:
        if problem == "another direction":
            return named("new", source="de")
        raise UserError(f"{path}: damaged", fix="none") if problem == "damaged" else RuntimeError("x")

    told: list[str] = []
    old = named("old")
    with TranslationEngine({"runs/x": old.model}) as engine:
        with Reloading([old], engine, load, "best", told.append) as reloading:
            reloading.ask()
            wait_for(lambda: told)
            assert text_of(engine) == "old"
    assert told[0].startswith("not reloaded: ")


def test_a_new_checkpoint_is_seen_and_served(english_french: Path, french_english: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(english_french, run)
    before = identity_of(run, "best")
    told: list[str] = []
    served = [load_run(run, device="cpu")]
    name = served[0].name
    with TranslationEngine({name: served[0].model}) as engine:
        with Reloading(
            served, engine, lambda path: load_run(path, device="cpu"), "best", told.append, every_seconds=0.05
        ):
            served.clear()
            old = engine.submit(name, [Request(SENTENCES[0])]).future.result(60)[0].text
            new = run / "checkpoints" / "step-00000002"
            shutil.copytree(french_english / "checkpoints" / "step-00000001", run / "new")
            state = (run / "new" / "state.json").read_text()
            (run / "new" / "state.json").write_text(
                state.replace('"step":1', '"step":2').replace('"step": 1', '"step": 2')
            )
            (run / "new").rename(new)
            assert identity_of(run, "best") != before
            wait_for(lambda: told)
            found = engine.submit(name, [Request(SENTENCES[0])]).future.result(60)[0].text
    assert told[0].startswith("reloaded ")
    assert "at work still" not in told[0], "the old model was released"
    assert found == Translator(run, device="cpu").translate([SENTENCES[0]])[0].text != old


def test_lines_come_and_go_while_models_are_replaced(english_french: Path) -> None:
    translators = [Translator(english_french, device="cpu") for _ in range(2)]
    expected = translators[0].translate([SENTENCES[1]], with_scores=False)[0].text
    with TranslationEngine({"r": LoadedModel(translators[0])}, num_threads=2) as engine:
        jobs = []
        for number in range(20):
            jobs.append(engine.submit("r", [Request(SENTENCES[1])] * 3))
            engine.replace("r", LoadedModel(translators[number % 2]))
        texts = [each.text for job in jobs for each in job.future.result(60)]
    assert texts == [expected] * 60
