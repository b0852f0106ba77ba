"""`mtmoe translate` as a whole, mostly with a translator that only puts capitals and is fast."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.resumable_output import ResumableOutput, examine_input
from mtmoe.inference.files.translation_options import TranslationOptions
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from tests.paths import ROOT


class _Capitals:
    """Translates by putting capitals; counts lines, and is interrupted at the line that says so."""

    num_translated = 0
    loaded = 0
    with_scores: bool | None = None

    def __init__(self, run: Path, **arguments: Any) -> None:
        type(self).loaded += 1

    def translate(
        self, requests: Sequence[Request], num_best: int, *, with_alignment: bool = False, with_scores: bool = True
    ) -> list[Translation]:
        type(self).with_scores = with_scores
        if any(request.text == "interrupt" for request in requests):
            raise KeyboardInterrupt
        type(self).num_translated += len(requests)
        words = [normalise_line(request.text).upper().split() for request in requests]
        return [
            Translation(" ".join(w), alignment=tuple((i, i) for i in range(len(w))) if with_alignment else ())
            for w in words
        ]


@pytest.fixture
def capitals(monkeypatch: pytest.MonkeyPatch) -> type[_Capitals]:
    monkeypatch.setattr("mtmoe.inference.translator.Translator", _Capitals)
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 4)
    # It needs no run, so neither does what identifies its output.
    identity = "mtmoe.inference.files.translate_files.model_identity"
    monkeypatch.setattr(identity, lambda options: {"run": str(options.run)})
    _Capitals.num_translated = _Capitals.loaded = 0
    return _Capitals


# --------------------------------------------------------------------------------------------- formats


def test_json_lines_go_in_and_out(invoke: Any, tiny_run: Any) -> None:
    text = invoke("translate", tiny_run.run, "--scores", "--alignment", input="the man\n").stdout.rstrip("\n")
    score, log_probability, translation, alignment = text.split("\t")
    line = json.dumps({"id": 7, "text": "the man"})
    options = ("--format", "json", "--alignment", "--nbest", 2)
    answer = json.loads(invoke("translate", tiny_run.run, *options, input=line).stdout)
    assert (answer["id"], answer["text"], answer["translation"]) == (7, "the man", translation)
    assert [answer["score"], answer["log_probability"]] == pytest.approx([float(score), float(log_probability)])
    assert sum(answer["token_log_probabilities"]) == pytest.approx(answer["log_probability"], abs=1e-4)
    assert len(answer["tokens"]) == len(answer["token_log_probabilities"])
    assert " ".join(f"{i}-{j}" for i, j in answer["alignment"]) == alignment
    assert all(other["translation"] != translation for other in answer["alternatives"])  # as many as there are
    assert answer["warnings"] == [] or "cut off" in answer["warnings"][0]


def test_tsv_translates_the_chosen_column(invoke: Any, capitals: Any) -> None:
    result = invoke("translate", "run", "--format", "tsv", "--column", 2, input="1\ta\tx\n2\t\ty\n")
    assert result.stdout == "1\ta\tx\tA\n2\t\ty\t\n"
    assert invoke("translate", "run", "--format", "tsv", input="a\tb\n").stdout == "a\tb\tA\n"


def test_a_column_of_tsv_begins_the_translation(invoke: Any, tiny_run: Any) -> None:
    options = ("--format", "tsv", "--column", 2, "--prefix-column", 1)
    result = invoke("translate", tiny_run.run, *options, input="un chien\tthe dog\n\tthe dog\n")
    assert result.exit_code == 0, result.stderr
    first, second = (line.split("\t")[2] for line in result.stdout.splitlines())
    assert first.startswith("un chien")
    assert second == invoke("translate", tiny_run.run, input="the dog\n").stdout.rstrip("\n")


def test_alignments_are_a_column(invoke: Any, capitals: Any) -> None:
    assert invoke("translate", "run", "--alignment", input="a b\n\n").stdout == "A B\t0-0 1-1\n\t\n"


def test_lines_that_cannot_be_read_are_answered_and_end_in_status_1(invoke: Any, capitals: Any) -> None:
    text = '{"text": "a"}\nb\n{"text": "c"}\n{}\n'
    result = invoke("translate", "run", "--format", "json", input=text)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["translation"] for answer in answers] == ["A", "", "C", ""]
    assert result.exit_code == 1
    assert "error: 2 of 4 lines could not be read (first: line 2: not a JSON object" in result.stderr


def test_bytes_that_are_not_utf8_lose_no_line_and_no_status(invoke: Any, capitals: Any) -> None:
    result = invoke("translate", "run", input=b"a\xff\xed\xa0\x80b\nc\n")
    assert result.exit_code == 0
    assert result.stdout == "A\ufffd\ufffd\ufffd\ufffdB\nC\n"
    assert "warning: line 1 is not UTF-8 (byte 2)" in result.stderr


def test_strange_lines_are_one_line_each(invoke: Any, tiny_run: Any) -> None:
    lines = [
        "", " ", "\t", "a\tdog", "one\u2028two\u2029three\x85four\x0bfive\x0csix", "\ufeff", "\u200b", "a\x00b",
        "ᚠᛇᚻ ᛒᛦᚦ", "𓂀𓁹", "🙂" * 20, "e" + "\u0301" * 50, "ضَضضض", "the man\r",
    ]  # fmt: skip
    result = invoke("translate", tiny_run.run, input="".join(f"{line}\n" for line in lines))
    assert result.exit_code == 0, result.stderr
    answers = result.stdout.split("\n")
    assert len(answers) == len(lines) + 1
    assert [bool(answer) for answer in answers[:-1]] == [bool(normalise_line(line)) for line in lines]
    assert answers[-2] == invoke("translate", tiny_run.run, input="the man").stdout.rstrip("\n")


def test_a_line_of_100_kb_comes_out_whole_and_shifts_no_other(invoke: Any, tiny_run: Any) -> None:
    settings = ("--set", "decoding.max_source_tokens=12", "--set", "decoding.max_length_ratio=0.2", "--beam", 1)
    settings += ("--set", "decoding.max_length_extra=1")
    long = "the man walks. " * 50 + "x" * 1500
    short = invoke("translate", tiny_run.run, *settings, input="the cat\n").stdout
    result = invoke("translate", tiny_run.run, *settings, input=f"the cat\n{long}\nthe cat\n")
    assert result.stdout.startswith(short)
    assert result.stdout.endswith(short)
    assert result.stdout.count("\n") == 3
    assert "warning: line 2: split into " in result.stderr


def test_100_000_bytes_without_a_line_end_are_one_line(invoke: Any, capitals: Any) -> None:
    result = invoke("translate", "run", input="a" * 100_000 + "\nb\n")
    assert result.stdout == "A" * 100_000 + "\nB\n"


# ------------------------------------------------------------------------------------- files, patterns


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.en", tmp_path / "b.en"]
    paths[0].write_bytes(b"\xef\xbb\xbfone\ntwo")  # no line feed at its end
    paths[1].write_bytes(b"\xef\xbb\xbfthree\n")
    return paths


def test_several_files_are_one_stream_or_one_file_each(
    invoke: Any, capitals: Any, files: list[Path], tmp_path: Path
) -> None:
    assert invoke("translate", "run", *files).stdout == "ONE\nTWO\nTHREE\n"
    assert invoke("translate", "run", "--input", files[1]).stdout == "THREE\n"
    assert invoke("translate", "run", files[1], "--input", files[0]).stdout.splitlines()[0] == "THREE"
    assert invoke("translate", "run", tmp_path / "*.en").stdout == "ONE\nTWO\nTHREE\n"
    capitals.loaded = 0
    result = invoke("translate", "run", *files, "--output-dir", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "a.en": "ONE\nTWO\n",
        "b.en": "THREE\n",
    }
    assert capitals.loaded == 1
    assert invoke("translate", "run", *files, "--output", tmp_path / "both").exit_code == 0
    assert (tmp_path / "both").read_text() == "ONE\nTWO\nTHREE\n"
    assert "translate: 3 lines" in result.stderr


def test_a_byte_order_mark_begins_a_file_and_is_no_part_of_its_first_object(
    invoke: Any, capitals: Any, tmp_path: Path
) -> None:
    mark, objects = b"\xef\xbb\xbf", b'{"text": "a"}\n' * 5
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(mark + objects)
    result = invoke("translate", "run", "--format", "json", tmp_path / "1", tmp_path / "2")
    assert result.exit_code == 0, result.stderr
    (tmp_path / "1").write_bytes(objects + mark + objects)
    result = invoke("translate", "run", "--format", "json", tmp_path / "1")
    assert "1 of 10 lines could not be read (first: line 6: not a JSON object" in result.stderr


def test_a_compressed_file_is_translated_into_a_plain_one(invoke: Any, capitals: Any, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.en.gz", "wb") as file:
        file.write(b"one\n")
    assert invoke("translate", "run", tmp_path / "a.en.gz", "--output-dir", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "a.en").read_text() == "ONE\n"


def test_a_file_or_pattern_that_is_not_there_is_an_error(invoke: Any, capitals: Any, tmp_path: Path) -> None:
    result = invoke("translate", "run", tmp_path / "*.en")
    assert result.exit_code == 1
    assert "*.en: no file matches" in result.stderr
    result = invoke("translate", "run", tmp_path / "a.en")
    assert result.exit_code == 1
    assert "a.en: no such file" in result.stderr


def test_a_device_is_written_to_and_not_replaced(invoke: Any, capitals: Any, files: list[Path]) -> None:
    before = os.stat("/dev/null")
    assert invoke("translate", "run", *files, "--output", "/dev/null").exit_code == 0
    assert os.stat("/dev/null").st_rdev == before.st_rdev != 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--column", "2"], "--column belongs to --format tsv, not to --format text"),
        (["--prefix-column", "2"], "--prefix-column belongs to --format tsv, not to --format text"),
        (["a.en", "--output", "x", "--output-dir", "y"], "give either --output or --output-dir"),
        (["--output-dir", "y"], "--output-dir needs a FILE to translate"),
        (["--resume", "--output", "y"], "--resume needs a FILE to translate, and --output or --output-dir"),
        (["a.en", "--resume"], "--resume needs a FILE to translate, and --output or --output-dir"),
        (
            ["a.en", "--resume", "--output", "/dev/null"],
            "--resume needs an output that is a file, and /dev/null is none",
        ),
        (["--output", "a.de.gz"], "translations are written as plain text, but --output ends in .gz"),
        (["a.en", "x/a.en.gz", "--output-dir", "y"], "two files would both be written to a.en in --output-dir"),
        (["a.en", "--output", "a.en"], "a.en would be overwritten by its translation"),
        (["a.en", "--output-dir", "."], "a.en would be overwritten by its translation"),
        (["--scores", "--format", "json"], "--scores has no meaning with --format json: scores are always in it"),
        (["--device", "cpu,cpu"], "--device names 2 devices, but --workers is 1"),
    ],
)
def test_options_that_make_no_sense_together_are_usage_errors(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.en").touch()
    result = invoke("translate", "run", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_what_is_not_utf_8_text_is_refused_before_anything_is_written(
    invoke: Any, capitals: Any, tmp_path: Path
) -> None:
    wide, packed = tmp_path / "a.en", tmp_path / "b.en"
    wide.write_bytes("two words\n".encode("utf-16"))
    packed.write_bytes(gzip.compress(b"two words\n"))
    for path, complaint in (
        (wide, "is UTF-16, not UTF-8"),
        (packed, "holds .gz data, but its name does not end in .gz"),
    ):
        for output in ([], ["--output", tmp_path / "out"]):
            result = invoke("translate", "run", path, *output)
            assert result.exit_code == 1
            assert f"{path}: {complaint}" in result.stderr
        result = invoke("translate", "run", input=path.read_bytes())
        assert result.exit_code == 1
        assert "standard input: " in result.stderr
        assert result.stdout == ""
    assert not (tmp_path / "out").exists()
    assert capitals.num_translated == 0


# ---------------------------------------------------------------------------------------------- resume


def test_an_interrupted_translation_goes_on_where_it_was(invoke: Any, capitals: Any, tmp_path: Path) -> None:
    first, second, output = tmp_path / "1.en", tmp_path / "2.en", tmp_path / "out"
    first.write_text("".join(f"line {n}\n" for n in range(6)))
    second.write_text("".join(f"more {n}\n" for n in range(6)) + "interrupt\nend\n")
    command = ("translate", "run", first, second, "--output", output)
    interrupted = invoke(*command)
    assert interrupted.exit_code == 130
    message = "stopped after line 10 of 14, which is saved; to go on, add --resume to the same command"
    assert message in interrupted.stderr
    assert not output.exists()
    done = capitals.num_translated
    assert done == 10  # two chunks of the first file, one of the second
    second.write_text(second.read_text().replace("interrupt", "go on"))
    refused = invoke(*command, "--resume")
    assert refused.exit_code == 1
    assert "out: its unfinished translation was begun with input.2.digest = " in refused.stderr


def test_resuming_translates_what_is_left_and_nothing_else(
    invoke: Any, capitals: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "a.en", tmp_path / "out"
    source.write_text("".join(f"line {n}\n" for n in range(10)))
    command = ("translate", "run", source, "--nbest", 1, "--output", output)
    expected = invoke(*command[:3], "--nbest", 1).stdout
    translate = capitals.translate

    def interrupted_at_the_third_chunk(self: Any, requests: Any, *arguments: Any, **options: Any) -> Any:
        if requests[0].number >= 8:
            raise KeyboardInterrupt
        return translate(self, requests, *arguments, **options)

    with monkeypatch.context() as context:
        context.setattr(capitals, "translate", interrupted_at_the_third_chunk)
        assert invoke(*command).exit_code == 130
    capitals.num_translated = 0
    resumed = invoke(*command, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert "out: going on after line 8 of 10" in resumed.stderr
    assert capitals.num_translated == 2
    assert output.read_text() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.en", "out"]
    again = invoke(*command, "--resume")
    if "user.mtmoe.job" in os.listxattr(output):
        assert again.exit_code == 0, again.stderr
        assert "out: complete already" in again.stderr
        assert output.read_text() == expected
    else:  # a file system without extended attributes
        assert again.exit_code == 1
        assert "there is no unfinished translation of it to go on with" in again.stderr
    output.write_text("another text")
    again = invoke(*command, "--resume")
    assert again.exit_code == 1
    assert "there is no unfinished translation of it to go on with" in again.stderr


def test_a_command_that_cannot_begin_leaves_an_unfinished_job_as_it_is(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    source, output = tmp_path / "a.en", tmp_path / "out"
    source.write_text("the man\n")
    (tmp_path / ".out.journal").write_text("begun\n")
    assert invoke("translate", tiny_run.run, source, "--output", output, "--nbest", 99).exit_code == 1
    assert invoke("translate", tiny_run.run, source, "--output", output, "--device", "cuda:99").exit_code == 1
    assert (tmp_path / ".out.journal").read_text() == "begun\n"


def test_a_pipe_in_place_of_a_file_is_told_apart_from_a_path_that_is_not_there(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = invoke("translate", tiny_run.run, tmp_path / "pipe")
    assert result.exit_code == 1
    assert "pipe: is a pipe or device, and files are read more than once\nwrite its text to a file" in result.stderr


def test_a_pipe_of_the_shell_is_translated_and_cannot_be_resumed(invoke: Any, capitals: Any, tmp_path: Path) -> None:
    def piped(*arguments: str | Path) -> Any:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as file:
            file.write(b"one\ntwo\n")
        try:
            return invoke("translate", "run", f"/dev/fd/{reading}", *arguments)
        finally:
            os.close(reading)

    assert piped().stdout == "ONE\nTWO\n"
    result = piped("--output", tmp_path / "out")
    assert (result.exit_code, (tmp_path / "out").read_text()) == (0, "ONE\nTWO\n"), result.stderr
    for options in (("--output", tmp_path / "out", "--resume"), ("--output-dir", tmp_path / "all")):
        result = piped(*options)
        assert (result.exit_code, "can be read only once" in result.stderr) == (1, True)


@pytest.mark.parametrize("format_name", ["text", "tsv", "json"])
@pytest.mark.parametrize("to_file", [False, True])
def test_a_line_that_is_too_long_has_an_empty_translation_in_its_place(
    invoke: Any, capitals: Any, tmp_path: Path, format_name: str, to_file: bool
) -> None:
    line = '{{"text": "{}"}}\n' if format_name == "json" else "{}\n"
    content = line.format("one") + line.format("x" * (1 << 20) + "y") + line.format("three")
    (tmp_path / "in").write_text(content)
    output = ["--output", tmp_path / "out"] if to_file else []
    arguments = ["--format", format_name, *output]
    result = invoke("translate", "run", *([tmp_path / "in"] if to_file else []), *arguments, input=content)
    assert result.exit_code == 1
    assert "1 of 3 lines could not be read (first: line 2: longer than 1,048,576 bytes)" in result.stderr
    answers = ((tmp_path / "out").read_text() if to_file else result.stdout).splitlines()
    if format_name == "json":
        assert [json.loads(answer)["translation"] for answer in answers] == ["ONE", "", "THREE"]
    else:
        assert [answer.split("\t")[-1] for answer in answers] == ["ONE", "", "THREE"]


def test_of_several_outputs_those_that_are_complete_are_not_made_again(
    invoke: Any, capitals: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    for name in "abc":
        (tmp_path / f"{name}.en").write_text(f"{name}\n")
        (tmp_path / "out" / f"{name}.en").write_text("of before\n")
    command = ("translate", "run", tmp_path / "*.en", "--output-dir", tmp_path / "out")
    with monkeypatch.context() as context:

        def interrupted_at_b(self: Any, requests: Any, *arguments: Any, **options: Any) -> Any:
            if requests[0].text == "b":
                raise KeyboardInterrupt
            return [Translation("made before")]

        context.setattr(capitals, "translate", interrupted_at_b)
        assert invoke(*command).exit_code == 130
    resumed = invoke(*command, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert "a.en: complete already" in resumed.stderr
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert found == {"a.en": "made before\n", "b.en": "B\n", "c.en": "C\n"}


def test_a_job_belongs_to_weights_and_settings(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    source, output = tmp_path / "a.en", tmp_path / "out"
    source.write_text("the man\n" * 3)
    journal = tmp_path / ".out.journal"
    options = TranslationOptions(tiny_run.run, checkpoint="last", overrides=("decoding.beam_size=2",))
    identity = model_identity(options)
    shape = {"format": "text", "column": None, "nbest": None, "scores": False, "alignment": False}
    job = ResumableOutput(output, {**identity, "output": shape}, [examine_input(source)])
    with contextlib.suppress(KeyboardInterrupt), job.opened(resume=False) as partial:
        partial.write("x\n", 1)  # type: ignore[union-attr]
        raise KeyboardInterrupt
    command = ("translate", tiny_run.run, source, "--output", output, "--resume", "--checkpoint", "last")
    other = invoke(*command, "--beam", 3)
    assert other.exit_code == 1
    assert "was begun with decoding.beam_size = 2, but now it is 3" in other.stderr
    other = invoke(*command, "--beam", 2, "--scores")
    assert "was begun with output.scores = False, but now it is True" in other.stderr
    assert journal.exists()
    result = invoke(*command, "--beam", 2, "--set", "decoding.batch_tokens=64")
    assert result.exit_code == 0, result.stderr
    assert output.read_text().startswith("x\n")
    assert output.read_text().count("\n") == 3


# ------------------------------------------------------------------------------- pipes, memory, workers


@pytest.mark.parametrize(("options", "with_scores"), [([], False), (["--scores"], True), (["--format", "json"], True)])
def test_scores_are_asked_for_where_they_are_written(
    invoke: Any, capitals: Any, options: list[str], with_scores: bool
) -> None:
    line = '{"text": "a few words"}\n' if "json" in options else "a few words\n"
    result = invoke("translate", "run", *options, input=line)
    assert result.exit_code == 0, result.stderr
    assert capitals.with_scores is with_scores


def test_many_lines_take_the_memory_of_few(
    invoke: Any, capitals: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 64)
    peaks = []
    for num_lines in (1000, 20_000):
        path = tmp_path / f"{num_lines}.en"
        path.write_text("a few words\n" * num_lines)
        tracemalloc.start()
        result = invoke("translate", "run", path, "--output", tmp_path / "out")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / "out").read_text() == "A FEW WORDS\n" * num_lines
    assert peaks[1] < peaks[0] + 500_000


def test_workers_write_what_one_process_writes_and_answer_an_open_pipe(invoke: Any, tiny_run: Any) -> None:
    source = (tiny_run.folder / "train.en").read_bytes()[:1000] + b"\n\n"
    expected = invoke("translate", tiny_run.run, input=source).stdout.encode()
    command = [sys.executable, "-m", "mtmoe", "translate", str(tiny_run.run), "--device", "cpu", "--workers", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(source)
        process.stdin.flush()
        answered = [process.stdout.readline() for _ in expected.splitlines()]  # though the pipe stays open
        assert b"".join(answered) == expected
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate()
    assert process.returncode == 130
    assert b"interrupted" in talk
    assert b"Traceback" not in talk


def test_a_run_has_the_lexicon_of_its_data_and_translates_by_its_shortlist(invoke: Any, tiny_run: Any) -> None:
    name = "lexicon.safetensors"
    assert (tiny_run.run / name).read_bytes() == (tiny_run.data / name).read_bytes()
    source = (tiny_run.folder / "test.en").read_bytes()
    free = invoke("translate", tiny_run.run, input=source)
    short = ("--set", "decoding.shortlist={per_source_token = 1, frequent = 1}")
    result = invoke("translate", tiny_run.run, *short, input=source)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(free.stdout.splitlines()) == 8
    assert result.stdout != free.stdout


def test_the_uses_that_the_how_to_shows_work(
    invoke: Any, tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "howto" / "translate.md").read_text()
    block = page.partition("\n```\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(tiny_run.run)
    (tmp_path / "news").mkdir()
    with gzip.open("news/a.en.gz", "wb") as file:
        file.write(b"the man\n\n")
    Path("text.en").write_text("the man\n\n")
    Path("lines.jsonl").write_text('{"text": "the man"}\n{"text": ""}\n')
    Path("table.tsv").write_text("1\tthe man\n2\t\n")
    outputs = []
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        source = Path(words[words.index("<") + 1]).read_bytes() if "<" in words else b""
        words = words[: words.index("<")] if "<" in words else words
        if "--workers" in words:
            words[words.index("--workers") + 1] = "1"  # four would take seconds to start
        result = invoke(*words[1:], input=source)
        assert result.exit_code == 0, result.stderr
        outputs.append(result.stdout or Path("out/a.en").read_text())
    assert len(outputs) == 5
    translation = outputs[0].splitlines()[0]
    assert translation
    assert outputs[0] == outputs[1] == f"{translation}\n\n"
    assert outputs[2].splitlines()[-1] == "2\t0.000000\t0.000000\t"
    assert [json.loads(line)["translation"] for line in outputs[3].splitlines()] == [translation, ""]
    assert outputs[4] == f"1\tthe man\t{translation}\n2\t\t\n"
