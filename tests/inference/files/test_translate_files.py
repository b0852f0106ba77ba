"""Files that are translated from Python: gone on with, into a directory, and in a format of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtmoe
from mtmoe.inference.files.line_formats import LINE_FORMATS, LineFormat, ParsedLine, TextFormat
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator

SOURCES = ["Where is the station?", "", "Two dogs play in the snow.", "The children are waiting.", "A man."]


class _Heard(mtmoe.TranslationListener):
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def complete_already(self, output: Path) -> None:
        self.told.append((f"{output.name} complete", 0))

    def resumed(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        self.told.append((f"{output.name} resumed", num_lines_done))

    def stopped(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        self.told.append((f"{output.name} stopped", num_lines_done))


class _Headline(LineFormat):
    """Translates what is before a colon."""

    name = "headline"

    def read(self, line: str, number: int) -> ParsedLine:
        before, colon, behind = line.partition(":")
        return ParsedLine(Request(before, number=number), colon + behind)

    def write(self, line: ParsedLine, translation: Translation) -> str:
        return f"{translation.text}{line.carried}\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a few lines, two of which are a chunk."""
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 2)
    path = tmp_path / "text.en"
    path.write_text("".join(f"{line}\n" for line in SOURCES))
    return path


@pytest.fixture(scope="module")
def expected(run_directory: Path) -> list[str]:
    """The right translations."""
    return [translation.text for translation in Translator(run_directory, device="cpu").translate(SOURCES)]


def test_python_goes_on_with_what_was_interrupted(
    run_directory: Path, source: Path, expected: list[str], tmp_path: Path
) -> None:
    options = mtmoe.TranslationOptions(run_directory, devices=("cpu",))
    output, heard = tmp_path / "text.fr", _Heard()

    def interrupted(stage: str, done: int, total: int | None, unit: str) -> None:
        assert (stage, total, unit) == ("translate", 5, "lines")
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mtmoe.translate_files(options, [source], output, progress=interrupted, listener=heard)
    assert not output.exists()
    done = mtmoe.translate_files(options, [source], output, resume=True, listener=heard)
    assert heard.told == [("text.fr stopped", 4), ("text.fr resumed", 4)]
    assert done.num_lines == 5
    assert output.read_text().splitlines() == expected
    other = options._replace(overrides=("decoding.beam_size=2",))
    with pytest.raises(mtmoe.UserError, match=r"there is no unfinished translation"):
        mtmoe.translate_files(other, [source], output, resume=True)


def test_each_file_has_a_translation_of_its_name(
    run_directory: Path, source: Path, expected: list[str], tmp_path: Path
) -> None:
    options = mtmoe.TranslationOptions(run_directory, devices=("cpu",))
    other = tmp_path / "other.en"
    other.write_text(f"{SOURCES[0]}\n")
    mtmoe.translate_files(options, [source, other], output_dir=tmp_path / "out")
    assert (tmp_path / "out" / "text.en").read_text().splitlines() == expected
    assert (tmp_path / "out" / "other.en").read_text().splitlines() == expected[:1]


def test_lines_that_cannot_be_read_are_told_of_when_they_are_asked_for(run_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "A man."}\nno JSON\n')
    options = mtmoe.TranslationOptions(run_directory, mtmoe.LINE_FORMATS["json"](), devices=("cpu",))
    done = mtmoe.translate_files(options, [tmp_path / "a.jsonl"], tmp_path / "out")
    assert (done.num_lines, done.faults.num_unreadable) == (2, 1)
    with pytest.raises(mtmoe.UserError, match=r"1 of 2 lines could not be read \(first: line 2: not a JSON object"):
        done.raise_unreadable()


def test_a_format_is_one_class(run_directory: Path, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"{SOURCES[0]}: kept\n")
    options = mtmoe.TranslationOptions(run_directory, _Headline(), devices=("cpu",))
    mtmoe.translate_files(options, [tmp_path / "a"], tmp_path / "out")
    assert (tmp_path / "out").read_text() == f"{expected[0]}: kept\n"
    assert _Headline().identity()["format"] == "headline"
    assert all(format.name == name for name, format in LINE_FORMATS.items())


def test_misuse_is_told(run_directory: Path, source: Path, tmp_path: Path) -> None:
    options = mtmoe.TranslationOptions(run_directory, devices=("cpu",))
    with pytest.raises(ValueError, match="either output or output_dir"):
        mtmoe.translate_files(options, [source])
    with pytest.raises(ValueError, match="the format text have no columns"):
        TextFormat(mtmoe.FormatOptions(column=2))
    with pytest.raises(mtmoe.UserError, match=r"text\.en would be overwritten by its translation"):
        mtmoe.translate_files(options, [source], source)
