"""``mtmoe filter``: what it writes and tells, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parallel_text import sentences, write_lines

EN, FR = sentences("en", 60), sentences("fr", 60)


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    """Two files: 60 pairs, 2 duplicates, one pair with other numbers."""
    sources, targets = [*EN, *EN[:2], "It was in 1914."], [*FR, *FR[:2], "C'était en 1918, n'est-ce pas ?"]
    return write_lines(tmp_path / "my.en", sources), write_lines(tmp_path / "my.fr", targets)


def test_the_best_pairs_are_written_and_the_report_tells_why_others_are_not(
    invoke: Any, tiny_run: Any, texts: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "kept"
    criteria = ("--forward", tiny_run.run, "--lexicon", tiny_run.run, "--form", "--languages", "--near-duplicates")
    result = invoke(
        "filter", *texts, "--output", output, *criteria, "--keep-pairs", 30, "--least", "form=-2", "--weight",
        "translation=0.1", "--scores", "--format", "tsv", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    table = [line.split("\t") for line in (output / "kept.tsv").read_text(encoding="utf-8").splitlines()]
    assert len(table) == 30
    assert all((source, target) in set(zip(EN, FR, strict=True)) for source, target, _ in table)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["left_out"]["duplicate"] == 2
    assert report["left_out"]["below_least"] == 1
    assert sum(report["left_out"].values()) + 30 == report["num_pairs"] == 63
    first, *rest = result.stdout.splitlines()
    assert first == f"kept 30 of 63 pairs (47.6%), in {output}"[: len(first)]
    told = " ".join(" ".join(rest).split())
    for words in ("2 duplicates", "1 with too little of a measure", "with a lower score", "translation: mean -"):
        assert words in told
    assert told.count("pairs, ") >= 10
    shown = [example["source"] for decile in report["deciles"] for example in decile["examples"]]
    assert len(shown) > 20
    assert all(source in told for source in shown)


def test_json_is_the_report(invoke: Any, texts: tuple[Path, Path], tmp_path: Path) -> None:
    result = invoke("filter", *texts, "--output", tmp_path / "kept", "--form", "--keep-share", 0.5, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "kept" / "report.json").read_text(encoding="utf-8"))
    assert (report["num_kept"], len(report["deciles"])) == (30, 10)
    again = invoke("filter", *texts, "--output", tmp_path / "kept", "--form", "--keep-share", 0.5, "--resume")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "complete already" in again.stderr


def test_rules_of_cleaning_can_be_set(invoke: Any, texts: tuple[Path, Path], tmp_path: Path) -> None:
    settings = ("--set", "data.cleaning.remove_duplicates=false", "--set", "data.cleaning.max_characters=58")
    result = invoke("filter", *texts, "--output", tmp_path / "kept", *settings, "--json")
    assert result.exit_code == 0, result.stderr
    left_out = json.loads(result.stdout)["left_out"]
    assert left_out == {"too_long": sum(max(map(len, pair)) > 58 for pair in zip(EN, FR, strict=True)) + left_long()}
    wrong = invoke("filter", *texts, "--output", tmp_path / "other", "--set", "data.cleaning.max_length_ratio=0")
    assert wrong.exit_code == 1
    assert "max_length_ratio" in wrong.stderr


def left_long() -> int:
    """Return how many of the two that stand there twice are too long."""
    return sum(max(map(len, pair)) > 58 for pair in zip(EN[:2], FR[:2], strict=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--similarity", "0.7"), "--similarity is that of --near-duplicates and --held-out"),
        (("--keep-share", "0.5"), "--keep-share keeps pairs by their score: give what scores them"),
        (("--form", "--keep-share", "0.5", "--keep-pairs", "3"), "give one of --keep-share and --keep-pairs"),
        (("--form", "--least", "coverage=0.2"), "--least coverage=... would do nothing"),
        (("--form", "--weight", "beauty=0.2"), "measures: translation, coverage, form, source-lm, target-lm"),
        (("--form", "--weight", "form=nan"), "nan is no number"),
        (("--set", "data.cleaning.on_invalid_utf8=stop"), "would do nothing: filter reads only"),
        (("--checkpoint", "last"), "--checkpoint is that of runs"),
        (("--form", "--device", "cpu,cpu"), "--device names 2 devices, but --workers is 1"),
    ],
)
def test_options_that_do_nothing_or_contradict_each_other_are_refused(
    invoke: Any, texts: tuple[Path, Path], tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    result = invoke("filter", *texts, "--output", tmp_path / "kept", *options)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "kept").exists()


def test_a_third_file_and_a_missing_run_are_refused(invoke: Any, texts: tuple[Path, Path], tmp_path: Path) -> None:
    third = invoke("filter", *texts, texts[0], "--output", tmp_path / "kept")
    assert (third.exit_code, "3 files" in third.stderr) == (2, True)
    missing = invoke("filter", *texts, "--output", tmp_path / "kept", "--forward", tmp_path / "no-run")
    assert missing.exit_code == 1
    assert str(tmp_path / "no-run") in missing.stderr
    assert not (tmp_path / "kept").exists()


def test_the_help_tells_of_every_measure_with_its_weight(invoke: Any) -> None:
    from mtmoe.cli.commands.filter import _MEASURES

    from mtmoe.filtering.criteria import MEASURES

    assert tuple(MEASURES) == _MEASURES
    told = " ".join(invoke("filter", "--help").stdout.split())
    for name, measure in MEASURES.items():
        assert f"{name} weight {measure.weight:g}:" in told


def test_every_rule_has_words_in_the_report() -> None:
    from mtmoe.cli.commands.filter import _WORDS

    from mtmoe.filtering.criteria import RULES

    assert tuple(_WORDS) == RULES
