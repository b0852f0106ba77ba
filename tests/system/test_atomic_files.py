"""Files are written whole or not at all, and what is no regular file, or not ours, stays what it is."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mtmoe.system import atomic_files
from mtmoe.system.atomic_files import check_replaceable, hidden_beside, is_special, opened_atomically, write_atomically

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


@pytest.fixture(params=["without a name", "with a name"])
def either_way(request, monkeypatch):
    """File systems that have files without names, and others."""
    if request.param == "with a name":
        monkeypatch.setattr(atomic_files, "WITHOUT_NAME", 0)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_there_stays_until_all_is_written_and_nothing_else_is_left(tmp_path, either_way):
    place = tmp_path / "out"
    place.write_text("before")
    with opened_atomically(place) as file:
        file.write(b"after" * 100_000)
        assert place.read_text() == "before"
    assert place.read_bytes() == b"after" * 100_000
    assert os.listdir(tmp_path) == ["out"]


def test_an_error_leaves_what_was_there(tmp_path, either_way):
    place = tmp_path / "out"
    place.write_text("before")
    with contextlib.suppress(KeyboardInterrupt), opened_atomically(place) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert place.read_text() == "before"
    assert os.listdir(tmp_path) == ["out"]


def test_where_a_file_cannot_be_given_a_name_it_is_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError(errno.ENOENT, "no /proc")))
    write_atomically(tmp_path / "out", b"content")
    assert (tmp_path / "out").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_stays_a_link_whatever_it_points_to(tmp_path, either_way):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "old").write_text("before")
    for name, target in (("one", "far/old"), ("two", "one"), ("new", "far/new")):
        (tmp_path / name).symlink_to(target)
    write_atomically(tmp_path / "two", b"after")
    write_atomically(tmp_path / "new", b"new")
    assert all((tmp_path / name).is_symlink() for name in ("one", "two", "new"))
    assert {path.name: path.read_text() for path in (tmp_path / "far").iterdir()} == {"old": "after", "new": "new"}


def test_a_circle_of_links_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write_atomically(tmp_path / "a", b"x")


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode, either_way):
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(mode)
    write_atomically(tmp_path / "out", b"x")
    assert _mode(tmp_path / "out") == mode


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path, either_way):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "out", b"x")
    finally:
        os.umask(before)
    assert _mode(tmp_path / "out") == 0o640


@needs_root
def test_root_does_not_take_a_file_from_its_owner(tmp_path, either_way):
    place = tmp_path / "out"
    place.touch()
    os.chown(place, 12345, 54321)
    write_atomically(place, b"x")
    assert (place.stat().st_uid, place.stat().st_gid) == (12345, 54321)


@needs_root
def test_a_device_is_written_to_and_stays_a_device(tmp_path, either_way):
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (tmp_path / "link").symlink_to("null")
    for path in (device, tmp_path / "link"):
        write_atomically(path, b"x")
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


def test_a_named_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"content")
    reader.join(10)
    assert read == [b"content"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_open_file_is_appended_to_as_the_shell_has_opened_it(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("ab") as file:
        for link in (f"/proc/self/fd/{file.fileno()}", f"/dev/fd/{file.fileno()}"):
            assert is_special(Path(link))
            write_atomically(Path(link), b"more\n")
    assert log.read_text() == "before\nmore\nmore\n"


def test_what_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    for path, problem in (("directory", "Is a directory"), ("file/x", "Not a directory"), ("no/x", "No such file")):
        with pytest.raises(OSError, match=problem) as error, opened_atomically(tmp_path / path):
            pytest.fail("too late")
        assert str(tmp_path) in str(error.value.filename)


@as_user
def test_what_may_not_be_written_is_not_replaced_either(tmp_path):
    (tmp_path / "out").touch(0o444)
    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "out", b"x")
    (tmp_path / "closed").mkdir(0o555)
    with pytest.raises(PermissionError, match="closed"):
        check_replaceable(tmp_path / "closed" / "out")


def test_a_file_that_cannot_be_replaced_is_written_into(tmp_path, monkeypatch):
    def busy(source, target):
        raise OSError(errno.EBUSY, "Device or resource busy", source)

    place = tmp_path / "out"  # as if it were mounted there
    place.write_text("before, and longer")
    inode = place.stat().st_ino
    monkeypatch.setattr(os, "replace", busy)
    write_atomically(place, b"after")
    assert place.read_bytes() == b"after"
    assert place.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "語" * 85])
def test_the_longest_names_can_be_written(tmp_path, name, either_way):
    write_atomically(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]


def test_hidden_names_of_long_names_differ(tmp_path):
    one, other = (hidden_beside(tmp_path / ("x" * 250 + end), "journal") for end in "ab")
    assert one != other
    assert len(one.name) < 255


def test_nothing_that_was_planted_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "WITHOUT_NAME", 0)
    monkeypatch.setattr("secrets.token_hex", lambda _: "00000000")
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / ".out.00000000.unfinished").symlink_to("precious")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "out", b"x")
    assert precious.read_text() == "precious"


_KILLED = """
import os, signal, sys
from pathlib import Path
from mtmoe.system import atomic_files
atomic_files.WITHOUT_NAME = atomic_files.WITHOUT_NAME if sys.argv[2] else 0
with atomic_files.opened_atomically(Path(sys.argv[1])) as file:
    file.write(b"x" * 1_000_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_processes_leave_is_nothing_or_is_removed_at_the_next_write(tmp_path):
    place = tmp_path / "out"
    others = [tmp_path / name for name in (".out.unfinished", ".out.mine.unfinished", ".outer.00000000.unfinished")]
    for other in others:
        other.write_text("a user's")
    for without_a_name, num_left in (("1", 0), ("", 1)):
        killed = subprocess.run([sys.executable, "-c", _KILLED, place, without_a_name], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(os.listdir(tmp_path)) == len(others) + num_left
    write_atomically(place, b"x")
    assert sorted(os.listdir(tmp_path)) == sorted(["out", *(other.name for other in others)])


def test_several_writers_do_not_disturb_each_other(tmp_path, either_way):
    place = tmp_path / "out"
    with opened_atomically(place) as one, opened_atomically(place) as other:
        one.write(b"one")
        other.write(b"other")
        write_atomically(place, b"third")
        assert place.read_bytes() == b"third"
    assert place.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["out"]


def test_a_full_disk_is_told_with_the_name_of_the_file():
    with pytest.raises(OSError, match="No space left on device") as error:
        write_atomically(Path("/dev/full"), b"x" * 1_000_000)
    assert error.value.filename == "/dev/full"
