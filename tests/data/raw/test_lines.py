"""Lines out of whatever bytes there are: long ones, other encodings, pipes, and what is compressed strangely."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zstandard

from mtmoe.config.settings import Cleaning, Data, FileLocation, LinesSource, TextSource
from mtmoe.data.cleaning.rules import Cleaner
from mtmoe.data.raw.lines import (
    LONGEST_LINE_BYTES,
    check_is_text,
    decode_line,
    is_open_pipe,
    is_too_long,
    open_text_lines,
)
from mtmoe.data.raw.lines import text_lines as lines_of
from mtmoe.data.raw.sentence_pairs import TOO_LONG, BadLine
from mtmoe.data.raw.sources import read_pairs
from mtmoe.errors import UserError


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("more", [-1, 0, 1, 2, 3, 200_000])
def test_a_line_that_is_too_long_shifts_no_other(end, more, tmp_path):
    long = b"x" * (LONGEST_LINE_BYTES + more)
    lines = list(lines_of(io.BytesIO(end.join([b"one", long, b"three", long])), tmp_path))
    assert [is_too_long(line) for line in lines] == [False, more > 0, False, more > 0]
    assert lines[0::2] == [b"one", b"three"]
    if more <= 0:
        assert lines[1::2] == [long, long]
    assert max(map(len, lines)) <= LONGEST_LINE_BYTES + 2


def test_the_error_of_a_long_line_names_file_line_and_bound(tmp_path):
    with pytest.raises(UserError) as caught:
        decode_line(b"x" * (LONGEST_LINE_BYTES + 1), tmp_path / "a.en", 7)
    assert str(caught.value).startswith(f"{tmp_path / 'a.en'}:7: the line is longer than 1,048,576 bytes\n")


@pytest.mark.parametrize("side", ["en", "de"])
def test_a_long_line_of_a_corpus_is_dropped_with_its_other_side_and_counted(side, tmp_path):
    for language in ("en", "de"):
        lines = [f"one {language}", "x" * (LONGEST_LINE_BYTES + 1) if language == side else "two", f"three {language}"]
        (tmp_path / f"t.{language}").write_text("\n".join(lines) + "\n")
    files = {f"{k}_file": FileLocation(path=str(tmp_path / f"t.{v}")) for k, v in (("source", "en"), ("target", "de"))}
    source = TextSource(name="t", format="text", **files)
    data = Data(source_language="en", target_language="de", train=(source,), valid="split", test="split")
    cleaner = Cleaner(Cleaning())
    bad_lines: list[BadLine] = []
    pairs = list(cleaner.clean(read_pairs(source, data, tmp_path, bad_lines.append)))
    for bad_line in bad_lines:
        cleaner.count_bad_line(bad_line)
    assert pairs == [("one en", "one de"), ("three en", "three de")]
    assert bad_lines == [(str(tmp_path / f"t.{side}"), 2, TOO_LONG)]
    assert (cleaner.report["read"], cleaner.report["kept"], cleaner.report["too_long"]) == (3, 2, 1)


def _gzipped(path: Path, num_bytes: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(num_bytes // 1_000_000):
            file.write(b"a " * 500_000)
    return path


def _zstandard(path: Path, num_bytes: int) -> Path:
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as compressor:
        for _ in range(num_bytes // 1_000_000):
            compressor.write(b"a" * 1_000_000)
    return path


@pytest.mark.parametrize(("make", "suffix"), [(_gzipped, ".gz"), (_zstandard, ".zst")])
def test_an_endless_line_in_a_small_file_takes_little_memory(make, suffix, tmp_path):
    path = make(tmp_path / f"a{suffix}", 200_000_000)
    assert path.stat().st_size < 2_000_000
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from mtmoe.data.raw.lines import open_text_lines, is_too_long\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "lines = [is_too_long(line) for line in open_text_lines(Path(sys.argv[1]))]\n"
        "print(lines, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sep='|')"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    lines, kilobytes = found.split("|")
    assert lines == "[True]"
    assert int(kilobytes) < 90_000


@pytest.mark.parametrize("window_log", [27, 28, 31])
def test_zstandard_with_a_long_window_is_read(window_log, tmp_path):
    settings = zstandard.ZstdCompressionParameters(window_log=window_log, enable_ldm=window_log < 31)
    content = b"".join(b"line %d\n" % i for i in range(1000))
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()  # no size in the frame
    (tmp_path / "a.zst").write_bytes(compressor.compress(content) + compressor.flush())
    assert list(open_text_lines(tmp_path / "a.zst")) == content.splitlines()


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_of_unicode_are_called_by_their_names(name, tmp_path):
    with pytest.raises(UserError) as caught:
        check_is_text("Hello\n".encode(name), tmp_path)
    expected = name.upper().replace("-LE", "LE").replace("-BE", "BE")
    assert f"is {expected}, not UTF-8\nconvert it: iconv -f {expected} -t UTF-8" in str(caught.value)


def test_a_pipe_of_the_shell_is_read_once():
    reading, writing = os.pipe()
    path = Path(f"/dev/fd/{reading}")
    threading.Thread(target=lambda: (os.write(writing, b"one\ntwo\n"), os.close(writing))).start()
    assert is_open_pipe(path)
    assert list(open_text_lines(path)) == [b"one", b"two"]
    os.close(reading)


def test_a_named_pipe_which_may_wait_for_ever_and_a_device_are_errors(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(UserError, match="is a pipe or device, and files are read more than once"):
            list(open_text_lines(path))


def test_a_pipe_cannot_be_training_text():
    reading, writing = os.pipe()
    source = LinesSource(name="t", format="lines", file=FileLocation(path=f"/dev/fd/{reading}"))
    data = Data(target_language="en", train=(source,), valid="split", test="split")
    with pytest.raises(UserError, match="is a pipe or device"):
        list(read_pairs(source, data, Path("/nowhere")))
    os.close(reading)
    os.close(writing)
