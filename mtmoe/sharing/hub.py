"""The Hugging Face hub: packages sent to a repository of a person or organisation, and fetched from one.

A repository holds the package as ``model.mtmoe`` and its card as ``README.md``. The token is that of ``HF_TOKEN`` and
no other; it goes to the hub alone, never to the servers that it sends downloads to, and into no message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from mtmoe.checkpoint.packages.package import CARD, PACKAGE_ENDING, Package, is_package
from mtmoe.data.raw.downloads import download, exclusive, file_sha256
from mtmoe.data.raw.fetching import cache_directory
from mtmoe.errors import Unreachable, UserError
from mtmoe.progress import Progress, silent
from mtmoe.sharing.packaging import PackageOptions, package_run
from mtmoe.system.atomic_files import check_replaceable, opened_atomically, place_of
from mtmoe.system.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MODEL = f"model{PACKAGE_ENDING}"
"""Name of the package in a repository."""
_TOKEN = "HF_TOKEN"
_PUBLIC_HUB = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9])?")
_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_REASON = 300
_READ_BYTES = 1 << 20
_BAD_CARD = "Invalid metadata in README.md."
"""How the client's error begins when the hub has looked at the front matter."""


class Repository(NamedTuple):
    """A repository of the hub: OWNER/NAME."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class Pushed(NamedTuple):
    """What is in the repository now. commit: empty where all of it was there already."""

    address: str
    commit: str
    num_bytes: int


class Pulled(NamedTuple):
    """What was fetched. commit: of the repository. was_there: the file was the same before, and was not sent again."""

    file: Path
    commit: str
    was_there: bool


def parse_repository(text: str) -> Repository:
    """Read OWNER/NAME.

    Raises:
        UserError: it is something else.
    """
    parts = text.split("/")
    if len(parts) != 2 or not all(_NAME.fullmatch(part) and ".." not in part and "--" not in part for part in parts):
        raise UserError(
            f"{text!r} is no repository of the hub",
            fix="give OWNER/NAME, such as anna/demo-en-fr: letters, digits, and - _ . between them",
        )
    return Repository(*parts)


def push(
    model: Path,
    repository: Repository,
    mtmoe_version: str,
    *,
    is_public: bool = False,
    device: str | None = None,
    progress: Progress = silent,
) -> Pushed:
    """Send a package, or a run as the package that :func:`package_run` makes of it, to a repository.

    A repository that is not there is made, private unless told. What the hub has already is not sent again.

    Raises:
        UserError: there is no token; the hub refuses it, or cannot be reached; no package or run.
    """
    token = _token()
    if not token:
        raise UserError(
            f"{_TOKEN} is not set, and the hub takes files from those alone that it knows",
            fix=f"make a token that may write at {_hub()}/settings/tokens, and export {_TOKEN}=...",
        )
    with contextlib.ExitStack() as stack:
        file = model
        if not is_package(model):
            file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / MODEL
            package_run(PackageOptions(model, mtmoe_version, device=device), file, progress)
        package = Package(file)
        card = package.read(CARD) or b""
        num_bytes = file.stat().st_size
        progress("upload", 0, num_bytes, "bytes")
        address, commit = _sent(file, card, repository, token, is_public=is_public)
        progress("upload", num_bytes, num_bytes, "bytes")
    return Pushed(address, commit, num_bytes)


def _sent(file: Path, card: bytes, repository: Repository, token: str, *, is_public: bool) -> tuple[str, str]:
    """Return the address of the repository, and the commit that was made; empty for none."""
    from huggingface_hub import CommitOperationAdd

    with _hub_errors(repository, token), file.open("rb") as content:
        hub = _client(token)
        repo = str(repository)
        created = hub.create_repo(repo, private=not is_public, exist_ok=True, token=token)
        before = hub.model_info(repo, token=token).sha
        # An open file and not its name: that goes by the protocol of Git LFS, which every server of the hub's kind
        # speaks, and keeps nothing in caches.
        done = hub.create_commit(
            repo,
            [CommitOperationAdd(CARD, card), CommitOperationAdd(MODEL, content)],
            commit_message=f"mtmoe push: {MODEL}",
            token=token,
        )
        return str(created), "" if done.oid == before else done.oid


def pull(repository: Repository, directory: Path, *, revision: str = "main", progress: Progress = silent) -> Pulled:
    """Fetch the package of a repository as ``NAME.mtmoe`` into a directory.

    What an interrupted call has fetched is not fetched again; nor is the file, if it is there as the hub has it.

    Args:
        revision: a branch, tag or commit.

    Raises:
        UserError: no such repository, or none that :func:`push` fills; the hub refuses, or cannot be reached; what
            comes is damaged, or no package that this mtmoe reads.
        OSError: the file cannot be written.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    token = _token()
    file = directory / f"{repository.name}{PACKAGE_ENDING}"
    check_replaceable(place_of(file))
    with _hub_errors(repository, token):
        url = hf_hub_url(str(repository), MODEL, revision=revision, endpoint=_hub())
        found = get_hf_file_metadata(url, token=token or False)
    if found.etag is None or not _SHA256.fullmatch(found.etag):
        raise UserError(
            f"{repository}: the hub does not tell the SHA-256 of {MODEL}", fix="send it anew with `mtmoe push`"
        )
    if file.is_file() and file_sha256(file) == found.etag:
        return Pulled(file, found.commit_hash or "", was_there=True)
    waiting = cache_directory() / "hub" / found.etag
    with exclusive(waiting):
        download(
            found.location,
            waiting / MODEL,
            sha256=found.etag,
            num_bytes=found.size or 0,
            authorization=f"Bearer {token}" if token and _is_hub(found.location) else "",
            pinned_by="the hub says",
            progress=progress,
        )
        Package(waiting / MODEL)
        with (waiting / MODEL).open("rb") as source, opened_atomically(file) as copy:
            while block := source.read(_READ_BYTES):
                copy.write(block)
        (waiting / MODEL).unlink()
    return Pulled(file, found.commit_hash or "", was_there=False)


def _client(token: str) -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return HfApi(endpoint=_hub(), token=token, library_name="mtmoe")


def _token() -> str:
    return os.environ.get(_TOKEN, "").strip()


def _hub() -> str:
    return (os.environ.get("HF_ENDPOINT") or _PUBLIC_HUB).rstrip("/")


def _is_hub(address: str) -> bool:
    """Return whether an address is at the hub itself, which may know the token, in the same encryption."""
    hub, other = urlsplit(_hub()), urlsplit(address)
    return (hub.scheme, hub.netloc) == (other.scheme, other.netloc)


@contextlib.contextmanager
def _hub_errors(repository: Repository, token: str) -> Iterator[None]:
    """Say what the hub's answer means for whoever asked."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

    try:
        yield
    except UserError:
        raise
    except RevisionNotFoundError:
        raise UserError(f"{repository}: has no such revision", fix="name a branch, tag or commit of it") from None
    except EntryNotFoundError:
        raise UserError(
            f"{repository}: has no {MODEL}", fix="it is no repository of `mtmoe push`; look at its files on the hub"
        ) from None
    except HfHubHTTPError as error:
        raise _refused(repository, error.response.status_code, token, str(error)) from None
    except ValueError as error:
        if not str(error).startswith(_BAD_CARD):
            raise _unreachable(repository, error, token) from None
        raise UserError(
            f"{repository}: the hub does not take its model card: {_reason(error, token).removeprefix(_BAD_CARD)}",
            fix="package it with a licence that the hub knows (mtmoe package RUN FILE --license ID), and push that",
        ) from None
    except Exception as error:  # what the layers below raise has no common class
        raise _unreachable(repository, error, token) from None


def _unreachable(repository: Repository, error: Exception, token: str) -> Unreachable:
    return Unreachable(
        f"{repository}: {_hub()} cannot be reached: {_reason(error, token)}",
        fix="check the network, and HF_ENDPOINT if it is set; the same command goes on where it stopped",
    )


def _refused(repository: Repository, status: int, token: str, text: str) -> UserError:
    if status in (401, 404) and not token:
        return UserError(
            f"{repository}: is not there, or is private and {_TOKEN} is not set ({status})",
            fix=f"check the spelling; for a private one export {_TOKEN}=...",
        )
    if status == 401:
        return UserError(
            f"{repository}: the hub does not take the token in {_TOKEN} for it (401)",
            fix=f"check the spelling of the repository, and the token at {_hub()}/settings/tokens",
        )
    if status == 403:
        return UserError(
            f"{repository}: the token in {_TOKEN} has no right to do that (403)",
            fix=f"give it the right at {_hub()}/settings/tokens (to write, for push), or ask the owner",
        )
    if status == 404:
        return UserError(
            f"{repository}: is not there, or the token in {_TOKEN} may not see it (404)", fix="check the spelling"
        )
    return Unreachable(
        f"{repository}: the hub answered {status}: {_without_token(text, token)}",
        fix="try again later; what has been sent is not sent again",
    )


def _reason(error: Exception, token: str) -> str:
    return _without_token(str(error).strip() or type(error).__name__, token)


def _without_token(text: str, token: str) -> str:
    text = text.replace(token, "***") if token else text
    return " ".join(printable(text).split())[:_LONGEST_REASON]
