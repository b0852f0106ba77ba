"""Readers: every format gives the same pairs, no byte shifts a line, each mistake has its message."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import zstandard

from mtmoe.config.settings import (
    Cleaning,
    Data,
    FileLocation,
    HuggingFaceSource,
    JsonLinesSource,
    Source,
    TextSource,
    TmxSource,
    TsvSource,
)
from mtmoe.data.raw.lines import open_text_lines
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, BadLine, Pair
from mtmoe.data.raw.sources import read_pairs
from mtmoe.errors import UserError

OnInvalid = Literal["stop", "skip"]

PAIRS = [Pair("One dog.", "Ein Hund."), Pair("Two\u2028cats\x0c.", "Zwei Katzen\u0085."), Pair("Red\rcar", "Auto")]


def _file(path: Path) -> FileLocation:
    return FileLocation(path=str(path))


def _text(source: Path, target: Path) -> TextSource:
    return TextSource(name="toy", format="text", source_file=_file(source), target_file=_file(target))


def _tsv(path: Path, **columns: Any) -> TsvSource:
    return TsvSource(name="toy", format="tsv", file=_file(path), **columns)


def _jsonl(path: Path, source_key: str = "en", target_key: str = "de") -> JsonLinesSource:
    return JsonLinesSource(name="toy", format="jsonl", file=_file(path), source_key=source_key, target_key=target_key)


def _tmx(path: Path) -> TmxSource:
    return TmxSource(name="toy", format="tmx", file=_file(path))


def _read(source: Source, tmp_path: Path, on_invalid_utf8: OnInvalid = "stop") -> tuple[list[Pair], list[BadLine]]:
    data = Data(
        source_language="en",
        target_language="de",
        train=(source,),
        valid="split",
        test="split",
        cleaning=Cleaning(on_invalid_utf8=on_invalid_utf8),
    )
    bad_lines: list[BadLine] = []
    return list(read_pairs(source, data, tmp_path / "cache", bad_lines.append)), bad_lines


def _pairs(source: Source, tmp_path: Path) -> list[Pair]:
    pairs, bad_lines = _read(source, tmp_path)
    assert not bad_lines
    return pairs


def _error(source: Source, tmp_path: Path, on_invalid_utf8: OnInvalid = "stop") -> UserError:
    with pytest.raises(UserError) as caught:
        _read(source, tmp_path, on_invalid_utf8)
    return caught.value


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def _lines(texts: list[str]) -> bytes:
    return "".join(text + "\n" for text in texts).encode("utf-8")


# --------------------------------------------------------------------------------------------------- lines

_COMPRESSORS = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("suffix", _COMPRESSORS)
def test_compression_is_told_by_the_name(suffix, tmp_path):
    content = _lines([f"line {i} ä" for i in range(20_000)])
    path = _write(tmp_path / f"text{suffix}", _COMPRESSORS[suffix](content))
    assert list(open_text_lines(path)) == content.split(b"\n")[:-1]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_compressed_files_that_were_appended_to_each_other_are_read_to_the_end(suffix, tmp_path):
    compress = _COMPRESSORS[suffix]
    path = _write(tmp_path / f"text{suffix}", compress(b"one\ntw") + compress(b"o\n") + compress(b"three\n"))
    assert list(open_text_lines(path)) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_compressed_file_that_was_cut_off_is_an_error(suffix, kept, tmp_path):
    whole = _COMPRESSORS[suffix](random.Random(1).randbytes(300_000).hex().encode("ascii"))
    path = _write(tmp_path / f"text{suffix}", whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=f"text{suffix}: cannot be decompressed as {suffix}") as caught:
        list(open_text_lines(path))
    assert "fetch it again" in caught.value.fix


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(suffix, tmp_path):
    path = _write(tmp_path / f"text{suffix}", "plain text\n")
    with pytest.raises(UserError, match=f"cannot be decompressed as {suffix}"):
        list(open_text_lines(path))


def test_compressed_bytes_under_a_plain_name_are_explained(tmp_path):
    path = _write(tmp_path / "train.en", gzip.compress(b"hello\n"))
    with pytest.raises(UserError, match=r"holds \.gz data, but its name does not end in \.gz") as caught:
        list(open_text_lines(path))
    assert caught.value.fix == "rename it to train.en.gz"


def test_utf16_is_explained(tmp_path):
    path = _write(tmp_path / "train.en", "hello\n".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16, not UTF-8") as caught:
        list(open_text_lines(path))
    assert "iconv" in caught.value.fix


def test_only_a_newline_byte_ends_a_line(tmp_path):
    content = "a\u2028b\u2029c\u0085d\x0be\x0cf\rg\x1ch\n\nlast".encode()
    path = _write(tmp_path / "text", content)
    assert list(open_text_lines(path)) == content.split(b"\n")


def test_byte_order_mark_and_windows_line_ends_are_dropped(tmp_path):
    path = _write(tmp_path / "text", b"\xef\xbb\xbfone\r\ntwo\r\n\r\n")
    assert list(open_text_lines(path)) == [b"one", b"two", b""]


def test_a_missing_file_is_an_error_with_the_nearest_name(tmp_path):
    _write(tmp_path / "train.en.gz", b"")
    source = _text(tmp_path / "train.en", tmp_path / "train.de")
    error = _error(source, tmp_path)
    assert error.problem == f"{tmp_path / 'train.en'}: no such file"
    assert error.fix.endswith(f"did you mean {tmp_path / 'train.en.gz'}?")


def test_a_missing_directory_is_named(tmp_path):
    (tmp_path / "corpus").mkdir()
    error = _error(_tsv(tmp_path / "corpos" / "train.tsv"), tmp_path)
    assert error.fix == (f"the directory {tmp_path / 'corpos'} does not exist; did you mean {tmp_path / 'corpus'}?")


def test_a_directory_in_place_of_a_file_is_an_error(tmp_path):
    assert "is a directory, not a file" in _error(_tsv(tmp_path), tmp_path).problem


# ---------------------------------------------------------------------------------------------------- text


def _text_files(tmp_path: Path, source: bytes, target: bytes) -> TextSource:
    return _text(_write(tmp_path / "toy.en", source), _write(tmp_path / "toy.de", target))


def test_aligned_files_give_their_pairs(tmp_path):
    sides = (_lines([pair.source for pair in PAIRS]), _lines([pair.target for pair in PAIRS]))
    assert _pairs(_text_files(tmp_path, *sides), tmp_path) == PAIRS


def test_a_missing_last_newline_is_no_missing_line(tmp_path):
    assert len(_pairs(_text_files(tmp_path, b"a\nb", b"c\nd\n"), tmp_path)) == 2


def test_blank_lines_stay_in_their_place(tmp_path):
    assert _pairs(_text_files(tmp_path, b"a\n\nc\n", b"x\ny\n\n"), tmp_path) == [("a", "x"), ("", "y"), ("c", "")]


@pytest.mark.parametrize("side", ["en", "de"])
def test_invalid_utf8_stops_with_file_line_and_byte(side, tmp_path):
    files = {"en": b"good\ngood\n", "de": b"gut\ngut\n", side: b"fine\ncaf\xe9 au lait\n"}
    error = _error(_text_files(tmp_path, files["en"], files["de"]), tmp_path)
    assert error.problem == f"{tmp_path / 'toy'}.{side}:2: not UTF-8: byte 0xe9 at position 4 of the line"
    assert 'on_invalid_utf8 = "skip"' in error.fix


def test_skipping_invalid_utf8_leaves_out_both_sides_and_shifts_nothing(tmp_path):
    source = _text_files(tmp_path, b"1\n\xff\n3\n4\n5\n", b"i\nii\niii\n\xfe\nv\n")
    pairs, bad_lines = _read(source, tmp_path, "skip")
    assert pairs == [("1", "i"), ("3", "iii"), ("5", "v")]
    assert bad_lines == [
        (str(tmp_path / "toy.en"), 2, INVALID_UTF8),
        (str(tmp_path / "toy.de"), 4, INVALID_UTF8),
    ]


def test_an_empty_file_is_named(tmp_path):
    assert _error(_text_files(tmp_path, b"", b""), tmp_path).problem.endswith("toy.en: is empty")
    assert _error(_text_files(tmp_path, b"a\n", b""), tmp_path).problem.endswith("toy.de: is empty")


def _parallel_text(num_lines: int) -> tuple[list[str], list[str]]:
    """Lines whose lengths go together only roughly, and with a number here and there."""
    draw = random.Random(7)
    source, target = [], []
    for _ in range(num_lines):
        length = draw.randrange(10, 120)
        number = f" {draw.randrange(1000)}" if draw.random() < 0.1 else ""
        source.append("s" * length + number)
        target.append("t" * int(length * draw.uniform(0.7, 1.4)) + number)
    return source, target


@pytest.mark.parametrize("longer", ["toy.en", "toy.de"])
@pytest.mark.parametrize("where", [0, 5, 700, 1990])
@pytest.mark.parametrize("num_extra", [1, 3])
def test_different_line_counts_are_an_error_that_finds_the_extra_line(longer, where, num_extra, tmp_path):
    source, target = _parallel_text(2000)
    lines = source if longer == "toy.en" else target
    lines[where:where] = [f"an extra line {i}" for i in range(num_extra)]
    error = _error(_text_files(tmp_path, _lines(source), _lines(target)), tmp_path)
    counts = {"toy.en": 2000, "toy.de": 2000} | {longer: 2000 + num_extra}
    assert error.problem == (
        f"different numbers of lines: {tmp_path / 'toy.en'} has {counts['toy.en']:,}, "
        f"{tmp_path / 'toy.de'} has {counts['toy.de']:,}"
    )
    begin = "extra line seems to be there" if num_extra == 1 else "its 3 extra lines seem to begin there"
    assert f"of {tmp_path / longer}: " in error.fix
    assert begin in error.fix
    line = int(error.fix.split("about line ")[1].split(" ")[0].replace(",", ""))
    assert abs(line - (where + 1)) <= 6


def test_lines_missing_at_the_end_are_found_too(tmp_path):
    source, target = _parallel_text(2000)
    error = _error(_text_files(tmp_path, _lines(source), _lines(target[:1500])), tmp_path)
    assert "about line 1,501 of" in error.fix


def test_unrelated_files_of_different_length_name_no_line(tmp_path):
    source, target = _parallel_text(1000)[0], _parallel_text(3000)[1][1999:]
    error = _error(_text_files(tmp_path, _lines(source), _lines(target)), tmp_path)
    assert "has 1,000" in error.problem
    assert "has 1,001" in error.problem
    assert error.fix == "line n of one file must be the translation of line n of the other"


# ----------------------------------------------------------------------------------------------------- TSV


def test_columns_of_a_table_are_chosen(tmp_path):
    path = _write(tmp_path / "toy.tsv", 'id\tein "Hund\tignored\ta dog\n')
    assert _pairs(_tsv(path, source_column=4, target_column=2), tmp_path) == [("a dog", 'ein "Hund')]


def test_a_line_with_too_few_columns_is_an_error(tmp_path):
    path = _write(tmp_path / "toy.tsv", "a\tb\tc\nonly one\n")
    error = _error(_tsv(path), tmp_path)
    assert error.problem == f"{path}:2: has 1 column, but column 2 is to be read"
    error = _error(_tsv(path, source_column=1, target_column=5), tmp_path)
    assert error.problem == f"{path}:1: has 3 columns, but column 5 is to be read"


def test_a_blank_line_of_a_table_is_left_out_and_reported(tmp_path):
    path = _write(tmp_path / "toy.tsv", "a\tb\n\nc\td\n")
    assert _read(_tsv(path), tmp_path) == ([("a", "b"), ("c", "d")], [(str(path), 2, "blank line")])


def test_invalid_utf8_in_a_table_stops_or_is_skipped(tmp_path):
    path = _write(tmp_path / "toy.tsv", b"a\tb\n\xe9\td\ne\tf\n")
    assert _error(_tsv(path), tmp_path).problem.startswith(f"{path}:2: not UTF-8: byte 0xe9")
    expected = ([("a", "b"), ("e", "f")], [(str(path), 2, INVALID_UTF8)])
    assert _read(_tsv(path), tmp_path, "skip") == expected


def test_an_empty_table_is_an_error(tmp_path):
    assert _error(_tsv(_write(tmp_path / "toy.tsv", b"")), tmp_path).problem.endswith("toy.tsv: is empty")


# ----------------------------------------------------------------------------------------------- JSON lines


def test_keys_of_json_lines_may_be_flat_nested_or_dotted(tmp_path):
    rows = [{"en": "a", "de": "b", "other": 1}, {"de": "d", "en": "c"}]
    path = _write(tmp_path / "flat.jsonl", _lines([json.dumps(row) for row in rows]))
    assert _pairs(_jsonl(path), tmp_path) == [("a", "b"), ("c", "d")]
    path = _write(tmp_path / "nested.jsonl", '{"translation": {"en": "a", "de": "b"}}\n')
    assert _pairs(_jsonl(path, "translation.en", "translation.de"), tmp_path) == [("a", "b")]
    path = _write(tmp_path / "dotted.jsonl", '{"text.en": "a", "text.de": "b"}\n')
    assert _pairs(_jsonl(path, "text.en", "text.de"), tmp_path) == [("a", "b")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'en': 'a'}", ":2: not valid JSON: Expecting property name"),
        ('{"en": "a"', ":2: not valid JSON: "),
        ("[" * 100_000, ":2: not valid JSON: "),
        ('{"en": "a"}', ":2: has no key 'de' (the keys there are 'en')"),
        ('["a", "b"]', ":2: has no key 'en' (no object)"),
        ('{"en": "a", "de": null}', ":2: 'de' is null, not text"),
        ('{"en": 5, "de": "b"}', ":2: 'en' is 5, not text"),
        ('{"en": "a", "de": "\\ud800"}', ":2: holds half of a surrogate pair"),
    ],
)
def test_a_bad_json_line_is_an_error_with_its_place(line, message, tmp_path):
    path = _write(tmp_path / "toy.jsonl", _lines(['{"en": "a", "de": "b"}', line]))
    assert _error(_jsonl(path), tmp_path).problem.startswith(f"{path}{message}")


def test_half_a_surrogate_pair_is_skipped_like_other_text_that_is_no_text(tmp_path):
    path = _write(
        tmp_path / "toy.jsonl", _lines(['{"en": "\\udc00", "de": "b"}', '{"en": "\\ud83d\\ude00", "de": "b"}'])
    )
    pairs, bad_lines = _read(_jsonl(path), tmp_path, "skip")
    assert pairs == [("\U0001f600", "b")]
    assert bad_lines == [(str(path), 1, INVALID_UTF8)]


# ----------------------------------------------------------------------------------------------------- TMX

_TMX = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="de-AT"><seg>Grüß &lt;Gott&gt;</seg></tuv><tuv xml:lang="EN_us"><seg>Hi</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Only English</seg></tuv><tuv xml:lang="end"><seg>no</seg></tuv></tu>
<tu><note>ignored</note><tuv lang="en">
<seg>Click <bpt i="1">&lt;b&gt;<sub>x</sub></bpt><hi>here</hi><ept i="1"/> now</seg></tuv>
<tuv lang="de"><prop type="x">p</prop><seg>Hier <ph/>klicken</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_translation_memory_gives_its_units_without_formatting_codes(encoding, suffix, tmp_path):
    content = _TMX.format(encoding=encoding).encode(encoding)
    path = _write(tmp_path / f"toy.tmx{suffix}", _COMPRESSORS[suffix](content))
    pairs, bad_lines = _read(_tmx(path), tmp_path)
    assert pairs == [("Hi", "Grüß <Gott>"), ("Click here now", "Hier klicken")]
    assert bad_lines == [(str(path), 5, "no de in this unit")]


def test_a_translation_memory_of_other_languages_is_an_error_that_lists_them(tmp_path):
    content = '<tmx><tu><tuv xml:lang="fr"><seg>a</seg></tuv><tuv xml:lang="en"><seg>b</seg></tuv></tu></tmx>'
    error = _error(_tmx(_write(tmp_path / "toy.tmx", content)), tmp_path)
    assert error.problem.endswith("no unit has both 'en' and 'de'; languages found: en, fr")


def test_a_translation_memory_that_was_cut_off_is_an_error_with_its_line(tmp_path):
    content = _TMX.format(encoding="utf-8")
    path = _write(tmp_path / "toy.tmx", content[: content.index("<note>")])
    assert _error(_tmx(path), tmp_path).problem == f"{path}:6: not valid XML: no element found"


@pytest.mark.parametrize("declaration", ['<!ENTITY a "aaaa">', '<!ENTITY a SYSTEM "file:///etc/hostname">'])
def test_entities_are_refused(declaration, tmp_path):
    path = _write(tmp_path / "toy.tmx", f"<?xml version='1.0'?>\n<!DOCTYPE tmx [{declaration}]><tmx>&a;</tmx>")
    assert _error(_tmx(path), tmp_path).problem == f"{path}:2: declares the entity 'a'"


def test_a_large_translation_memory_is_read_in_bounded_memory(tmp_path):
    """100 MB of units must not take 100 MB: the peak of a process of its own says so."""
    unit = b'<tu><tuv xml:lang="en"><seg>%s</seg></tuv><tuv xml:lang="de"><seg>b</seg></tuv></tu>\n' % (b"a" * 50_000)
    with gzip.open(tmp_path / "large.tmx.gz", "wb", compresslevel=1) as file:
        file.write(b"<tmx><body>")
        for _ in range(2000):
            file.write(unit)
        file.write(b"</body></tmx>")
    code = (
        "import resource, sys; from pathlib import Path; from mtmoe.data.raw.formats.tmx import read_tmx\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "num = sum(1 for _ in read_tmx(Path(sys.argv[1]), 'en', 'de', lambda bad_line: None))\n"
        "print(num, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "large.tmx.gz")]
    num_pairs, grown_kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(num_pairs) == 2000
    assert int(grown_kilobytes) < 20_000


# -------------------------------------------------------------------------------------------- Hugging Face


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The library, with a cache of its own and without a network."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    return library


def _nested(datasets):
    """The schema of wmt14, wmt16 and opus100."""
    features = datasets.Features({"translation": datasets.Translation(languages=["en", "de"])})
    rows = {"translation": [{"en": source, "de": target} for source, target in PAIRS]}
    return datasets.Dataset.from_dict(rows, features=features)


def _hugging_face(directory: Path, **more) -> HuggingFaceSource:
    return HuggingFaceSource(name="toy", format="huggingface", dataset=str(directory), **more)


def test_a_saved_data_set_of_the_wmt_schema_is_read(datasets, tmp_path):
    datasets.DatasetDict({"train": _nested(datasets), "test": _nested(datasets).select([0])}).save_to_disk(
        str(tmp_path / "wmt")
    )
    assert _pairs(_hugging_face(tmp_path / "wmt"), tmp_path) == PAIRS
    assert _pairs(_hugging_face(tmp_path / "wmt", split="test"), tmp_path) == PAIRS[:1]


def test_a_saved_single_split_is_read(datasets, tmp_path):
    _nested(datasets).save_to_disk(str(tmp_path / "wmt"))
    assert _pairs(_hugging_face(tmp_path / "wmt"), tmp_path) == PAIRS


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"split": "test"}, "holds the split 'train' alone, but split = 'test'"),
        ({"subset": "de-en"}, "so that subset = 'de-en' does nothing"),
    ],
)
def test_a_saved_single_split_is_not_taken_for_another_one(asked, message, datasets, tmp_path):
    dataset = _nested(datasets)
    dataset.info.splits, dataset._split = None, datasets.Split.TRAIN
    dataset.save_to_disk(str(tmp_path / "wmt"))
    assert _pairs(_hugging_face(tmp_path / "wmt"), tmp_path) == PAIRS
    with pytest.raises(UserError, match=message):
        _pairs(_hugging_face(tmp_path / "wmt", **asked), tmp_path)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_directory_of_parquet_files_is_read(streaming, datasets, tmp_path):
    (tmp_path / "opus").mkdir()
    _nested(datasets).to_parquet(str(tmp_path / "opus" / "train-00000-of-00001.parquet"))
    assert _pairs(_hugging_face(tmp_path / "opus", streaming=streaming), tmp_path) == PAIRS


@pytest.mark.parametrize("streaming", [False, True])
def test_flat_columns_are_named_by_language_or_by_key(streaming, datasets, tmp_path):
    for name, columns in (("languages", ("en", "de")), ("others", ("src", "trg"))):
        (tmp_path / name).mkdir()
        rows = {columns[0]: [pair.source for pair in PAIRS], columns[1]: [pair.target for pair in PAIRS]}
        datasets.Dataset.from_dict(rows).to_json(str(tmp_path / name / "train.jsonl"))
    assert _pairs(_hugging_face(tmp_path / "languages", streaming=streaming), tmp_path) == PAIRS
    chosen = _hugging_face(tmp_path / "others", source_key="src", target_key="trg", streaming=streaming)
    assert _pairs(chosen, tmp_path) == PAIRS


def test_a_row_without_text_is_left_out_and_reported(datasets, tmp_path):
    datasets.Dataset.from_dict({"en": ["a", None, "c"], "de": ["x", "y", "z"]}).save_to_disk(str(tmp_path / "d"))
    pairs, bad_lines = _read(_hugging_face(tmp_path / "d"), tmp_path)
    assert pairs == [("a", "x"), ("c", "z")]
    assert bad_lines == [(str(tmp_path / "d"), 2, "a side is not text")]


def test_a_missing_column_is_an_error_that_lists_those_there_are(datasets, tmp_path):
    datasets.Dataset.from_dict({"en": ["a"], "fr": ["b"]}).save_to_disk(str(tmp_path / "flat"))
    error = _error(_hugging_face(tmp_path / "flat"), tmp_path)
    assert error.problem == f"data set {tmp_path / 'flat'} has no column 'de'"
    assert "its columns: en, fr" in error.fix


def test_a_missing_language_is_an_error_that_lists_those_there_are(datasets, tmp_path):
    features = datasets.Features({"translation": datasets.Translation(languages=["cs", "en"])})
    dataset = datasets.Dataset.from_dict({"translation": [{"cs": "a", "en": "b"}]}, features=features)
    dataset.save_to_disk(str(tmp_path / "wmt"))
    error = _error(_hugging_face(tmp_path / "wmt"), tmp_path)
    assert error.problem.endswith("has no column 'translation.de'")
    assert "translation.{cs,en}" in error.fix


@pytest.mark.parametrize("as_parquet", [False, True])
def test_a_missing_split_is_an_error(as_parquet, datasets, tmp_path):
    if as_parquet:
        (tmp_path / "wmt").mkdir()
        _nested(datasets).to_parquet(str(tmp_path / "wmt" / "train.parquet"))
    else:
        datasets.DatasetDict({"train": _nested(datasets)}).save_to_disk(str(tmp_path / "wmt"))
    error = _error(_hugging_face(tmp_path / "wmt", split="dev"), tmp_path)
    assert "dev" in error.problem
    assert "split" in str(error)


def test_a_hub_that_cannot_be_reached_is_an_error_with_the_way_out(datasets, tmp_path):
    source = HuggingFaceSource(name="toy", format="huggingface", dataset="someone/some-corpus")
    error = _error(source, tmp_path)
    assert error.problem.startswith("data set someone/some-corpus cannot be loaded: ")
    assert "--train, --valid and --test" in error.fix
