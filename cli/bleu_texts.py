"""Test sets that ``mtmoe bleu`` measures, and the systems that translate them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtmoe.errors import UserError
from mtmoe.languages import Tokeniser, chosen_tokeniser, parse_direction, same_language, unknown_codes

from .console import shown_progress, warn
from .lines import read_aligned, read_lines

if TYPE_CHECKING:
    from mtmoe.config import Recipe
    from mtmoe.config.settings import Data
    from mtmoe.inference.requests import Member


class TestText(NamedTuple):
    """A test set: its source lines, none where translations are given, and one or more references."""

    name: str
    source: list[str]
    references: list[list[str]]
    language: str = ""
    """Code of the language of the references; empty if nothing tells it."""


Systems = Mapping[str, Callable[[TestText], Sequence[str]]]
"""Name of each system, and how to get its translation of a test set."""


def own_test(
    source_path: Path | None, reference_paths: Sequence[Path], languages: str | None, recipes: Sequence[Recipe]
) -> TestText:
    """Read a test set from files, in the language that ``languages`` names, else in that of the recipes."""
    language = parse_direction(languages).target if languages else ""
    if source_path is None:
        return TestText(str(reference_paths[0]), [], [read_lines(path) for path in reference_paths], language)
    source, *references = read_aligned(source_path, *reference_paths)
    if recipes and not language:
        language = text_language(source, recipes[0].data)
    return TestText(str(source_path), source, references, language)


def text_language(source: Sequence[str], data: Data) -> str:
    """Return the language that source lines are translated into; empty if a multilingual model gets several."""
    from mtmoe.inference.text.lines import language_of_line, source_text

    if data.multilingual is None:
        return data.target_language
    languages = {language_of_line(source_text(line, data), data) for line in source if line.strip()}
    return languages.pop() if len(languages) == 1 else ""


def public_test(name: str, languages: str) -> TestText:
    from mtmoe.data.raw.public_test_sets import public_test_set

    found = public_test_set(name, languages)
    source, *references = read_aligned(found.source, *found.references)
    return TestText(name, source, references, parse_direction(languages).target)


def recipes_of(runs: Sequence[Path]) -> list[Recipe]:
    """Return the recipes of runs, which can be compared if all translate into the same language."""
    from mtmoe.checkpoint import open_model

    recipes = [open_model(run).recipe() for run in runs]
    for run, recipe in zip(runs, recipes, strict=True):
        here, there = recipe.data.target_language, recipes[0].data.target_language
        if not same_language(here, there):
            raise UserError(
                f"{run} translates into {here!r}, but {runs[0]} into {there!r}",
                fix="compare runs that translate into the same language",
            )
    return recipes


def tokeniser_for(language: str, named: Tokeniser | None, recipes: Sequence[Recipe], *, another: str = "") -> Tokeniser:
    """Return the tokeniser that was named, else that of the recipes' setting and the language.

    ``another``: as for :func:`mtmoe.evaluation.bleu_tokenisers.check_tokeniser`.

    Raises:
        UserError: it is not installed; the recipes name several.
    """
    from mtmoe.evaluation.bleu_tokenisers import check_tokeniser

    settings = list(dict.fromkeys(recipe.training.validation.bleu_tokeniser for recipe in recipes))
    if named is None and len(settings) > 1:
        raise UserError(
            f"the runs' recipes have training.validation.bleu_tokeniser = {' and '.join(map(repr, settings))}, and "
            "BLEU by several tokenisers cannot be compared",
            fix=f"name one for all: --tokeniser {settings[-1] if settings[0] == 'auto' else settings[0]}",
        )
    if named is None:
        named = chosen_tokeniser(settings[0] if settings else "auto", language)
    check_tokeniser(named, another=another)
    return named


def warn_of_language(language: str, recipes: Sequence[Recipe]) -> None:
    """Warn of a language that is not known, which is measured like most others."""
    if not language and any(recipe.data.multilingual is not None for recipe in recipes):
        warn(
            "the lines do not all begin with the same language token, so BLEU is that of the tokeniser 13a; name the "
            "language with -l, such as -l en-fr, or the tokeniser with --tokeniser"
        )
    for text in unknown_codes([language] if language else []):
        warn(text)


def check_same_tests(runs: Sequence[Path], data_dir: Path | None) -> None:
    """Check that all runs were prepared with the same test sets: what one holds out, another may have trained on."""
    from mtmoe.checkpoint.run_data import run_data
    from mtmoe.data.prepared.data_directory import open_prepared

    places = [*([data_dir] if data_dir else []), *(run_data(run) for run in runs if not data_dir or len(runs) > 1)]
    first, *others = [(place, open_prepared(place).test_digests) for place in places]
    for place, digests in others:
        if digests != first[1]:
            raise UserError(
                f"{place} and {first[0]} hold different test sets, and one may be in the training text of the other",
                fix="compare on text that neither was trained on: --source FILE --reference FILE",
            )


def recipe_tests(data_dir: Path, wanted: Sequence[str]) -> Iterator[TestText]:
    from mtmoe.data.prepared.data_directory import open_prepared

    prepared = open_prepared(data_dir)
    test_sets = prepared.test_sets
    for name in wanted:
        if name not in test_sets:
            raise UserError(
                f"{data_dir}: there is no test set {name!r}",
                fix=f"there are: {', '.join(test_sets) or 'none'}; for one of sacreBLEU's add -l, such as -l en-de",
            )
    for name, files in test_sets.items():
        if not wanted or name in wanted:
            language = prepared.target_language("test", name)
            yield TestText(name, read_lines(files.source), [read_lines(files.reference)], language)


def read_systems(paths: Sequence[Path]) -> Systems:
    def system(lines: list[str]) -> Callable[[TestText], Sequence[str]]:
        return lambda test: lines

    return {str(path): system(read_lines(path)) for path in paths}


def run_system(
    run: Path, ensemble: Sequence[Member], checkpoint: str, overrides: tuple[str, ...], device: str | None
) -> Callable[[TestText], Sequence[str]]:
    from mtmoe.inference.translator import Translator
    from mtmoe.system.process_settings import prepare_for_translation

    prepare_for_translation()
    translator = Translator(run, device=device, checkpoint=checkpoint, overrides=overrides, ensemble=ensemble)

    def translated(test: TestText) -> Sequence[str]:
        with shown_progress() as progress:
            translations = translator.translate(test.source, with_scores=False, progress=progress)
        _warn_once(test.name, ["; ".join(translation.warnings) for translation in translations])
        return [translation.text for translation in translations]

    return translated


def _warn_once(name: str, line_warnings: Sequence[str]) -> None:
    """Warn once for all lines of a test set; `mtmoe translate` warns of each line."""
    warned = [(number, text) for number, text in enumerate(line_warnings, start=1) if text]
    if warned:
        number, text = warned[0]
        warn(
            f"{name}: {len(warned)} of {len(line_warnings)} translations with a warning (first: line {number}: {text})"
        )
