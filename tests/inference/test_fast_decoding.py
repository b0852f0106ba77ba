"""Fast decoding: what a run's dev set has shown to lose nothing is taken, in place of defaults alone."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from mtmoe.checkpoint import load_model, open_model, open_run
from mtmoe.config.settings import Decoding
from mtmoe.errors import UserError
from mtmoe.inference.compiled.compiled_model import CompiledModel
from mtmoe.inference.fast_decoding import (
    FastDecoding,
    FastSettings,
    TriedSettings,
    fast_decoding_of,
    save_fast_decoding,
)
from mtmoe.inference.files.line_formats import JsonFormat
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.translation_options import TranslationOptions
from mtmoe.inference.requests import Member
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.translator import Translator
from tests.inference.conftest import SENTENCES, untrained_run

FASTEST = FastSettings(precision="int8", early_stopping="best", beam_margin=1.5)
LINES = [f"{first} {second}" for first, second in itertools.product(SENTENCES, SENTENCES)]


def kept(settings: FastSettings) -> FastDecoding:
    tried = (TriedSettings(settings=FastSettings(), bleu=20.0), TriedSettings(settings=settings, bleu=20.0))
    return FastDecoding(checkpoint="step-00000001", num_lines=500, tried=tried, settings=settings)


@pytest.fixture
def run(run_directory: Path, tmp_path: Path) -> Path:
    """A copy of the untrained run, without such settings."""
    return Path(shutil.copytree(run_directory, tmp_path / "run"))


@pytest.fixture
def fast_run(run: Path) -> Path:
    """A run that has the fastest settings."""
    save_fast_decoding(open_run(run), kept(FASTEST))
    return run


@pytest.fixture(autouse=True)
def _multiplies_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtmoe.inference.fast_decoding.best_family", lambda: "avx2")


def test_they_take_the_place_of_defaults_alone(fast_run: Path) -> None:
    source = open_model(fast_run)
    assert fast_decoding_of(Decoding(), source, is_compiled=True) == Decoding(
        precision="int8", early_stopping="best", beam_margin=1.5
    )
    for own, expected in (
        (Decoding(mode="exact"), Decoding(mode="exact")),
        (Decoding(precision="bf16"), Decoding(precision="bf16", early_stopping="best", beam_margin=1.5)),
        (Decoding(beam_margin=3.0), Decoding(precision="int8", early_stopping="best", beam_margin=3.0)),
        (Decoding(beam_size=1), Decoding(beam_size=1, precision="int8")),
        (Decoding(sampling={}), Decoding(sampling={})),
        (Decoding(minimum_bayes_risk={}), Decoding(minimum_bayes_risk={})),
    ):
        assert fast_decoding_of(own, source, is_compiled=True) == expected
    given = fast_decoding_of(
        Decoding(), source, ["decoding.early_stopping=full", "decoding.beam_size=5"], is_compiled=True
    )
    assert given == Decoding(precision="int8", beam_margin=1.5)


def test_without_fast_products_of_8_bits_precision_stays(fast_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ("plain", None):
        monkeypatch.setattr("mtmoe.inference.fast_decoding.best_family", lambda family=family: family)
        found = fast_decoding_of(Decoding(), open_model(fast_run), is_compiled=True)
        assert found == Decoding(early_stopping="best", beam_margin=1.5)


def test_a_model_that_is_not_compiled_keeps_its_precision_whatever_the_file_says(tmp_path: Path) -> None:
    two_levels = {"num_experts": 8, "experts_per_token": 4, "expert_hidden": 16, "hierarchy": {"groups": 4}}
    model = {"width": 16, "encoder_moe_after": [1], "moe": two_levels}
    run = untrained_run(tmp_path, SENTENCES, model=model)
    save_fast_decoding(open_run(run), kept(FASTEST))
    translator = Translator(run, device="cpu")
    assert (translator.decoding.precision, translator.decoding.beam_margin) == ("fp32", 1.5)
    found = translator.translate(LINES[:6])
    scores = score_pairs(load_model(run), LINES[:6], [one.text for one in found])
    for one, score in zip(found, scores, strict=True):
        assert one.log_probability == pytest.approx(score.log_probability, abs=1e-3)


def test_a_translator_searches_fast_and_tells_scores_of_full_precision(fast_run: Path) -> None:
    translator = Translator(fast_run, device="cpu")
    assert (translator.decoding.precision, translator.decoding.beam_margin) == ("int8", 1.5)
    found = translator.translate(LINES[:12])
    by_hand = Translator(
        fast_run,
        device="cpu",
        overrides=[
            "decoding.mode=exact",
            "decoding.precision=int8",
            "decoding.early_stopping=best",
            "decoding.beam_margin=1.5",
        ],
    )
    assert [one.text for one in found] == [one.text for one in by_hand.translate(LINES[:12])]
    assert [one.text for one in found] == [one.text for one in translator.translate(LINES[:12], with_scores=False)]
    texts = [one.text for one in found]
    for one, score in zip(found, score_pairs(translator.loaded, LINES[:12], texts), strict=True):
        assert one.log_probability == pytest.approx(score.log_probability, abs=1e-3)
    alone = [translator.translate([line])[0].text for line in LINES[:12]]
    assert alone == texts


def test_alternatives_are_searched_for_with_the_precision_alone(fast_run: Path) -> None:
    fast = Translator(fast_run, device="cpu")
    rounded = Translator(fast_run, device="cpu", overrides=["decoding.mode=exact", "decoding.precision=int8"])
    for one, other in zip(fast.translate(LINES[:6], 4), rounded.translate(LINES[:6], 4), strict=True):
        assert {each.text for each in (one, *one.alternatives)} == {each.text for each in (other, *other.alternatives)}
        scores = [each.score for each in (one, *one.alternatives)]
        assert scores == sorted(scores, reverse=True)


def test_exactness_is_one_word_away_and_an_ensemble_is_fast_too(fast_run: Path) -> None:
    exact = Translator(fast_run, device="cpu", overrides=["decoding.mode=exact"])
    assert exact.decoding == Decoding.model_validate(exact.decoding.model_dump() | {"precision": "fp32"})
    assert exact.decoding.beam_margin is None
    together = Translator(fast_run, device="cpu", ensemble=[Member(str(fast_run), 1.0)])
    texts = [one.text for one in together.translate(LINES[:6])]
    assert texts == [one.text for one in Translator(fast_run, device="cpu").translate(LINES[:6])]


def test_an_output_is_not_resumed_with_other_settings(run: Path) -> None:
    options = TranslationOptions(run, JsonFormat())
    before = model_identity(options)
    save_fast_decoding(open_run(run), kept(FASTEST))
    assert model_identity(options) != before
    exact = TranslationOptions(run, JsonFormat(), overrides=("decoding.mode=exact",))
    with_them = model_identity(exact)
    open_run(run).fast_decoding.unlink()
    assert model_identity(exact) == with_them


def test_a_damaged_file_is_an_error_that_says_what_to_do(fast_run: Path) -> None:
    open_run(fast_run).fast_decoding.write_text("{")
    with pytest.raises(UserError, match=r"decoding\.json") as error:
        Translator(fast_run, device="cpu")
    assert "mtmoe tune-decoding" in error.value.fix
    assert Translator(fast_run, device="cpu", overrides=["decoding.mode=exact"])


def test_what_searches_is_the_compiled_model(fast_run: Path) -> None:
    assert isinstance(Translator(fast_run, device="cpu").search_model, CompiledModel)
