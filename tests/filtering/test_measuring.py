"""Measures against what the same models and rules say by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtmoe.checkpoint import load_language_model, load_model
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.prepared.lexicon import load_lexicon
from mtmoe.data.raw.misaligned_files import misfit
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError
from mtmoe.filtering.criteria import Criteria
from mtmoe.filtering.measuring import MeasuredPair, Measurer
from mtmoe.filtering.pair_rules import CheckedPair
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.scoring.language_model_scoring import score_text
from tests.filtering.conftest import ToyRuns
from tests.parallel_text import sentences

EN_FR = LanguagePair("en", "fr")
PAIRS = [Pair("one red cat sees", "voit chat rouge un"), Pair("two", "grand arbre"), Pair("old tree eats", "mange")]
CHECKED = [
    CheckedPair(PAIRS[0], ""),
    CheckedPair(Pair("", "x"), "empty_side"),
    *(CheckedPair(p, "") for p in PAIRS[1:]),
]


def measured(criteria: Criteria) -> list[tuple[float, ...]]:
    """Return the measures of the three pairs."""
    found = Measurer(criteria, EN_FR, "cpu").measure(CHECKED)
    assert found[1] == MeasuredPair("empty_side")
    return [pair.values for pair in (found[0], *found[2:])]


def the_measure(criteria: Criteria) -> list[float]:
    """Return the only measure of the three pairs."""
    return [value for (value,) in measured(criteria)]


def mean_scores(run, sources, targets):
    return [score.log_probability / score.num_tokens for score in score_pairs(load_model(run), sources, targets)]


def test_one_run_gives_the_mean_log_probability_that_score_gives(toy_runs: ToyRuns) -> None:
    sources, targets = zip(*PAIRS, strict=True)
    forward = mean_scores(toy_runs.forward, sources, targets)
    backward = mean_scores(toy_runs.backward, targets, sources)
    assert the_measure(Criteria(forward=toy_runs.forward)) == pytest.approx(forward)
    assert the_measure(Criteria(backward=toy_runs.backward)) == pytest.approx(backward)


def test_two_runs_give_the_dual_cross_entropy(toy_runs: ToyRuns) -> None:
    sources, targets = zip(*PAIRS, strict=True)
    one = -np.array(mean_scores(toy_runs.forward, sources, targets))
    other = -np.array(mean_scores(toy_runs.backward, targets, sources))
    expected = -(np.abs(one - other) + (one + other) / 2)
    assert the_measure(Criteria(forward=toy_runs.forward, backward=toy_runs.backward)) == pytest.approx(expected)


def test_a_language_model_gives_the_mean_log_probability_of_its_side(toy_runs: ToyRuns) -> None:
    scores = score_text(load_language_model(toy_runs.target_lm), [pair.target for pair in PAIRS])
    expected = [score.log_probability / score.num_tokens for score in scores]
    assert the_measure(Criteria(target_lm=toy_runs.target_lm)) == pytest.approx(expected)


def test_coverage_is_the_mean_share_of_subwords_with_a_partner_whichever_way_the_run_goes(toy_runs: ToyRuns) -> None:
    subwords = SubwordModel.load(toy_runs.forward / "subwords.model")
    lexicon = load_lexicon(toy_runs.forward / "lexicon.safetensors", subwords.size)
    expected = []
    for pair in PAIRS:
        source, target = (set(ids) for ids in subwords.encode_batch(list(pair)))
        partners = {(s, t) for s in source for t in target if t in lexicon.candidates_VC[s][:20]}
        shares = len({s for s, _ in partners}) / len(source), len({t for _, t in partners}) / len(target)
        expected.append(sum(shares) / 2)
    assert the_measure(Criteria(lexicon=toy_runs.forward)) == pytest.approx(expected)
    assert the_measure(Criteria(lexicon=toy_runs.folder / "data-forward")) == pytest.approx(expected)
    assert expected[0] > expected[1]
    swapped = [CheckedPair(Pair(pair.target, pair.source), "") for pair in PAIRS]
    reversed_ = Measurer(Criteria(lexicon=toy_runs.forward), LanguagePair("fr", "en")).measure(swapped)
    assert [value for pair in reversed_ for value in pair.values] == pytest.approx(expected)


def test_form_is_the_misfit_of_lengths_numbers_and_question_marks() -> None:
    checked = [CheckedPair(Pair("Is it 7?", "C'est 8."), ""), CheckedPair(Pair("Yes.", "Oui."), "")]
    found = Measurer(Criteria(with_form=True), EN_FR).measure(checked)
    assert [pair.values for pair in found] == [(-misfit(b"Is it 7?", b"C'est 8."),), (0.0,)]
    assert found[0].values[0] <= -2


def test_a_pair_with_a_side_in_another_language_is_left_out() -> None:
    english, german, french = (sentences(code, 1)[0] for code in ("en", "de", "fr"))
    checked = [CheckedPair(Pair(english, text), "") for text in (french, german, "Oui.")]
    found = Measurer(Criteria(with_languages=True), EN_FR).measure(checked)
    assert [pair.broken for pair in found] == ["", "other_language", ""]


def test_the_measures_stand_in_one_order_and_no_pair_is_no_work(toy_runs: ToyRuns) -> None:
    criteria = Criteria(forward=toy_runs.forward, lexicon=toy_runs.forward, with_form=True)
    assert criteria.measures == ("translation", "coverage", "form")
    alone = [measured(c) for c in (Criteria(forward=toy_runs.forward), Criteria(lexicon=toy_runs.forward))]
    for values, translation, coverage in zip(measured(criteria), *alone, strict=True):
        assert values[:2] == (*translation, *coverage)
    assert Measurer(criteria, EN_FR, "cpu").measure([]) == []


@pytest.mark.parametrize(
    ("criteria", "languages", "told"),
    [
        ("backward", EN_FR, "translates en-fr, but the text needs a run of fr-en\nswap --forward and --backward"),
        ("forward", LanguagePair("en", "de"), "translates en-fr, but the text needs a run of en-de\nname another run"),
        ("lexicon", LanguagePair("en", "de"), "is of en-fr, but the text of en-de"),
    ],
)
def test_a_run_of_other_languages_is_refused(
    toy_runs: ToyRuns, criteria: str, languages: LanguagePair, told: str
) -> None:
    with pytest.raises(UserError) as error:
        Measurer(Criteria()._replace(**{criteria: toy_runs.forward}), languages, "cpu")
    assert told in str(error.value)


def test_a_directory_without_a_lexicon_is_refused(toy_runs: ToyRuns, tmp_path: Path) -> None:
    for directory, told in ((toy_runs.target_lm, "has no lexicon"), (tmp_path, "not a data directory")):
        with pytest.raises(UserError, match=told):
            Measurer(Criteria(lexicon=directory), EN_FR, "cpu")


def test_a_language_model_of_the_other_side_is_refused(toy_runs: ToyRuns) -> None:
    with pytest.raises(UserError, match="is a language model of fr, but this side of the text is in en"):
        Measurer(Criteria(source_lm=toy_runs.target_lm), EN_FR, "cpu")
