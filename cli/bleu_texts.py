"""What ``mtmoe bleu`` measures: test sets, and the systems that translate them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtmoe.errors import UserError

from .console import shown_progress, warn
from .lines import read_aligned, read_lines
from .run_data import run_data

if TYPE_CHECKING:
    from mtmoe.inference.requests import Member


class TestText(NamedTuple):
    """A test set: its source (none, where translations are given) and one or more references."""

    name: str
    source: list[str]
    references: list[list[str]]


Systems = Mapping[str, Callable[[TestText], Sequence[str]]]
"""Name of each system, and how to get its translation of a test set."""


def own_test(source_path: Path | None, reference_paths: Sequence[Path]) -> TestText:
    if source_path is None:
        return TestText(str(reference_paths[0]), [], [read_lines(path) for path in reference_paths])
    source, *references = read_aligned(source_path, *reference_paths)
    return TestText(str(source_path), source, references)


def public_test(name: str, languages: str) -> TestText:
    from mtmoe.data.public_test_sets import public_test_set

    found = public_test_set(name, languages)
    source, *references = read_aligned(found.source, *found.references)
    return TestText(name, source, references)


def target_language(runs: Sequence[Path]) -> str:
    """That of the runs; the tokeniser depends on it."""
    from mtmoe.checkpoint import load_run_recipe, open_run

    languages = {str(run): load_run_recipe(open_run(run)).data.target_language for run in runs}
    for run, language in languages.items():
        if language != languages[str(runs[0])]:
            raise UserError(
                f"{run} translates into {language!r}, but {runs[0]} into {languages[str(runs[0])]!r}",
                fix="compare runs that translate into the same language",
            )
    return next(iter(languages.values()), "")


def check_same_tests(runs: Sequence[Path], data_dir: Path | None) -> None:
    """What one run holds out another may have trained on: all must have been prepared with the same test sets."""
    from mtmoe.data.prepared import open_prepared

    places = [*([data_dir] if data_dir else []), *(run_data(run) for run in runs if not data_dir or len(runs) > 1)]
    first, *others = [(place, open_prepared(place).test_digests) for place in places]
    for place, digests in others:
        if digests != first[1]:
            raise UserError(
                f"{place} and {first[0]} hold different test sets, and one may be in the training text of the other",
                fix="compare on text that neither was trained on: --source FILE --reference FILE",
            )


def recipe_tests(data_dir: Path, wanted: Sequence[str]) -> Iterator[TestText]:
    from mtmoe.data.prepared import open_prepared

    test_sets = open_prepared(data_dir).test_sets
    for name in wanted:
        if name not in test_sets:
            raise UserError(
                f"{data_dir}: there is no test set {name!r}",
                fix=f"there are: {', '.join(test_sets) or 'none'}; for one of sacreBLEU's add -l, such as -l en-de",
            )
    for name, files in test_sets.items():
        if not wanted or name in wanted:
            yield TestText(name, read_lines(files.source), [read_lines(files.reference)])


def read_systems(paths: Sequence[Path]) -> Systems:
    def system(lines: list[str]) -> Callable[[TestText], Sequence[str]]:
        return lambda test: lines

    return {str(path): system(read_lines(path)) for path in paths}


def run_system(
    run: Path, ensemble: Sequence[Member], checkpoint: str, overrides: tuple[str, ...], device: str | None
) -> Callable[[TestText], Sequence[str]]:
    from mtmoe.inference.translator import Translator

    translator = Translator(run, device=device, checkpoint=checkpoint, overrides=overrides, ensemble=ensemble)

    def translated(test: TestText) -> Sequence[str]:
        with shown_progress() as progress:
            translations = translator.translate(test.source, with_scores=False, progress=progress)
        _warn_once(test.name, ["; ".join(translation.warnings) for translation in translations])
        return [translation.text for translation in translations]

    return translated


def _warn_once(name: str, line_warnings: Sequence[str]) -> None:
    """One warning for all lines of a test set; `mtmoe translate` tells of each line."""
    warned = [(number, text) for number, text in enumerate(line_warnings, start=1) if text]
    if warned:
        number, text = warned[0]
        warn(
            f"{name}: {len(warned)} of {len(line_warnings)} translations with a warning (first: line {number}: {text})"
        )
