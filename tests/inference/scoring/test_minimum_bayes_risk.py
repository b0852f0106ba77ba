"""The candidate of the highest expected utility: against sums by hand, and the same however lines are batched."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from sacrebleu.metrics.chrf import CHRF

from mtmoe.config.settings import Decoding, MinimumBayesRisk, Sampling
from mtmoe.errors import UserError
from mtmoe.inference.requests import Request
from mtmoe.inference.scoring import minimum_bayes_risk as module
from mtmoe.inference.scoring.rescoring import RescoringRuns
from mtmoe.inference.search.hypothesis import NOTHING, Hypothesis
from mtmoe.inference.translator import Translator
from mtmoe.inference.worker_pool import WorkerPool

LINES = ["Where is the station?", "", "Two dogs play in the snow.", "Snow", "The children are waiting.", "Two dogs"]
ON = "decoding.minimum_bayes_risk.utility=chrf"
SAMPLES = ("decoding.beam_size=1", "decoding.sampling.seed=3", "decoding.minimum_bayes_risk.candidates=12")


def _found(log_probability: float) -> Hypothesis:
    return NOTHING._replace(log_probability=log_probability)


def _chooser(**settings) -> module.MinimumBayesRisk:
    return module.MinimumBayesRisk(Decoding(minimum_bayes_risk=MinimumBayesRisk(**settings)), "de")


def test_candidates_of_a_beam_count_by_their_probability_and_equal_texts_together() -> None:
    found = [("a", _found(math.log(0.2))), ("b", _found(math.log(0.1))), ("a", _found(math.log(0.1)))]
    assert _chooser().weights(found) == pytest.approx({"a": 0.75, "b": 0.25})
    flat = _chooser(weight_temperature=1e6).weights(found)
    assert flat == pytest.approx({"a": 2 / 3, "b": 1 / 3}, abs=1e-5)
    assert _chooser().weights([("a", _found(-5000.0))]) == {"a": 1.0}


def test_samples_count_as_often_as_they_were_drawn() -> None:
    decoding = Decoding(sampling=Sampling(), minimum_bayes_risk=MinimumBayesRisk(candidates=4))
    found = [("a", _found(-1.0)), ("b", _found(-99.0)), ("b", _found(-98.0)), ("c", _found(-2.0))]
    assert module.MinimumBayesRisk(decoding, "de").weights(found) == {"a": 0.25, "b": 0.5, "c": 0.25}


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_what_is_most_like_the_others_wins_over_what_is_likeliest(utility) -> None:
    weights = {"Something else.": 0.4, "Two dogs play in snow.": 0.3, "Two dogs play in the snow.": 0.3}
    ranked = _chooser(utility=utility).ranked(weights)
    assert [entry.place for entry in ranked][-1] == 0
    assert ranked[0].expected_utility > ranked[-1].expected_utility > 0


def test_expected_utility_is_the_weighted_sum_of_sacrebleus_scores() -> None:
    weights = {"Ein Hund läuft.": 0.5, "Ein Hund rennt.": 0.3, "Hunde": 0.2}
    slow = CHRF()
    expected = {
        place: sum(weight * slow.sentence_score(text, [other]).score for other, weight in weights.items())
        for place, text in enumerate(weights)
    }
    ranked = _chooser().ranked(weights)
    assert dict(ranked) == pytest.approx(expected, abs=1e-5)
    assert [entry.place for entry in ranked] == sorted(expected, key=lambda place: -expected[place])


def test_of_equal_candidates_the_first_stays_first_and_empty_ones_are_no_error() -> None:
    assert [entry.place for entry in _chooser().ranked({"ab": 0.5, "cd": 0.5})] == [0, 1]
    assert _chooser().ranked({"": 1.0}) == [(0, 0.0)]
    assert _chooser().ranked({}) == []


def test_a_translator_ranks_what_its_search_finds(run_directory: Path) -> None:
    plain = Translator(run_directory, device="cpu").translate(LINES, num_best=4)
    risk = Translator(run_directory, device="cpu", overrides=[ON]).translate(LINES, num_best=4)
    assert {t.expected_utility for t in plain} == {None}
    num_changed = 0
    for line, likeliest, chosen in zip(LINES, plain, risk, strict=True):
        candidates = [likeliest, *likeliest.alternatives]
        ranked = [chosen, *chosen.alternatives]
        assert sorted(t.text for t in ranked) == sorted(t.text for t in candidates)
        if line:
            utilities = [t.expected_utility for t in ranked]
            assert utilities == sorted(utilities, reverse=True)
            assert 0 <= utilities[-1] <= utilities[0] <= 100
        num_changed += [t.text for t in ranked] != [t.text for t in candidates]
    assert num_changed > 0


def _texts(translations) -> list[tuple[str, float | None]]:
    return [(t.text, t.expected_utility) for t in translations]


@pytest.mark.parametrize("overrides", [(ON,), SAMPLES])
def test_the_choice_does_not_depend_on_batches_workers_or_what_else_is_wanted(
    run_directory: Path, overrides: tuple[str, ...]
) -> None:
    expected = _texts(Translator(run_directory, device="cpu", overrides=overrides).translate(LINES))
    assert len({text for text, _ in expected}) > 3
    one_by_one = Translator(run_directory, device="cpu", overrides=[*overrides, "decoding.batch_tokens=1"])
    alone = one_by_one.translate(LINES, num_best=3, with_alignment=True)
    assert [text for text, _ in _texts(alone)] == [text for text, _ in expected]
    for (_, utility), (_, other) in zip(_texts(alone), expected, strict=True):
        assert utility == pytest.approx(other, abs=1e-3)
    without_scores = one_by_one.translate(LINES, with_scores=False)
    assert [text for text, _ in _texts(without_scores)] == [text for text, _ in expected]
    requests = [Request(line, number=number) for number, line in enumerate(LINES)]
    with WorkerPool(run_directory, 2, devices=("cpu",), warn=print, overrides=overrides) as pool:
        in_two = [t for chunk in pool.translate_chunks([requests[:3], requests[3:]]) for t in chunk]
    assert [text for text, _ in _texts(in_two)] == [text for text, _ in expected]


def test_a_line_that_is_split_has_the_best_of_each_part_and_their_mean(run_directory: Path) -> None:
    overrides = [ON, "decoding.over_long=split", "decoding.max_source_tokens=30"]
    translator = Translator(run_directory, device="cpu", overrides=overrides)
    sentences = ["Two dogs play in the snow.", "Where is the station?", "Snow."]
    alone = translator.translate(sentences)
    [whole] = translator.translate([" ".join(sentences)])
    assert whole.text == " ".join(t.text for t in alone)
    assert whole.expected_utility == pytest.approx(sum(t.expected_utility for t in alone) / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("decoding.minimum_bayes_risk.candidates=9",), r"candidates = 9 is more than beam_size = 4"),
        (
            ("decoding.beam_size=1", "decoding.sampling.seed=1", ON),
            r"minimum_bayes_risk\.candidates is missing: the number of samples",
        ),
        ((*SAMPLES, "decoding.minimum_bayes_risk.weight_temperature=2.0"), r"weight_temperature = 2\.0 does nothing"),
        (("decoding.minimum_bayes_risk.utility=ter",), r"minimum_bayes_risk\.utility = \"ter\""),
    ],
)
def test_settings_that_contradict_each_other_are_told(run_directory: Path, overrides, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Translator(run_directory, device="cpu", overrides=overrides)


def test_more_alternatives_than_candidates_and_other_runs_that_choose_are_errors(run_directory: Path) -> None:
    translator = Translator(run_directory, device="cpu", overrides=["decoding.minimum_bayes_risk.candidates=2"])
    with pytest.raises(UserError, match="num_best = 3 is more than the 2 candidates of minimum_bayes_risk"):
        translator.translate(LINES, num_best=3)
    channel = RescoringRuns(reranking_channel=str(run_directory))
    with pytest.raises(UserError, match="both choose among candidates"):
        Translator(run_directory, device="cpu", overrides=[ON], rescoring=channel)


def test_a_tokeniser_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**options):
        raise RuntimeError("no fugashi")

    monkeypatch.setattr("sacrebleu.metrics.bleu.BLEU", missing)
    decoding = Decoding(minimum_bayes_risk=MinimumBayesRisk(utility="bleu"))
    with pytest.raises(UserError, match="tokeniser ko-mecab is not installed"):
        module.MinimumBayesRisk(decoding, "ko")
