"""An untrained run, which translates in no time, and text in its languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.inference.files.translation_options import TranslationOptions
from tests.inference.conftest import SENTENCES, untrained_run

LINES = ["Where is the station?", "", "Two dogs\tplay in the snow. ", "The children are waiting.", "A man.", "A bus."]


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny untrained run, from English to French."""
    return untrained_run(tmp_path_factory.mktemp("run"), SENTENCES)


@pytest.fixture
def translation(run_directory: Path) -> TranslationOptions:
    """Options that translate with it."""
    return TranslationOptions(run_directory, devices=("cpu",))


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a few lines, two of which are a chunk."""
    for bound in ("CHUNK_LINES", "MOST_CHUNK_LINES"):
        monkeypatch.setattr(f"mtmoe.inference.files.line_chunks.{bound}", 2)
    path = tmp_path / "text.en"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path
