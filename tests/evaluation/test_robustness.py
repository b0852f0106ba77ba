"""Perturbed test sets, and the measures of their translations, against translators that are known."""

from __future__ import annotations

import json

import pytest

from mtmoe.config import recipe_from_dict
from mtmoe.errors import UserError
from mtmoe.evaluation.perturbed_tests import all_kinds, kind_names, lines_of_test, perturbed_test
from mtmoe.evaluation.robustness import Robustness, measure_robustness
from tests.toy import toy_settings

SOURCE = [f"Tom saw the {n} old dogs of Ms Smith, and then he went home." for n in range(40)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return recipe_from_dict(toy_settings(folder), folder / "toy.toml").data


def measured(data, kinds, translate, references=(SOURCE,)):
    found = measure_robustness(kinds, SOURCE, references, data, translate, tokeniser="13a", seed=5)
    return {row.kind + ("*" if "case:lc" in row.bleu_signature else ""): row for row in found.kinds}


def copied(name, lines):
    return list(lines)


def test_who_copies_loses_nothing_by_capitals_and_items_and_keeps_all_of_them(data):
    kinds = ("upper", "title", "lower", "url", "email", "emoji", "placeholder", "tag", "merged")
    rows = measured(data, kinds, copied)
    assert list(rows) == ["clean", "clean*", "upper", "title*", "lower*", *kinds[3:]]
    for name, row in rows.items():
        assert (round(row.bleu, 6), round(row.bleu_change, 6), row.num_loops) == (100, 0, 0), name
        assert row.kept_share == (1.0 if name in kinds[3:8] else None)
    assert rows["merged"].num_sentences == 20


def test_who_leaves_items_out_keeps_none_and_loses_nothing_of_the_rest(data):
    row = measured(data, ["url"], lambda name, lines: SOURCE)["url"]
    assert row.kept_share == 0
    assert row.bleu == pytest.approx(100)


def test_who_repeats_items_does_not_keep_them_and_who_drops_the_case_is_told_so(data):
    row = measured(data, ["emoji"], lambda name, lines: [f"{line} {line[-3:]}{line}" for line in lines])["emoji"]
    assert row.kept_share == 0
    rows = measured(data, ["upper", "title"], lambda name, lines: [line.lower() for line in lines])
    assert rows["upper"].bleu < 20
    assert rows["clean*"].bleu == pytest.approx(100)
    assert rows["title*"].bleu_change == pytest.approx(0)
    assert rows["clean"].bleu < 90


def test_loops_are_counted(data):
    rows = measured(data, ["typos"], lambda name, lines: ["ha ho " * 5 if name == "typos" else "x" for _ in lines])
    assert (rows["clean"].num_loops, rows["typos"].num_loops) == (0, 40)


def test_a_perturbed_test_depends_on_seed_kind_and_line_alone(data):
    lines = lines_of_test(SOURCE, [SOURCE], data)
    for kind in all_kinds():
        test = perturbed_test(kind, lines, 1)
        assert test == perturbed_test(kind, lines, 1)
        if kind != "merged":
            assert test.lines[:7] == perturbed_test(kind, lines[:7], 1).lines
    assert perturbed_test("typos", lines, 1).source != perturbed_test("typos", lines, 2).source
    items = [line.item for line in perturbed_test("url", lines, 1).lines]
    assert len(set(items)) == len(items)


def test_two_kinds_in_one_line(data):
    test = perturbed_test("lower+no-punctuation", lines_of_test(SOURCE, [SOURCE], data), 1)
    assert test.source[0] == SOURCE[0].lower().removesuffix(".")
    assert test.references == [SOURCE]
    assert test.ignores_case
    merged = perturbed_test("upper+merged", lines_of_test(SOURCE[:3], [SOURCE[:3]], data), 1)
    assert merged.source == [f"{SOURCE[0]} {SOURCE[1]}".upper(), SOURCE[2].upper()]
    assert merged.references == [merged.source]


@pytest.mark.parametrize(("kind", "message"), [("uper", "no kind"), ("upper+lower", "exclude"), ("url+tag", "exclude"),
                                               ("typos+typos", "exclude"), ("", "no kind")])  # fmt: skip
def test_kinds_that_cannot_be_are_an_error(kind, message):
    with pytest.raises(UserError, match=message):
        kind_names(kind)


def test_lines_of_a_multilingual_test_keep_their_token_and_merge_with_their_own(data):
    several = data.model_copy(
        update={
            "multilingual": object(),
            "train": tuple(data.train[0].model_copy(update={"direction": d}) for d in ("en-de", "en-tr")),
        }
    )
    source = ["<2de> a is.", "<2de> b is.", "<2tr> c is.", "<2de> d is."]
    lines = lines_of_test(source, [["a i", "b i", "c i", "d i"]], several)
    assert perturbed_test("upper", lines, 1).source[0] == "<2de> A IS."
    assert perturbed_test("upper", lines, 1).references == [["A I", "B I", "C İ", "D I"]]
    assert perturbed_test("merged", lines, 1).source == ["<2de> a is. b is.", *source[2:]]
    assert all(text.startswith("<2") for text in perturbed_test("url", lines, 1).source)


def test_the_report_is_what_its_schema_says(data):
    found = measure_robustness(["url"], SOURCE, [SOURCE], data, copied, tokeniser="13a", seed=5)
    assert Robustness.model_validate_json(json.dumps(found.model_dump())) == found
