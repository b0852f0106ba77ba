"""Archives that blow up, and archives of every program: bounded memory, the right content."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.data.raw.archives import extract_member
from mtmoe.data.raw.tar_members import tar_members
from mtmoe.errors import UserError

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1)


def _tar(members: dict[str, bytes], tar_format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=40).map("/".join), st.binary(max_size=2000), max_size=4))
def test_names_and_contents_are_those_that_pythons_reader_finds(members):
    for tar_format in FORMATS[1:]:
        content = _tar({"first": b"1", **members}, tar_format)
        found = {member.name: member.read(10_000) for member in tar_members(io.BytesIO(content)) if member.is_file}
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            expected = {e.name: archive.extractfile(e).read() for e in archive if e.isfile()}  # type: ignore[union-attr]
        assert found == expected


def test_a_long_path_of_ustar_is_put_together():
    content = _tar({"d" * 80 + "/" + "n" * 90: b"x"}, tarfile.USTAR_FORMAT)
    assert [member.name for member in tar_members(io.BytesIO(content))] == ["d" * 80 + "/" + "n" * 90]


@pytest.mark.parametrize("version", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix"])
def test_a_sparse_member_which_would_become_large_is_refused_and_others_are_read(version, tmp_path):
    with (tmp_path / "holes").open("wb") as file:
        for place in range(40):
            file.seek(place * 5_000_000)
            file.write(b"data")
        file.truncate(200_000_000)
    (tmp_path / "plain").write_text("plain\n")
    command = ["tar", "-S", *f"--format={version}".split(), "-cf", "a.tar", "holes", "plain"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "a.tar").stat().st_size < 400_000
    with pytest.raises(UserError, match="member holes is stored as a sparse file, which is not read"):
        extract_member(tmp_path / "a.tar", "holes", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    extract_member(tmp_path / "a.tar", "plain", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "plain\n"


@contextlib.contextmanager
def _memory_below(num_bytes: int) -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < num_bytes
    finally:
        tracemalloc.stop()


def _header(kind: bytes, size: int, name: str = "x") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: [_header(b"x", 100_000_000), *[bytes(1_000_000)] * 100], id="pax"),
        pytest.param(lambda: [_header(b"g", 100_000_000), *[bytes(1_000_000)] * 100], id="pax of all"),
        pytest.param(lambda: [_header(b"L", 100_000_000), *[b"n" * 1_000_000] * 100], id="long name"),
        pytest.param(lambda: [_header(b"K", 30_000_000), *[b"n" * 1_000_000] * 30], id="long link"),
        pytest.param(lambda: [_header(b"0", 0, f"d/{i}") for i in range(8_000)], id="many members"),
        pytest.param(lambda: [_header(b"1", 10**12)], id="a large link"),
    ],
)
def test_small_archives_of_large_headers_take_little_memory(content, tmp_path):
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        for block in content():
            file.write(block)
    with _memory_below(3_000_000), pytest.raises(UserError, match=r"has no member|cannot be unpacked"):
        extract_member(tmp_path / "a.tar.gz", "wanted", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tar.gz"]


def test_a_member_larger_than_the_disk_is_refused_before_the_first_byte(tmp_path):
    (tmp_path / "a.tar").write_bytes(_header(b"0", 10**17))
    with pytest.raises(UserError, match=r"member x has 100,000,000,000,000,000 bytes, but .* has room for"):
        extract_member(tmp_path / "a.tar", "x", tmp_path / "out")


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 2999), st.integers(0, 255))
def test_damage_is_an_error_or_another_content_and_never_anything_else(content, place, byte):
    damaged = bytearray(_tar({"a": content, "b" * 150: content}, tarfile.PAX_FORMAT))
    damaged[place] = byte
    for stream in (damaged, damaged[: place + 1], content):
        try:
            for member in tar_members(io.BytesIO(bytes(stream))):
                member.read(100)
        except tarfile.ReadError:
            pass


def test_an_extraction_runs_in_bounded_memory_whatever_the_size(tmp_path):
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as file:
        file.write(_header(b"0", 100_000_000))
        for _ in range(100):
            file.write(bytes(1_000_000))
        file.write(bytes(100_000_000 % 512 and 512 - 100_000_000 % 512))
    with _memory_below(5_000_000):
        extract_member(tmp_path / "a.tgz", "x", tmp_path / "out")
    assert (tmp_path / "out").stat().st_size == 100_000_000
