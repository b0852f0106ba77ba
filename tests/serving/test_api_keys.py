"""Keys: only hashes are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.errors import UserError
from mtmoe.serving.api_keys import add_api_key, read_api_keys


def test_a_key_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = add_api_key(path, "anna"), add_api_key(path, "ben@example.org")
    assert first != second
    assert first not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    keys = read_api_keys(path)
    assert [keys.name_of(key) for key in (first, second, "", first[:-1], "\ud800")] == [
        "anna", "ben@example.org", None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("anna secret\n", "line 1: is not NAME sha256:DIGITS"),
        (f"# keys\n\nanna sha256:{'0' * 64}\nanna sha256:{'1' * 64}\n", "line 4: anna has a key already"),
        ("# nothing\n", "has no key"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_api_keys(path)


def test_names_are_words_and_stand_once(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# no line end")
    add_api_key(path, "anna")
    with pytest.raises(UserError, match="anna has a key already"):
        add_api_key(path, "anna")
    with pytest.raises(UserError, match="is no name"):
        add_api_key(path, "anna\nben")
    assert read_api_keys(path).name_of("x") is None
