"""A package opened: its members are checked before anything else reads them."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mtmoe.checkpoint.packages.package_manifest import PACKAGE_FORMAT_VERSION, PackageManifest, PackageVersion
from mtmoe.checkpoint.packages.stored_weights import restored_weights
from mtmoe.checkpoint.run_files import FORMAT_VERSION, WEIGHTS, Checkpoint
from mtmoe.config import Recipe, recipe_from_toml
from mtmoe.data.subwords.vocabularies import VOCABULARY_NAMES, Vocabulary, load_foreign_vocabulary
from mtmoe.errors import UserError
from mtmoe.system.json_files import parse_json
from mtmoe.system.readable_files import check_readable, unreadable

PACKAGE_ENDING = ".mtmoe"
MANIFEST, RECIPE, CARD = "manifest.json", "recipe.toml", "README.md"
_MOST_MEMBERS = 32
_MOST_MANIFEST_BYTES = 1 << 20
# What deflate makes smaller than that is no model: of weights, words and subwords it leaves a fifth or more.
_MOST_TIMES_PACKED = 50
_ALWAYS_ALLOWED_BYTES = 1 << 24
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What Python's zipfile raises for archives that are damaged, encrypted, or made with other means than ours."""
_FETCH_AGAIN = "copy or download it again: `sha256sum` should tell the same at both ends"


def is_package(path: Path) -> bool:
    """Return whether a path is that of a package: by its ending, or because a zip archive lies there."""
    return (path.suffix == PACKAGE_ENDING and not path.is_dir()) or (path.is_file() and zipfile.is_zipfile(path))


class Package:
    """A model in one file; a :class:`~mtmoe.checkpoint.model_source.ModelSource`."""

    def __init__(self, path: Path, file: BinaryIO | None = None) -> None:
        """Open a package and check what it says of itself.

        Args:
            file: an open file with its content, in place of the one at ``path``.

        Raises:
            UserError: it cannot be read, is none, is of a newer format, or its members are not those that it names.
        """
        self.path, self._file = path, file
        if file is None:
            if not path.exists():
                raise UserError(
                    f"no package {path}: it does not exist",
                    fix="look at its spelling, or make one: mtmoe package RUN FILE.mtmoe",
                )
            check_readable(path)
        with self._archive() as archive:
            self._check_members(archive.infolist())
            self.manifest = self._read_manifest(archive)
            self._check_sizes({info.filename: info for info in archive.infolist()})

    @contextlib.contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._file or self.path) as archive:
                yield archive
        except OSError as error:
            raise unreadable(self.path, error) from None
        except _FAULTS as error:
            raise self._damaged(str(error) or type(error).__name__) from None

    def _damaged(self, problem: str) -> UserError:
        return UserError(f"{self.path}: is no package, or a damaged one: {problem}", fix=_FETCH_AGAIN)

    def _check_members(self, members: Sequence[zipfile.ZipInfo]) -> None:
        """Refuse what no package of ours has, before anything is unpacked."""
        names = [info.filename for info in members]
        if MANIFEST not in names:
            raise UserError(
                f"{self.path}: is a zip archive, but no package: it has no {MANIFEST}",
                fix="make a package of a run: mtmoe package RUN FILE.mtmoe",
            )
        if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
            raise self._damaged(f"it has {len(names)} members, {len(set(names))} names of them different")
        for info in members:
            if "/" in info.filename or "\\" in info.filename or info.filename.startswith("."):
                raise self._damaged(f"the member {info.filename!r} names a place outside of it")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._damaged(f"{info.filename} is encrypted, or compressed by other means than deflate")
            if info.file_size > max(_ALWAYS_ALLOWED_BYTES, _MOST_TIMES_PACKED * info.compress_size):
                raise self._damaged(
                    f"{info.filename} would be {info.file_size:,} bytes, unpacked from {info.compress_size:,}: "
                    "no part of a model packs so well"
                )

    def _read_manifest(self, archive: zipfile.ZipFile) -> PackageManifest:
        if archive.getinfo(MANIFEST).file_size > _MOST_MANIFEST_BYTES:
            raise self._damaged(f"{MANIFEST} is larger than {_MOST_MANIFEST_BYTES:,} bytes")
        content, shown = archive.read(MANIFEST), self.shown(MANIFEST)
        version = parse_json(content, shown, PackageVersion, fix=_FETCH_AGAIN).format_version
        if version != PACKAGE_FORMAT_VERSION:
            raise UserError(
                f"{self.path}: is a package of format {version}, but this mtmoe reads format {PACKAGE_FORMAT_VERSION}",
                fix="update mtmoe, or have the package made anew of its run: mtmoe package RUN FILE.mtmoe",
            )
        manifest = parse_json(content, shown, PackageManifest, fix=_FETCH_AGAIN)
        if manifest.run_format_version != FORMAT_VERSION:
            age, fix = ("a newer", "update mtmoe") if manifest.run_format_version > FORMAT_VERSION else ("an older", "")
            raise UserError(
                f"{self.path}: its model is of {age} mtmoe ({manifest.mtmoe_version}): format "
                f"{manifest.run_format_version}, this one reads format {FORMAT_VERSION}",
                fix=fix or f"use mtmoe {manifest.mtmoe_version}, or train anew",
            )
        return manifest

    def _check_sizes(self, members: dict[str, zipfile.ZipInfo]) -> None:
        named, found = set(self.manifest.members), members.keys() - {MANIFEST}
        wanted = {RECIPE, WEIGHTS, CARD} | ({VOCABULARY_NAMES[0]} if not named & set(VOCABULARY_NAMES) else set())
        if missing := sorted((named | wanted) - found):
            raise self._damaged(f"it lacks {', '.join(missing)}")
        if unknown := sorted(found - named):
            raise self._damaged(f"{MANIFEST} knows nothing of {', '.join(unknown)}")
        for name, member in self.manifest.members.items():
            if members[name].file_size != member.num_bytes:
                raise self._damaged(
                    f"{name} is {members[name].file_size:,} bytes, {MANIFEST} says {member.num_bytes:,}"
                )

    # ------------------------------------------------------------------------------- as a source of a model

    def shown(self, name: str) -> Path:
        """Return what messages call a member."""
        return self.path / name

    def read(self, name: str) -> bytes | None:
        """Return a member's content, None where there is none of that name.

        Raises:
            UserError: it is damaged, or the file cannot be read.
        """
        member = self.manifest.members.get(name)
        if member is None:
            return None
        with self._archive() as archive:
            content = archive.read(name)
        found = hashlib.sha256(content).hexdigest()
        if found != member.sha256:
            raise UserError(
                f"{self.shown(name)}: damaged: its SHA-256 is {found}, {MANIFEST} says {member.sha256}",
                fix=_FETCH_AGAIN,
            )
        return content

    def _there(self, name: str) -> bytes:
        content = self.read(name)
        assert content is not None, "checked when it was opened"
        return content

    def recipe(self, overrides: Iterable[str] = ()) -> Recipe:
        """Return the recipe that it was trained with, with ``section.key=value`` overrides.

        Raises:
            UserError: as :func:`mtmoe.config.recipe_from_toml`.
        """
        content, overrides = self._there(RECIPE), tuple(overrides)
        try:
            recipe = recipe_from_toml(content, self.shown(RECIPE))
        except UserError as error:
            fix = f"it was made by mtmoe {self.manifest.mtmoe_version}: if that is newer than this one, update mtmoe"
            raise UserError(error.problem, fix=fix) from None
        return recipe_from_toml(content, self.shown(RECIPE), overrides) if overrides else recipe

    @property
    def vocabulary_name(self) -> str:
        """Return the name of the vocabulary's member."""
        return next(name for name in VOCABULARY_NAMES if name in self.manifest.members)

    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary, which a child process tries first: nobody here has made it."""
        name = self.vocabulary_name
        return load_foreign_vocabulary(self.shown(name), self._there(name))

    def checkpoints(self, name: str) -> list[Checkpoint]:
        """Return the one checkpoint that there is, for ``best`` and for its own name.

        Raises:
            UserError: another one was asked for.
        """
        own = self.manifest.checkpoints[-1]
        if name not in ("best", own):
            held = " and ".join(self.manifest.checkpoints)
            raise UserError(
                f"{self.path}: has no checkpoint {name!r}: a package holds one, {held}",
                fix="leave --checkpoint out, or use the run that it was made of",
            )
        return [Checkpoint(own, self.manifest.step, self.shown(WEIGHTS))]

    def digest(self, checkpoint: Checkpoint) -> str:
        """Return a hash of the weights as they are in here."""
        return self.manifest.members[WEIGHTS].sha256

    def weights(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
        """Return the weights in float32, by name.

        Raises:
            UserError: they are damaged.
        """
        try:
            return restored_weights(load(self._there(WEIGHTS)))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.shown(WEIGHTS)}: damaged: {error}", fix=_FETCH_AGAIN) from None
