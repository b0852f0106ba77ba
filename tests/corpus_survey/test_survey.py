"""What a survey counts, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import mtmoe.corpus_survey.survey as survey_module
from mtmoe.corpus_survey.survey import Survey, take_survey
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.errors import UserError
from tests.parallel_text import sentences, write_lines, write_tmx

EN, DE, FR, JA = (sentences(code) for code in ("en", "de", "fr", "ja"))


def _survey(folder: Path, sources: list[str], targets: list[str], source: str = "", target: str = "") -> Survey:
    files = write_lines(folder / "a", sources), write_lines(folder / "b", targets)
    return take_survey(files, LanguagePair(source, target))


def _error(paths: Sequence[Path], source: str = "", target: str = "") -> str:
    with pytest.raises(UserError) as caught:
        take_survey(paths, LanguagePair(source, target))
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_good_text_has_no_fault_and_its_languages_are_found(tmp_path: Path) -> None:
    found = _survey(tmp_path, EN, DE)
    assert found.languages == ("en", "de")
    assert (found.num_pairs, found.num_usable, len(found.sample)) == (400, 400, 400)
    assert set(found.sample) == set(zip(EN, DE, strict=True))
    assert found.lengths[0].longest == max(map(len, EN))
    assert found.lengths[1].mean == pytest.approx(sum(map(len, DE)) / 400)
    assert found.alphabet.size == len(set("".join(EN + DE)))
    assert [side.num_sentences for side in found.other_language] == [0, 0]
    assert found.shifted == []


def test_every_fault_is_counted(tmp_path: Path) -> None:
    sources = [*EN, EN[0], "Same on both sides.", "", "A\x07 bell rings in the old station.", *EN[:40]]
    targets = [*DE, DE[0], "Same on both sides.", "Leer.", "Eine Glocke läutet im alten Bahnhof.", *FR[:40]]
    found = _survey(tmp_path, sources, targets)
    told = {rule: number for rule, number in found.counts.items() if number}
    expected = {"read": 444, "duplicate": 1, "identical_sides": 1, "empty_side": 1, "control_characters": 1}
    assert told == expected | {"kept": 441}
    assert found.other_language[1].num_sentences == 40
    assert 0.08 < found.other_language[1].share < 0.1


def test_lines_that_are_not_utf8_are_counted_where_they_are_few(tmp_path: Path) -> None:
    source, target = write_lines(tmp_path / "a", EN), tmp_path / "b"
    lines = [line.encode() for line in DE]
    lines[300] = "Grüße".encode("latin-1")
    target.write_bytes(b"\n".join(lines) + b"\n")
    found = take_survey([source, target], LanguagePair("", ""))
    assert found.counts["invalid_utf8"] == 1
    assert (found.num_pairs, found.num_usable) == (400, 399)


def test_of_large_text_all_is_counted_and_a_part_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "MOST_EXAMINED", 200)
    monkeypatch.setattr(survey_module, "SAMPLE_PAIRS", 150)
    found = _survey(tmp_path, [*EN[:199], "", *EN[200:]], DE)
    assert (found.num_examined, found.num_pairs, len(found.sample)) == (200, 400, 150)
    assert found.num_usable == 398  # one in 200 has an empty side


def test_a_language_without_spaces_is_surveyed_too(tmp_path: Path) -> None:
    found = _survey(tmp_path, EN, JA)
    assert found.languages == ("en", "ja")
    assert found.lengths[1].mean < found.lengths[0].mean
    assert found.other_language[1].num_told == 400


def test_a_side_in_another_language_than_it_should_be_is_an_error(tmp_path: Path) -> None:
    files = write_lines(tmp_path / "my.en", EN), write_lines(tmp_path / "my.fr", DE)
    assert "target side should be in fr, but 100% of it reads as de\ngive --target de" in _error(files)
    assert "source side should be in nl" in _error(files, "nl", "de")
    assert take_survey(files, LanguagePair("en", "de")).languages == ("en", "de")
    swapped = _error(files, "de", "en")
    assert "is the other way round: the source side is in en, the target side in de" in swapped
    assert "--source en --target de" in swapped
    memory = write_tmx(tmp_path / "m.tmx", ("en", EN), ("fr", DE))
    assert "correct xml:lang in the file" in _error([memory])


def test_a_letter_is_no_language_code(tmp_path: Path) -> None:
    files = write_lines(tmp_path / "a", EN), write_lines(tmp_path / "b", DE)
    assert _error(files, "e", "de") == "'e' is no language code\ngive codes such as en with --source and --target"


def test_two_sides_in_one_language_are_an_error(tmp_path: Path) -> None:
    files = write_lines(tmp_path / "a", EN), write_lines(tmp_path / "b", EN[::-1])
    assert "both sides are in one language (en)" in _error(files)


def test_a_language_that_nobody_can_tell_must_be_given(tmp_path: Path) -> None:
    sources = [f"{n} {n * 7} {n * 11}" for n in range(400)]
    files = write_lines(tmp_path / "a", [f"x{s}" for s in sources]), write_lines(tmp_path / "b", DE)
    assert "the language of the source side cannot be told\ngive its code: --source CODE" in _error(files)
    assert take_survey(files, LanguagePair("tlh", "")).languages == ("tlh", "de")


def test_too_little_text_is_an_error_that_says_what_was_lost(tmp_path: Path) -> None:
    twelve = write_tmx(tmp_path / "twelve.tmx", ("en", EN[:12]), ("de", DE[:12]))
    assert "twelve.tmx: has 12 pairs; a model needs some thousands, and at least 100" in _error([twelve])
    same = write_tmx(tmp_path / "same.tmx", ("en", EN[:1] * 500), ("de", DE[:1] * 500))
    assert "same.tmx: all 500 pairs are the same one" in _error([same])
    few = write_tmx(tmp_path / "few.tmx", ("en", EN[:50] * 10), ("de", DE[:50] * 10))
    assert "has 50 usable pairs of 500 (450 duplicate)" in _error([few])


def test_files_of_different_length_are_an_error(tmp_path: Path) -> None:
    files = write_lines(tmp_path / "a", EN), write_lines(tmp_path / "b", DE[:-1])
    assert "different numbers of lines" in _error(files)
