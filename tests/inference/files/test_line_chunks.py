"""Lines of a pipe: none is lost, added or held back."""

from __future__ import annotations

import io
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.inference.files.line_chunks import ChunkSize, decode_leniently, line_chunks


def _lines(content: bytes, num_lines: int) -> list[bytes]:
    return [line for chunk in line_chunks(io.BytesIO(content), lambda: num_lines) for line in chunk]


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"\r")), max_size=20), st.integers(1, 5))
def test_lines_come_out_as_they_went_in(lines: list[bytes], num_lines: int) -> None:
    content = b"".join(line + b"\n" for line in lines)
    assert _lines(content, num_lines) == lines


def test_the_last_line_needs_no_line_feed() -> None:
    assert _lines(b"one\ntwo", 10) == [b"one", b"two"]
    assert _lines(b"", 10) == []
    assert _lines(b"\n", 10) == [b""]


def test_a_chunk_has_at_most_so_many_lines() -> None:
    assert [len(chunk) for chunk in line_chunks(io.BytesIO(b"x\n" * 7), lambda: 3)] == [3, 3, 1]


def test_a_line_longer_than_a_block_stays_whole() -> None:
    long = b"x" * 200_000
    assert _lines(long + b"\nshort\n", 10) == [long, b"short"]


def test_a_pipe_that_pauses_gets_its_lines_at_once() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        chunks = line_chunks(stream, lambda: 1000)
        os.write(writing, b"one\ntwo\nhalf of thr")
        assert next(chunks) == [b"one", b"two"]
        threading.Timer(0.05, lambda: (os.write(writing, b"ee\n"), os.close(writing))).start()
        assert list(chunks) == [[b"half of three"]]


def test_a_pause_is_told_of_before_waiting_if_it_is_asked_for() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        chunks = line_chunks(stream, lambda: 1000, tell_pauses=True)
        rescue = threading.Timer(20, os.close, [writing])  # a pause that is not told of must not hang the suite
        rescue.start()
        os.write(writing, b"one\n")
        assert [next(chunks), next(chunks)] == [[b"one"], []]
        os.write(writing, b"two\n")
        assert next(chunks) == [b"two"]
        os.write(writing, b"three\n")  # there was no time to wait
        assert next(chunks) == [b"three"]
        rescue.cancel()
        os.close(writing)
        assert [chunk for chunk in chunks if chunk] == []


def test_a_chunk_of_long_lines_is_bounded_by_their_bytes() -> None:
    line = b"x" * 400_000
    chunks = list(line_chunks(io.BytesIO((line + b"\n") * 5), lambda: 1000))
    assert [len(chunk) for chunk in chunks] == [3, 2]
    assert {content for chunk in chunks for content in chunk} == {line}


def test_a_byte_order_mark_is_dropped_at_the_beginning_of_any_file() -> None:
    assert decode_leniently(b"\xef\xbb\xbfone", 7, pytest.fail, is_first=True) == "one"
    assert decode_leniently(b"\xef\xbb\xbfone", 1, pytest.fail, is_first=False) == "\ufeffone"


def test_only_a_line_feed_ends_a_line() -> None:
    text = "a\u2028b\u0085c\x0cd\re"
    assert _lines(text.encode() + b"\nnext\n", 10) == [text.encode(), b"next"]


def test_bytes_that_are_not_utf8_are_replaced_with_a_warning_that_names_the_line() -> None:
    warnings: list[str] = []
    assert decode_leniently(b"caf\xe9", 7, warnings.append) == "caf\ufffd"
    assert warnings == ["line 7 is not UTF-8 (byte 4); what cannot be read was replaced"]


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_the_text() -> None:
    assert decode_leniently(b"\xef\xbb\xbfone\r", 1, pytest.fail) == "one"


def test_chunks_grow_to_what_takes_some_seconds() -> None:
    now = [100.0]
    for num_workers, fewest, lines in ((1, 1024, 1600), (4, 256, 400)):
        size = ChunkSize(num_workers, fewest=fewest, clock=lambda: now[0])
        size.answered(1024)  # with it the model was loaded, which says nothing
        assert size.num_lines == fewest
        for _ in range(3):
            now[0] += 10.0
            size.answered(2000)
        assert size.num_lines == lines, "200 lines/s, 8 s"
        now[0] += 10_000.0
        size.answered(100)
        assert size.num_lines == fewest
        now[0] += 1.0
        size.answered(10**9)
        assert size.num_lines == 4096
