"""Decoding tuning: the fastest way is kept that loses at most a tenth of BLEU on the dev set."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtmoe.checkpoint import open_model, open_run
from mtmoe.evaluation.quality import measure_quality
from mtmoe.inference.fast_decoding import FastSettings, load_fast_decoding
from mtmoe.training import decoding_tuning
from mtmoe.training.decoding_tuning import FEWEST_LINES, WAYS, tune_decoding
from tests.inference.conftest import SENTENCES, untrained_run

LINES = [f"{first} {second}" for first, second in itertools.product(SENTENCES, SENTENCES)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run."""
    return untrained_run(tmp_path_factory.mktemp("run"), SENTENCES)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture(autouse=True)
def _multiplies_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtmoe.inference.fast_decoding.best_family", lambda: "avx2")


class Silent:
    """A translator that has nothing to say."""

    def __init__(self, source, **arguments) -> None:
        self.loaded = SimpleNamespace(checkpoint=SimpleNamespace(name="step-00000001"))

    def translate(self, lines, **options):
        return [SimpleNamespace(text=line) for line in lines]


def test_the_fastest_is_kept_that_loses_at_most_a_tenth(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_tuning, "Translator", Silent)
    sources = LINES * 4
    for bleus, expected in (
        ((20.0, 20.0, 19.9, 19.95, 19.91), WAYS[3]),
        ((20.0, 20.0, 19.9, 19.95, 19.89), WAYS[2]),
        ((20.0, 19.95, 19.89, 19.8, 19.0), WAYS[0]),
        ((20.0, 19.0, 19.0, 19.0, 19.0), FastSettings()),
    ):
        given = iter(bleus)

        def quality(*arguments, given=given, **options):
            return measure_quality(*arguments, **options)._replace(bleu=next(given))

        monkeypatch.setattr(decoding_tuning, "measure_quality", quality)
        tuning = tune_decoding(run, sources, sources)
        assert tuning is not None
        assert [one.bleu for one in tuning.measured] == list(bleus)
        assert [one.settings for one in tuning.measured] == [FastSettings(), *WAYS]
        assert tuning.kept.settings == expected
        assert load_fast_decoding(open_model(run)) == tuning.kept
        assert tuning.kept.num_lines == len(sources) >= FEWEST_LINES


def test_a_second_tuning_finds_the_same_whatever_the_first_has_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_tuning, "FEWEST_LINES", 8)
    first, second = (tune_decoding(run, SENTENCES, SENTENCES) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.kept == second.kept


def test_8_bits_are_not_tried_with_a_model_that_is_not_compiled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(decoding_tuning, "FEWEST_LINES", 8)
    two_levels = {"num_experts": 8, "experts_per_token": 4, "expert_hidden": 16, "hierarchy": {"groups": 4}}
    run = untrained_run(tmp_path, SENTENCES, model={"width": 16, "encoder_moe_after": [1], "moe": two_levels})
    tuning = tune_decoding(run, SENTENCES, SENTENCES)
    assert tuning is not None
    assert {one.settings.precision for one in tuning.measured} == {None}
    assert [one.settings.beam_margin for one in tuning.measured] == [None, None, 2.0, 1.5]


def test_nothing_is_kept_where_there_is_nothing_to_choose(run: Path) -> None:
    assert tune_decoding(run, LINES, LINES) is None  # too few
    assert not open_run(run).fast_decoding.exists()
