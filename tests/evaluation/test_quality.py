"""BLEU and chrF against values worked out by hand or known from sacreBLEU, and what users get wrong."""

from __future__ import annotations

import math

import pytest

from mtmoe.errors import UserError
from mtmoe.evaluation.quality import comparable_signature, measure_quality
from mtmoe.evaluation.significance import compare

REFERENCE = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]


def test_bleu_is_that_of_the_example_of_sacrebleu():
    # sacreBLEU's own documentation has these three lines with both references: BLEU 48.53.
    other = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    quality = measure_quality(SYSTEM, [REFERENCE, other])
    assert quality.bleu == pytest.approx(48.530827, abs=1e-5)
    assert "nrefs:2" in quality.bleu_signature


def test_bleu_of_one_sentence_is_the_geometric_mean_of_its_precisions_and_the_brevity_penalty():
    # 4 of 5, 3 of 4, 2 of 3, 1 of 2 n-grams match; 5 tokens against 6.
    quality = measure_quality(["a b c d x"], [["a b c d e f"]])
    precisions = (4 / 5) * (3 / 4) * (2 / 3) * (1 / 2)
    assert quality.bleu == pytest.approx(100 * precisions**0.25 * math.exp(1 - 6 / 5), abs=1e-6)


def test_chrf_of_one_word_is_the_f2_of_its_character_n_grams():
    # "abc" against "abd": 2 of 3, 1 of 2, 0 of 1 n-grams match, precision and recall alike.
    assert measure_quality(["abc"], [["abd"]]).chrf == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3, abs=1e-4)


def test_a_perfect_translation_scores_100_on_both():
    quality = measure_quality(REFERENCE, [REFERENCE])
    assert (round(quality.bleu, 6), round(quality.chrf, 6), quality.num_sentences) == (100.0, 100.0, 3)
    assert quality.warnings == ()


def test_case_counts():
    lower = [line.lower() for line in REFERENCE]
    assert measure_quality(lower, [REFERENCE]).bleu < 80


def test_scores_carry_the_signatures_of_sacrebleu():
    quality = measure_quality(SYSTEM, [REFERENCE])
    assert quality.bleu_signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert quality.chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_different_line_counts_are_an_error_with_both_counts():
    with pytest.raises(UserError, match=r"^out\.txt has 2 lines, but the reference has 3") as error:
        measure_quality(SYSTEM[:2], [REFERENCE], name="out.txt")
    assert "a blank line counts as a line" in error.value.fix
    with pytest.raises(UserError, match="reference 2 has 1 lines, but reference 1 has 3"):
        measure_quality(SYSTEM, [REFERENCE, REFERENCE[:1]])
    with pytest.raises(UserError, match="b has 1 lines, but the reference has 3"):
        compare({"a": SYSTEM, "b": SYSTEM[:1]}, [REFERENCE])


def test_no_lines_are_an_error():
    with pytest.raises(UserError, match="there are no reference lines to compare with"):
        measure_quality([], [[]])


@pytest.mark.parametrize("text", ["▁The ▁dog", "The do@@ g", "The dog@@", "A well @-@ known dog", "the dog &apos;s"])
def test_marks_of_subwords_and_tokenisers_are_warned_of(text):
    (warning,) = measure_quality([SYSTEM[0], text, SYSTEM[2]], [REFERENCE]).warnings
    assert warning.startswith("1 lines of the translation have '")
    assert "(first: line 2)" in warning
    assert "comparable on detokenised text only" in warning


def test_marks_that_the_reference_has_too_are_not_warned_of():
    line = "Write &apos; for an apostrophe."
    assert measure_quality([line], [[line]]).warnings == ()


def test_a_system_compared_with_itself_does_not_differ():
    comparison = compare({"first": SYSTEM * 20, "same": list(SYSTEM) * 20}, [REFERENCE * 20])
    first, same = comparison.systems
    assert first.bleu.p_value is None
    assert same.bleu.score == first.bleu.score == pytest.approx(measure_quality(SYSTEM * 20, [REFERENCE * 20]).bleu)
    assert (same.bleu.p_value, same.chrf.p_value) == (1.0, 1.0)


def test_a_much_better_system_differs_by_more_than_chance():
    comparison = compare({"worse": SYSTEM * 20, "better": REFERENCE * 20}, [REFERENCE * 20])
    worse, better = comparison.systems
    assert (worse.name, better.name, comparison.num_sentences) == ("worse", "better", 60)
    assert better.bleu.score == pytest.approx(100)
    assert better.chrf.score == pytest.approx(100)
    assert better.bleu.p_value < 0.01
    assert better.chrf.p_value < 0.01
    assert worse.bleu.interval > 0
    assert abs(worse.bleu.mean - worse.bleu.score) < worse.bleu.interval


def test_a_comparison_says_in_its_signature_how_it_was_resampled():
    comparison = compare({"a": SYSTEM, "b": REFERENCE}, [REFERENCE], num_samples=100)
    assert "|bs:100|seed:12345|" in comparison.bleu_signature
    assert "tok:13a" in comparison.bleu_signature
    assert "|bs:100|seed:12345|" in comparison.chrf_signature
    assert "nc:6" in comparison.chrf_signature


def test_a_comparison_needs_two_systems():
    with pytest.raises(UserError, match="a comparison needs at least 2 systems, found 1"):
        compare({"a": SYSTEM}, [REFERENCE])


def test_a_tokenised_translation_is_warned_of():
    tokenised = [line.replace(".", " .") for line in SYSTEM]
    (warning,) = measure_quality(tokenised, [REFERENCE], name="out.txt").warnings
    assert warning.startswith("3 lines of out.txt have white space before a full stop or comma")
    assert measure_quality(tokenised, [[line.replace(".", " .") for line in REFERENCE]]).warnings == ()


def test_signatures_are_compared_without_their_resampling():
    single = measure_quality(SYSTEM, [REFERENCE]).bleu_signature
    paired = compare({"a": SYSTEM, "b": REFERENCE}, [REFERENCE], num_samples=100).bleu_signature
    assert single != paired
    assert comparable_signature(paired) == comparable_signature(single) == single


def test_a_resampled_test_set_without_any_match_is_no_crash():
    # sacreBLEU's bootstrap gives up on a mixture of Python's 0.0 and numpy's other scores.
    quality = measure_quality([*["x"] * 7, "the man"], [["the man"] * 8], num_samples=100)
    assert quality.chrf_interval is not None
    assert quality.chrf_interval > 0.0
    assert quality.chrf == measure_quality([*["x"] * 7, "the man"], [["the man"] * 8]).chrf


def test_without_regard_to_case_the_signature_says_so():
    quality = measure_quality([line.upper() for line in REFERENCE], [REFERENCE], ignores_case=True)
    assert quality.bleu == pytest.approx(100)
    assert quality.chrf == pytest.approx(100)
    assert "case:lc" in quality.bleu_signature
    assert "case:lc" in quality.chrf_signature
    assert "case:mixed" in measure_quality(REFERENCE, [REFERENCE]).bleu_signature
