"""The quick part of the campaign, and its judge, who must notice what a person would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import forked
from tests.campaign.__main__ import main
from tests.campaign.harness import Case, Outcome, judge, run_cases
from tests.campaign.setup import Sound

FINE = "error: no.txt: no such file\ncheck the path\n"


def _judged(status: int | None, talk: str, *, changed: tuple[str, ...] = ()) -> str:
    return "; ".join(judge(Case("x", ("translate",)), Outcome(status, "", talk, 0.1, changed)))


def test_what_is_as_it_should_be_passes_the_judge():
    for status, talk in (
        (0, ""),
        (1, FINE),
        (2, "Usage: mtmoe ...\nError: no such option\n"),
        (1, "warning: line 1\n"),
    ):
        assert _judged(status, talk) == ""


@pytest.mark.parametrize(
    ("status", "talk", "finding"),
    [
        (None, "", "hang"),
        (-11, "", "signal: SIGSEGV"),
        (3, "", "status: 3"),
        (1, "Traceback (most recent call last):\n", "traceback"),
        (1, f"{FINE}KeyError: 'x'", "exception's name: KeyError"),
        (1, "", "neither error nor warning"),
        (1, "error: something is wrong\ncheck it", "names no file, line or key"),
        (1, "error: no.txt has gone\n", "does not say what to do"),
    ],
)
def test_the_judge_notices(status, talk, finding):
    assert finding in _judged(status, talk)


def test_the_judge_notices_a_file_that_was_changed():
    assert _judged(0, "", changed=("in/t0",)) == "changed: in/t0"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Text, data and runs."""
    return Sound(tmp_path_factory.mktemp("sound")).make()


def test_a_small_campaign_finds_nothing(sound: Sound) -> None:
    done = forked.run(main, ["--seed", "7", "--count", "40", "--sound", str(sound.place)])
    assert done.status == 0, f"{done.stdout}\n{done.stderr}"
    assert "findings" in done.stdout


def _a_hang_and_an_overwritten_file(sound: Sound) -> None:
    def prepare(place: Path) -> None:
        (place / "in").mkdir()
        (place / "in" / "weights").write_text("mine")

    cases = [
        Case("a", ("export", str(sound.run), "in/weights"), prepare),
        Case("b", ("describe", "wmt14-en-fr-32"), most_seconds=0.02),
    ]
    for verdict in run_cases(cases):
        print(verdict.case.name, verdict.findings)


def test_a_hang_and_an_overwritten_file_are_found_in_real_commands(sound: Sound) -> None:
    done = forked.run(_a_hang_and_an_overwritten_file, sound)
    assert "a ('changed: in/weights',)" in done.stdout, done.stderr
    assert "b ('hang: killed" in done.stdout
