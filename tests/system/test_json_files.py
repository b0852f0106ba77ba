"""Files of ours that are damaged, forbidden or no files: told by name and key, never a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import Field

from mtmoe.errors import UserError
from mtmoe.system.json_files import JsonRecord, read_json
from mtmoe.system.readable_files import check_readable, read_bytes


class Example(JsonRecord):
    step: int = Field(ge=0)
    names: tuple[str, ...]


def _read(path: Path) -> Example:
    return read_json(path, Example, fix="restore it", format_version=2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("[" * 10_000, "Invalid JSON"),
        ('{"format_version": 2, "step": 1}', "names: Field required"),
        ('{"format_version": 2, "step": "1", "names": []}', "step: Input should be a valid integer, found '1'"),
        (
            '{"format_version": 2, "step": -1, "names": []}',
            "step: Input should be greater than or equal to 0, f",
        ),
        ('{"format_version": 2, "step": 1.5, "names": []}', "step: Input should be a valid integer"),
        ('{"format_version": 2, "step": NaN, "names": []}', "step: Input should be a "),
        ('{"format_version": 2, "step": null, "names": []}', "step: Input should be a valid integer, found None"),
        ('{"format_version": 2, "step": 1, "names": {}}', "names: Input should be a valid array"),
        ('{"format_version": 2, "step": 1, "names": [1]}', "names.0: Input should be a valid string, found 1"),
        ('{"format_version": {}, "step": 1, "names": []}', "format_version: Input should be a valid integer"),
    ],
)
def test_what_is_damaged_is_told_by_file_and_key(tmp_path, content, problem):
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        _read(path)
    assert caught.value.problem.startswith(f"{path}: damaged: {problem}")
    assert caught.value.fix == "restore it"


def test_bytes_that_are_no_text_are_damage(tmp_path):
    (tmp_path / "state.json").write_bytes(b'{"format_version": 2, "step": 1, "names": ["\xff"]}')
    with pytest.raises(UserError, match=r"state\.json: damaged: Invalid JSON"):
        _read(tmp_path / "state.json")


def test_another_version_is_no_damage_and_nothing_is_to_be_deleted(tmp_path):
    (tmp_path / "state.json").write_text('{"format_version": 1}')
    with pytest.raises(UserError, match="format version 1, but this mtmoe reads version 2") as caught:
        _read(tmp_path / "state.json")
    assert "restore" not in caught.value.fix


def test_a_missing_right_is_told_as_that(tmp_path, monkeypatch):
    (tmp_path / "state.json").write_text("{}")

    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(UserError, match=r"state\.json: cannot be read: Permission denied") as caught:
        _read(tmp_path / "state.json")
    assert caught.value.fix.startswith("change its permissions")


def test_a_pipe_a_directory_and_nothing_are_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, problem in (("pipe", "is a pipe or device"), (".", "is a directory"), ("none", "No such file")):
        for read in (read_bytes, check_readable):
            with pytest.raises(UserError, match=problem):
                read(tmp_path / name)
