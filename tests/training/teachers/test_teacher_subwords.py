"""A student gets the subwords of its teachers without being told to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mtmoe.checkpoint import open_run
from mtmoe.config import Recipe, recipe_from_dict
from mtmoe.errors import UserError
from mtmoe.training.teachers.teacher_subwords import with_subwords_of_teachers
from tests.inference.conftest import SENTENCES, untrained_run

PATH = Path("student.toml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs, of which the first two have the same subwords."""
    place = tmp_path_factory.mktemp("teachers")
    for name in ("first", "third"):
        (place / name).mkdir()
    first = untrained_run(place / "first", SENTENCES)
    third = untrained_run(place / "third", [*SENTENCES, "Un autre texte."], subwords={"vocabulary_size": 310})
    return [first, Path(shutil.copytree(first, place / "second")), third]


def student(teachers: list[Path], **subwords: Any) -> Recipe:
    text = {"format": "text", "name": "x", "source_file": {"path": "x.en"}, "target_file": {"path": "x.fr"}}
    settings = {
        "name": "student",
        "data": {"source_language": "en", "target_language": "fr", "train": [text], "valid": [text], "test": [text]},
        "subwords": {"vocabulary_size": 5000, **subwords},
        "training": {"max_steps": 1, "distillation": {"teachers": [str(teacher) for teacher in teachers]}},
    }
    return recipe_from_dict(settings, PATH)


def test_they_are_taken_where_all_teachers_have_the_same(runs: list[Path]) -> None:
    recipe = with_subwords_of_teachers(student(runs[:2]), PATH)
    assert recipe.subwords.file == str(open_run(runs[0]).subwords)
    assert recipe.subwords.vocabulary_size == 320
    assert recipe.training == student(runs[:2]).training


def test_teachers_that_disagree_are_named(runs: list[Path]) -> None:
    with pytest.raises(UserError, match=f"{runs[1]} and {runs[2]} have different subwords") as told:
        with_subwords_of_teachers(student(runs[1:]), PATH)
    assert "--subwords-of" in str(told.value.fix)


def test_a_vocabulary_that_is_named_stays_and_so_does_a_recipe_whose_teacher_is_not_there(runs: list[Path]) -> None:
    for recipe in (
        student(runs, file="mine.model"),
        student([*runs, Path("nowhere")]),
        recipe_from_dict(
            student(runs).model_dump(mode="json", exclude_none=True) | {"training": {"max_steps": 1}}, PATH
        ),
    ):
        assert with_subwords_of_teachers(recipe, PATH) == recipe


def test_a_run_that_is_gone_on_with_keeps_its_own(runs: list[Path], tmp_path: Path) -> None:
    teachers = [Path(shutil.copytree(runs[0], tmp_path / "teacher"))]
    begun = open_run(runs[2])
    shutil.rmtree(teachers[0])  # what it taught with is checked elsewhere
    recipe = with_subwords_of_teachers(student(teachers), PATH, begun.directory, resume=True)
    assert recipe.subwords.vocabulary_size == 310
