"""``mtmoe compare``: what differs between runs, and whether it matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...bleu_results import measured, show_table
from ...bleu_texts import TestText, check_same_tests, own_test, recipe_tests, recipes_of, run_system, tokeniser_for
from ...console import folded, heading, output_columns, write_data, write_json, write_table
from ...options import DIRECTORY, FILE, checkpoint_option, device_option, json_option

if TYPE_CHECKING:
    from mtmoe.report.comparison import LineDifference
    from mtmoe.report.run_history import RunHistory

_MOST_LINES = 1000


@click.command()
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, type=DIRECTORY)
@click.option("--test-set", "test_sets", metavar="NAME", multiple=True, help="Only this test set. Can be repeated.")
@click.option("--source", "source_path", type=FILE, help="Compare on this file, not on the runs' test sets.")
@click.option("--reference", "reference_paths", type=FILE, multiple=True, help="Its translation. Can be repeated.")
@click.option(
    "--lines",
    "num_lines",
    type=click.IntRange(0, _MOST_LINES),
    default=6,
    show_default=True,
    help="Lines of each test set that are shown: those whose chrF differs most.",
)
@checkpoint_option
@device_option
@json_option
def compare(
    runs: tuple[Path, ...],
    test_sets: tuple[str, ...],
    source_path: Path | None,
    reference_paths: tuple[Path, ...],
    num_lines: int,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Compare runs: how they differ, and how their translations do.

    All are compared with the first. It tells in which settings, text, size and training time they differ; BLEU and
    chrF on their test sets with paired bootstrap; and the lines on which another run gains or loses most. Runs with
    different test sets, or into different languages, are refused: compare them on text of your own with --source and
    --reference.
    """
    if len(runs) < 2:
        raise click.UsageError("name two runs or more; `mtmoe report RUN` shows a single one")
    if (source_path is None) != (not reference_paths) or (source_path is not None and test_sets):
        raise click.UsageError("--source and --reference belong together, and take the place of --test-set")
    from mtmoe.checkpoint.run_data import run_data
    from mtmoe.report.comparison import differences_of_runs
    from mtmoe.report.run_history import read_histories

    histories, recipes = read_histories(runs), recipes_of(runs)
    if source_path is not None:
        tests = [own_test(source_path, reference_paths, None, recipes)]
    else:
        check_same_tests(runs, None)
        tests = list(recipe_tests(run_data(runs[0]), test_sets))
    tokenisers = [tokeniser_for(test.language, None, recipes) for test in tests]
    translators = {
        history.label: run_system(run, (), checkpoint, (), device) for history, run in zip(histories, runs, strict=True)
    }
    results, lines = [], []
    for test, tokeniser in zip(tests, tokenisers, strict=True):
        translations = {name: translated(test) for name, translated in translators.items()}
        systems = {name: _known(found) for name, found in translations.items()}
        results.append(measured(test, systems, tokeniser, None))
        lines.append(_lines(test, translations, num_lines))
    differing = differences_of_runs(histories)
    if as_json:
        settings = {row[0]: dict(zip(differing.head[1:], row[1:], strict=True)) for row in differing.rows}
        write_json({"differences": settings, "results": results, "lines": _as_data(tests, lines)})
        return
    write_table(("differs", *differing.head[1:]), differing.rows)
    write_data("\n")
    show_table(results)
    _tell_lines(histories, tests, lines)


def _known(lines: Sequence[str]) -> Callable[[TestText], Sequence[str]]:
    return lambda _test: lines


def _lines(test: TestText, translations: dict[str, Sequence[str]], num_lines: int) -> dict[str, list[LineDifference]]:
    """Return the lines in which each other run differs most from the first, by the other's name."""
    from mtmoe.report.comparison import differences_of_lines

    first, *others = translations
    return {
        name: differences_of_lines(test.references[0], translations[first], translations[name], num_lines)
        for name in others
    }


def _as_data(tests: Sequence[TestText], lines: Sequence[dict[str, list[LineDifference]]]) -> list[dict[str, Any]]:
    return [
        {
            "test_set": test.name,
            "system": name,
            "source": test.source[line.number - 1],
            **line._asdict(),
        }
        for test, of_test in zip(tests, lines, strict=True)
        for name, found in of_test.items()
        for line in found
    ]


def _tell_lines(
    histories: Sequence[RunHistory], tests: Sequence[TestText], lines: Sequence[dict[str, list[LineDifference]]]
) -> None:
    columns, first = output_columns(), histories[0].label
    for test, of_test in zip(tests, lines, strict=True):
        for name, found in of_test.items():
            if not found:
                continue
            write_data("\n" + heading(f"{test.name}: where {name} differs most from {first} (chrF2)") + "\n")
            for line in found:
                write_data(folded(f"line {line.number:,}: {line.gain:+.1f}", columns))
                shown = {
                    "source": test.source[line.number - 1],
                    "reference": line.reference,
                    first: line.translations[0],
                    name: line.translations[1],
                }
                for title, text in shown.items():
                    write_data(folded(f"{title}: {text}", columns, 2, 4))
