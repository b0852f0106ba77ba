"""A job that was killed goes on where it was, and only as the same job."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mtmoe.errors import UserError
from mtmoe.inference.files.journal import LineFaults
from mtmoe.inference.files.resumable_output import InputFile, ResumableOutput, examine_input

INPUT = InputFile("a.en", 10, "d1")


def _job(path: Path, identity: Any = None, inputs: Any = (INPUT,)) -> ResumableOutput:
    return ResumableOutput(path / "out", identity or {"weights": "w", "decoding": {"beam_size": 5}}, inputs)


def _begin(job: ResumableOutput, lines: int = 3) -> None:
    with contextlib.suppress(KeyboardInterrupt), job.opened(resume=False) as output:
        assert output is not None
        for number in range(lines):
            output.write(f"line {number}\n", 1)
        raise KeyboardInterrupt


def test_what_is_written_appears_when_it_is_complete_and_nothing_else_stays(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before")
    job = _job(tmp_path)
    with job.opened(resume=False) as output:
        assert output is not None
        output.write("é\n", 1)
        assert (tmp_path / "out").read_text() == "before"
        output.write("b\nc\n", 2)
        output.finish()
    assert (tmp_path / "out").read_bytes() == "é\nb\nc\n".encode()
    job.remove_journal()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_an_interrupted_job_goes_on_after_the_lines_that_are_done(tmp_path: Path) -> None:
    _begin(_job(tmp_path))
    with (tmp_path / ".out.unfinished").open("a") as file:
        file.write("half a li")  # killed in the middle of a chunk
    with (tmp_path / ".out.journal").open("a") as file:
        file.write('{"lines": 4, "by')
    with _job(tmp_path).opened(resume=True) as output:
        assert output is not None
        assert output.num_lines_done == 3
        output.write("line 3\n", 1)
    with _job(tmp_path).opened(resume=True) as output:  # and again
        assert output is not None
        assert output.num_lines_done == 4
        output.finish()
    assert (tmp_path / "out").read_text() == "line 0\nline 1\nline 2\nline 3\n"


def test_what_the_journal_tells_of_and_the_disk_has_not_is_done_again(tmp_path: Path) -> None:
    _begin(_job(tmp_path))
    (tmp_path / ".out.unfinished").write_text("line 0\nline 1\nlin")
    with _job(tmp_path).opened(resume=True) as output:
        assert output is not None
        assert output.num_lines_done == 2
        output.finish()
    assert (tmp_path / "out").read_text() == "line 0\nline 1\n"


def test_a_complete_output_of_the_same_job_is_left_alone(tmp_path: Path) -> None:
    with _job(tmp_path).opened(resume=False) as output:
        assert output is not None
        output.write("a\n", 1)
        output.finish()
    (tmp_path / "out").rename(tmp_path / ".out.unfinished")  # killed before it got its name
    for _ in range(2):
        with _job(tmp_path).opened(resume=True) as output:
            assert output is None
        assert (tmp_path / "out").read_text() == "a\n"


def test_without_resume_a_job_begins_anew(tmp_path: Path) -> None:
    _begin(_job(tmp_path))
    with _job(tmp_path, {"weights": "other"}).opened(resume=False) as output:
        assert output is not None
        assert output.num_lines_done == 0
        output.finish()
    assert (tmp_path / "out").read_text() == ""


def test_an_output_of_before_is_replaced_also_when_the_job_was_killed_before_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("of before")
    _job(tmp_path).begin()
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt), _job(tmp_path).opened(resume=True) as output:
            assert output is not None
            assert output.num_lines_done == 0
            raise KeyboardInterrupt
    assert (tmp_path / "out").read_text() == "of before"


@pytest.mark.parametrize(
    ("identity", "inputs", "difference"),
    [
        ({"weights": "x", "decoding": {"beam_size": 5}}, [INPUT], "weights = w, but now it is x"),
        ({"weights": "w", "decoding": {"beam_size": 8}}, [INPUT], "decoding.beam_size = 5, but now it is 8"),
        ({"weights": "w", "decoding": {}}, [INPUT], "decoding.beam_size = 5, but now it is None"),
        (None, [INPUT._replace(digest="d2")], "input.1.digest = d1, but now it is d2"),
        (None, [INPUT, INPUT._replace(path="b.en")], "input.files = 1, but now it is 2"),
    ],
)
def test_another_job_is_not_taken_for_the_same(tmp_path: Path, identity: Any, inputs: Any, difference: str) -> None:
    _begin(_job(tmp_path))
    with pytest.raises(UserError) as error, _job(tmp_path, identity, inputs).opened(resume=True):
        pass
    assert f"out: its unfinished translation was begun with {difference}" in error.value.problem
    with _job(tmp_path).opened(resume=True) as output:  # still there
        assert output is not None
        assert output.num_lines_done == 3


def test_a_file_that_has_moved_is_the_same_input(tmp_path: Path) -> None:
    _begin(_job(tmp_path))
    with _job(tmp_path, inputs=[INPUT._replace(path="elsewhere/b.en")]).opened(resume=True) as output:
        assert output is not None
        assert output.num_lines_done == 3


def test_an_output_that_nobody_knows_how_it_was_made_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UserError, match="out: exists, and there is no unfinished translation of it"):
        with _job(tmp_path).opened(resume=True):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_resuming_what_was_never_begun_begins_it(tmp_path: Path) -> None:
    with _job(tmp_path).opened(resume=True) as output:
        assert output is not None
        assert output.num_lines_done == 0


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    with _job(tmp_path).opened(resume=False) as output:
        assert output is not None
        output.write("a\n", 1)
        with pytest.raises(UserError, match="out: another process is writing it"):
            with _job(tmp_path).opened(resume=True):
                pass
        output.finish()
    assert (tmp_path / "out").read_text() == "a\n"


def test_the_journal_names_what_is_translated_for_people_too(tmp_path: Path) -> None:
    _begin(_job(tmp_path))
    first, *entries = map(json.loads, (tmp_path / ".out.journal").read_text().splitlines())
    assert first["input"] == {"a.en": {"num_lines": 10, "digest": "d1"}}
    assert entries[-1] == {"lines": 3, "bytes": 21}


def test_a_file_is_known_by_its_content_and_its_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n2\r\n\n4")
    (tmp_path / "b").write_bytes(b"1\n2\n")
    (tmp_path / "c").write_bytes(b"")
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(b"1\n2\r\n\n4")
    examined = [examine_input(tmp_path / name) for name in ("a", "b", "c", "a.gz")]
    assert [file.num_lines for file in examined] == [4, 2, 0, 4]
    assert examined[0].digest == examined[3].digest
    assert len({file.digest for file in examined}) == 3


def test_lines_that_could_not_be_read_are_remembered(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), _job(tmp_path).opened(resume=False) as output:
        assert output is not None
        output.write("\n", 1, LineFaults(1, "line 1: bad"))
        output.write("b\nc\n", 2)
        output.write("d\n", 1, LineFaults(1, "line 4: bad"))
        raise KeyboardInterrupt
    job = _job(tmp_path)
    with job.opened(resume=True) as output:
        assert output is not None
        assert job.faults == LineFaults(2, "line 1: bad")
        output.finish()
    again = _job(tmp_path)
    with again.opened(resume=True) as output:
        assert output is None
        assert again.faults == LineFaults(2, "line 1: bad")


def test_a_complete_output_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    with _job(tmp_path).opened(resume=False) as output:
        assert output is not None
        output.write("a\n", 1)
        output.finish()
    (tmp_path / "out").unlink()
    with _job(tmp_path).opened(resume=True) as output:
        assert output is not None
        assert output.num_lines_done == 0


# ------------------------------------------------------------------------------- several outputs of a command


def _jobs(path: Path, identity: Any = None) -> list[ResumableOutput]:
    identity = identity or {"weights": "w"}
    return [ResumableOutput(path / name, identity, [INPUT], outputs=["a", "b"]) for name in ("a", "b")]


def _complete(job: ResumableOutput) -> None:
    with job.opened(resume=False) as output:
        assert output is not None
        output.write("x\n", 1, LineFaults(1, "line 1: bad"))
        output.finish()


def test_a_command_that_was_killed_before_it_noted_its_second_output_knows_it_by_the_first(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("of before")
    _jobs(tmp_path)[0].begin()
    _, second = _jobs(tmp_path)
    begun = {name for job in _jobs(tmp_path) for name in job.begun_outputs()}
    with second.opened(resume=True, is_begun=second.output.name in begun) as output:
        assert output is not None
        output.finish()
    assert (tmp_path / "b").read_text() == ""


def test_a_command_that_was_killed_behind_its_end_is_complete(tmp_path: Path) -> None:
    for job in _jobs(tmp_path):
        _complete(job)
        job.remove_journal()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for job in _jobs(tmp_path):
        with job.opened(resume=True) as output:
            assert output is None
        assert job.faults == LineFaults(1, "line 1: bad")


@pytest.mark.parametrize("change", ["another job", "another text", "no mark"])
def test_what_is_there_of_another_job_or_was_changed_is_not_taken_for_complete(tmp_path: Path, change: str) -> None:
    for job in _jobs(tmp_path):
        _complete(job)
        job.remove_journal()
    if change == "another text":
        (tmp_path / "a").write_text("y\n")
    if change == "no mark":
        (tmp_path / "a").unlink()
        (tmp_path / "a").write_text("x\n")
    job, _ = _jobs(tmp_path, {"weights": "other"} if change == "another job" else None)
    with pytest.raises(UserError, match="a: exists, and there is no unfinished translation of it"):
        with job.opened(resume=True):
            pass


# ----------------------------------------------------------------------------------------- files in the way


def test_nothing_is_opened_that_a_job_has_not_made(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name in (".out.unfinished", ".out.journal"):
        for plant in ("symlink_to", "hardlink_to"):
            getattr(tmp_path / name, plant)(tmp_path / "precious")
            with pytest.raises(UserError, match=rf"{name}: is no .*\nmove it away"):
                _job(tmp_path).begin()
            (tmp_path / name).unlink()
    (tmp_path / ".out.journal").write_text("a user's\n")
    with pytest.raises(UserError, match="journal: is no journal"):
        _job(tmp_path).begin()
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / ".out.journal").read_text() == "a user's\n"


def test_an_output_that_is_a_link_stays_one_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "target").touch(0o640)
    (tmp_path / "out").symlink_to("far/target")
    job = _job(tmp_path)
    _complete(job)
    job.remove_journal()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "far" / "target").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["target"]


def test_a_journal_that_a_full_disk_cut_off_in_its_first_line_is_of_a_job_that_has_begun(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("of before")
    _job(tmp_path).begin()
    journal = tmp_path / ".out.journal"
    for num_bytes in (0, 40):
        journal.write_bytes(journal.read_bytes()[:num_bytes] or b"")
        with contextlib.suppress(KeyboardInterrupt), _job(tmp_path).opened(resume=True) as output:
            assert output is not None
            assert output.num_lines_done == 0
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("key", "value"),
    [("lines", "3"), ("lines", -1), ("bytes", None), ("bytes", 1 << 70), ("finished", "yes"), ("unreadable", [])],
)
def test_a_damaged_key_of_the_journal_is_told(tmp_path: Path, key: str, value: Any) -> None:
    _begin(_job(tmp_path))
    journal = tmp_path / ".out.journal"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:-1], json.dumps({**json.loads(lines[-1]), key: value})]) + "\n")
    with pytest.raises(UserError, match=rf"\.out\.journal: damaged: {key}: ") as caught:
        with _job(tmp_path).opened(resume=True):
            pass
    assert "without --resume" in caught.value.fix or "leave out --resume" in caught.value.fix


@pytest.mark.parametrize("value", [[], "a.en", {"a.en": 1}, {"a.en": {"num_lines": "x", "digest": "d"}}])
def test_damaged_inputs_in_the_journal_are_told(tmp_path: Path, value: Any) -> None:
    _begin(_job(tmp_path))
    journal = tmp_path / ".out.journal"
    first, *others = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps({**json.loads(first), "input": value}), *others]) + "\n")
    with pytest.raises(UserError, match=r"\.out\.journal: damaged: input"):
        with _job(tmp_path).opened(resume=True):
            pass
