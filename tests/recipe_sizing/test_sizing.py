"""A recipe is sized by a trial on this machine, and is one that the strict reader takes and training can use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtmoe.config import load_recipe
from mtmoe.config.settings import Augmentation, GuidedAlignment
from mtmoe.corpus_survey.survey import Survey, take_survey
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.errors import UserError
from mtmoe.recipe_sizing import sizing_rules as rules
from mtmoe.recipe_sizing.machine_trial import Trial, possible_held_out
from mtmoe.recipe_sizing.recipe_file import check_is_new, recipe_text, write_recipe
from mtmoe.recipe_sizing.sizing import Sizing, installed_tokeniser, size_recipe
from tests.parallel_text import sentences, write_tmx

MINUTES = 0.1


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """A survey of a translation memory of 400 pairs."""
    path = tmp_path_factory.mktemp("text") / "corpus.tmx"
    write_tmx(path, ("en", sentences("en")), ("de", sentences("de")))
    return take_survey([path], LanguagePair("", ""))


@pytest.fixture(scope="module")
def sizing(survey: Survey) -> Sizing:
    """Its sizing for some seconds of training."""
    return size_recipe(survey, MINUTES, torch.device("cpu"))


def test_sizes_come_from_the_rules_and_the_measured_speed(survey: Survey, sizing: Sizing) -> None:
    choice, speed = sizing.choice, sizing.speed
    assert (choice.valid_pairs, choice.test_pairs) == rules.held_out_pairs(survey.num_usable)
    assert choice.batch_tokens == 500
    assert choice.steps.max_steps == max(50, round(0.94 * 60 * MINUTES / speed.seconds_per_step))
    assert choice.dropout == rules.dropout(choice.steps.epochs)
    assert 0 < speed.tokens_per_step <= 500
    assert speed.seconds_per_step > 0
    assert sizing.expected.memory_bytes > 100_000_000
    assert sizing.expected.gpu_bytes == 0


def test_the_recipe_is_read_strictly_and_its_text_can_be_prepared(
    survey: Survey, sizing: Sizing, tmp_path: Path
) -> None:
    write_recipe(tmp_path / "corpus.toml", recipe_text(survey, sizing, MINUTES, "corpus"))
    recipe = load_recipe(tmp_path / "corpus.toml")
    assert recipe.training.max_steps == sizing.choice.steps.max_steps
    assert recipe.data.augmentation == Augmentation()
    assert recipe.training.guided_alignment == GuidedAlignment()
    prepared = prepare(recipe, tmp_path / "data", tmp_path / "cache").prepared
    assert prepared.manifest.num_pairs["valid"] == sizing.choice.valid_pairs
    assert prepared.manifest.test_sets == {"held-out": sizing.choice.test_pairs}


def test_each_chosen_setting_has_a_reason_and_lines_fit_80_columns(survey: Survey, sizing: Sizing) -> None:
    lines = recipe_text(survey, sizing, MINUTES, "corpus").splitlines()
    assert max(len(line) for line in lines if not line.startswith("file.path")) <= 80
    for key in ("vocabulary_size", "width", "dropout", "max_steps", "batch_tokens", "max_characters"):
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ")]
        assert lines[place - 1].startswith("# "), key


def test_a_vocabulary_that_the_text_cannot_give_is_made_smaller_or_larger(survey: Survey, sizing: Sizing,
                                                                          tmp_path: Path) -> None:  # fmt: skip
    for folder, size in (("large", 5000), ("small", 270)):
        (tmp_path / folder).mkdir()
        trial = Trial(survey.sample, survey.languages, tmp_path / folder)
        found = trial.prepare(sizing.choice._replace(vocabulary_size=size)).vocabulary_size
        assert 300 < found < 1500
        assert trial.tokens_per_pair > 5


def test_less_is_held_out_where_sentences_stand_in_many_pairs() -> None:
    different = [Pair(f"source {n}", f"target {n}") for n in range(200)]
    assert possible_held_out(different, 20, 40) == (20, 40)
    repeated = [Pair(f"often {n // 12}", f"once {n}") for n in range(300)]  # groups of twelve stay together
    with pytest.raises(UserError, match="not even 10 could be held out"):
        possible_held_out(repeated, 20, 40)
    some = different[:60] + repeated
    assert possible_held_out(some, 40, 80) == (20, 40)


def test_a_recipe_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    write_recipe(path, "first")
    with pytest.raises(UserError, match=r"mine\.toml: is there already, and init overwrites nothing\ngive another"):
        write_recipe(path, "second")
    assert path.read_text() == "first"
    (tmp_path / "link.toml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is there already"):
        check_is_new(tmp_path / "link.toml")
    with pytest.raises(UserError, match="there is no directory"):
        check_is_new(tmp_path / "no" / "mine.toml")


def test_a_tokeniser_that_is_not_installed_is_replaced_by_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert installed_tokeniser("de") == ""

    def refuse(_tokeniser: str) -> None:
        raise UserError("not installed")

    replaced: Callable[[str], None] = refuse
    monkeypatch.setattr("mtmoe.recipe_sizing.sizing.check_tokeniser", replaced)
    assert installed_tokeniser("ja") == "char"
