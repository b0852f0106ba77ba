"""Translation memory: what people have translated already is taken, where a text is the very same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mtmoe.data.raw.formats.tmx import read_tmx


class TranslationMemory:
    """Translations by their sources; white space counts as one space."""

    def __init__(self, pairs: dict[str, str]) -> None:
        self._pairs = pairs

    @classmethod
    def of_tmx(cls, path: Path, source: str, target: str) -> TranslationMemory:
        """Read a TMX file. Of several translations of a text the last one counts; units that cannot be read are left
        out.

        Raises:
            UserError: it is no TMX file, or has nothing in both languages.
        """
        pairs = read_tmx(path, source, target, lambda bad: None, skip=True)
        return cls({" ".join(pair.source.split()): " ".join(pair.target.split()) for pair in pairs})

    def __len__(self) -> int:
        return len(self._pairs)

    def known(self, text: str) -> str | None:
        """Return the translation of a text in normal form; None if there is none."""
        return self._pairs.get(text) or None

    @property
    def digest(self) -> str:
        """Return a hash of all of it."""
        digest = hashlib.blake2b(digest_size=16)
        for source, target in self._pairs.items():
            digest.update(f"{source}\t{target}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
