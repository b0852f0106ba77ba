"""Formats, fields and languages, by what stands in the files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mtmoe.corpus_survey.corpus_location import locate, stem_of
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.errors import UserError
from tests.parallel_text import sentences, write_lines, write_tmx

NOBODY_ASKED = LanguagePair("", "")
EN, DE, FR = (sentences(code, 120) for code in ("en", "de", "fr"))


def _table(path: Path, *columns: list[str]) -> Path:
    return write_lines(path, ["\t".join(row) for row in zip(*columns, strict=True)])


def test_two_files_are_aligned_text_whose_endings_name_the_languages(tmp_path: Path) -> None:
    files = write_lines(tmp_path / "my.en", EN), write_lines(tmp_path / "my.de", DE)
    corpus = locate(files, NOBODY_ASKED)
    assert (corpus.name, corpus.format, corpus.named) == ("my", "text", ("en", "de"))
    assert corpus.source["source_file"] == {"path": str(tmp_path / "my.en")}


def test_endings_that_are_no_languages_name_none(tmp_path: Path) -> None:
    files = write_lines(tmp_path / "source.txt", EN), write_lines(tmp_path / "target.txt", DE)
    assert locate(files, NOBODY_ASKED).named == ("", "")


def test_a_compressed_translation_memory_is_known_by_its_content(tmp_path: Path) -> None:
    plain = write_tmx(tmp_path / "m.tmx", ("en-US", EN), ("de-DE", DE))
    packed = tmp_path / "memory.xml.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    corpus = locate([packed], NOBODY_ASKED)
    assert (corpus.name, corpus.format, corpus.named) == ("memory", "tmx", ("en", "de"))


def test_the_header_of_a_translation_memory_says_which_side_is_the_source(tmp_path: Path) -> None:
    path = write_tmx(tmp_path / "m.tmx", ("en", EN), ("de", DE), header='srclang="de-DE"')
    assert locate([path], NOBODY_ASKED).named == ("de", "en")
    assert locate([path], LanguagePair("en", "")).named == ("en", "de")


def test_of_three_languages_in_a_memory_two_must_be_chosen(tmp_path: Path) -> None:
    path = write_tmx(tmp_path / "m.tmx", ("en", EN), ("de", DE), ("fr", FR))
    with pytest.raises(UserError, match="several languages: en, de, fr\nchoose two of them with --source and --target"):
        locate([path], NOBODY_ASKED)
    assert locate([path], LanguagePair("fr", "en")).named == ("fr", "en")
    with pytest.raises(UserError, match="has no segment in 'nl'; its languages: en, de, fr"):
        locate([path], LanguagePair("en", "nl"))


def test_two_regions_of_one_language_are_two(tmp_path: Path) -> None:
    path = write_tmx(tmp_path / "m.tmx", ("pt-BR", EN), ("pt-PT", DE))
    assert locate([path], NOBODY_ASKED).named == ("pt-BR", "pt-PT")


def test_columns_of_a_table_are_those_with_text_of_two_languages(tmp_path: Path) -> None:
    numbers, licence = [str(n) for n in range(120)], ["CC-BY 2.0, see the page of the project"] * 120
    path = _table(tmp_path / "t.tsv", numbers, EN, numbers, DE, licence)
    found = locate([path], NOBODY_ASKED).source
    assert (found["source_column"], found["target_column"]) == (2, 4)
    found = locate([path], LanguagePair("de", "en")).source
    assert (found["source_column"], found["target_column"]) == (4, 2)


@pytest.mark.parametrize(
    ("keys", "named"),
    [(("translation.de", "translation.en"), ("de", "en")), (("source", "target"), ("", ""))],
)
def test_keys_of_json_lines_are_found(tmp_path: Path, keys: tuple[str, str], named: tuple[str, str]) -> None:
    def row(one: str, other: str) -> str:
        flat = dict(zip(keys, (one, other), strict=True))
        inner = {key.partition(".")[2]: text for key, text in flat.items()}
        return json.dumps({"id": "a word", **({"translation": inner} if "." in keys[0] else flat)})

    path = write_lines(tmp_path / "t.jsonl", [row(*pair) for pair in zip(DE, EN, strict=True)])
    corpus = locate([path], NOBODY_ASKED)
    assert (corpus.source["source_key"], corpus.source["target_key"]) == keys
    assert corpus.named == named


def test_a_key_that_no_recipe_can_name_is_passed_over(tmp_path: Path) -> None:
    rows = [json.dumps({"a\ud800": one, "en": one, "de": other}) for one, other in zip(EN, DE, strict=True)]
    found = locate([write_lines(tmp_path / "t.jsonl", rows)], NOBODY_ASKED).source
    assert (found["source_key"], found["target_key"]) == ("en", "de")


def test_a_data_set_of_hugging_face_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows = [json.dumps({"translation": {"en": one, "de": other}}) for one, other in zip(EN, DE, strict=True)]
    write_lines(tmp_path / "set" / "train.jsonl", rows)
    corpus = locate([tmp_path / "set"], NOBODY_ASKED)
    assert (corpus.format, corpus.named) == ("huggingface", ("en", "de"))
    assert corpus.source["source_key"] == "translation.en"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (bytes(range(256)) * 20, "is no text"),
        ("\n".join(EN).encode(), "text of one language alone, and no tabs.*\nname the file of the other language"),
        ("\n".join(EN).encode("utf-16"), "is UTF-16, not UTF-8\nconvert it: iconv -f UTF-16"),
        ("\n".join(FR).encode("cp1252"), "is not UTF-8: .*it reads as WINDOWS-125.\nconvert it"),
        ("\n".join(sentences("ja", 60)).encode("euc_jp"), "it reads as EUC-JP"),
        (b'[\n{"en": "one"},\n{"en": "two"}]', "is one JSON array\nconvert it: jq"),
        (b'{\n"en": "one"\n}\n', "not one object a line"),
        (b"<html><body>text</body></html>", "no translation memory"),
        (b"<tmx version='1.4'><header/><body></body></tmx>", "without a unit"),
        (b"a\tb\nc\td\n" + gzip.compress(b"x")[:0] + b"5\t6\n" * 9, "text of one language alone"),
    ],
    ids=range(11),
)
def test_what_is_no_corpus_is_told_in_two_lines(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        locate([path], NOBODY_ASKED)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_memory_in_one_language_and_a_file_named_twice_are_refused(tmp_path: Path) -> None:
    path = write_tmx(tmp_path / "m.tmx", ("en", EN), ("en", EN))
    with pytest.raises(UserError, match="is in one language, 'en'; a translation needs two"):
        locate([path], NOBODY_ASKED)
    path = write_lines(tmp_path / "my.en", EN)
    with pytest.raises(UserError, match=r"my\.en: is named twice"):
        locate([path, path], NOBODY_ASKED)
    with pytest.raises(UserError, match=r"no\.tmx: no such file"):
        locate([tmp_path / "no.tmx"], NOBODY_ASKED)


@pytest.mark.parametrize(
    ("name", "stem"), [("corpus.en-de.tmx.gz", "corpus"), ("my file.tsv", "my_file"), ("日本.tmx", "corpus")]
)
def test_a_recipe_is_named_after_its_text(name: str, stem: str) -> None:
    assert stem_of(Path(name)) == stem
