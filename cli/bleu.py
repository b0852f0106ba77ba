"""``mtmoe bleu``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mtmoe.errors import UserError

from .console import shown_progress, warn, write_data, write_json
from .lines import read_aligned, read_lines
from .options import DIRECTORY, FILE, checkpoint_option, decoding_set_option, device_option, json_option
from .run_data import run_data

if TYPE_CHECKING:
    from mtmoe.inference.quality import Comparison, Estimate


class TestText(NamedTuple):
    """A test set: its source (none, where translations are given) and one or more references."""

    name: str
    source: list[str]
    references: list[list[str]]


Systems = Mapping[str, Callable[[TestText], Sequence[str]]]
"""Name of each system, and how to get its translation of a test set."""


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, type=DIRECTORY)
@click.option("--test-set", "test_set", metavar="NAME", help="Only this test set of the recipe.")
@click.option("--source", "source_path", type=FILE, help="Translate this file, not the recipe's test sets.")
@click.option("--reference", "reference_paths", type=FILE, multiple=True, help="Its translation. Can be repeated.")
@click.option(
    "--hypothesis",
    "hypothesis_paths",
    type=FILE,
    multiple=True,
    help="A translation that exists, in place of RUN. Can be repeated, to compare.",
)
@click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR with the test sets.  [default: the first run's]")
@checkpoint_option
@decoding_set_option
@device_option
@json_option
def bleu(
    runs: tuple[Path, ...],
    test_set: str | None,
    source_path: Path | None,
    reference_paths: tuple[Path, ...],
    hypothesis_paths: tuple[Path, ...],
    data_dir: Path | None,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Measure BLEU and chrF, with sacreBLEU's signatures.

    Text is detokenised and cased.

    \b
    mtmoe bleu RUN                                        on the recipe's test sets
    mtmoe bleu RUN RUN                                    compare runs, by paired bootstrap
    mtmoe bleu RUN --source FILE --reference FILE         on other text
    mtmoe bleu --hypothesis FILE --reference FILE         of a translation that exists
    """
    _check_usage(runs, test_set, source_path, reference_paths, hypothesis_paths, data_dir)
    if source_path or hypothesis_paths:
        tests = [_own_test(source_path, reference_paths)]
    else:
        _check_same_tests(runs, data_dir)
        tests = list(_test_sets(data_dir or run_data(runs[0]), test_set))
    if hypothesis_paths:
        systems = _read_systems(hypothesis_paths)
    else:
        systems = {str(run): _run_system(run, checkpoint, overrides, device) for run in runs}
    results = [_measured(test, systems) for test in tests]
    if as_json:
        write_json(results)
    else:
        write_data("\n".join(_shown(result) for result in results))


def _check_usage(
    runs: Sequence[Path],
    test_set: str | None,
    source_path: Path | None,
    reference_paths: Sequence[Path],
    hypothesis_paths: Sequence[Path],
    data_dir: Path | None,
) -> None:
    names = [str(path) for path in (*runs, *hypothesis_paths)]
    complaints = {
        "give a RUN, or --hypothesis and --reference": not runs and not hypothesis_paths,
        "give either a RUN or --hypothesis": bool(runs) and bool(hypothesis_paths),
        "--hypothesis needs --reference": bool(hypothesis_paths) and not reference_paths,
        "--source has no meaning with --hypothesis": bool(hypothesis_paths) and source_path is not None,
        "--source and --reference belong together": bool(runs) and (source_path is None) != (not reference_paths),
        "--test-set and --data belong to the recipe's test sets, not to --reference": bool(reference_paths)
        and (test_set is not None or data_dir is not None),
        "the same system is given twice": len(set(names)) < len(names),
    }
    for complaint, holds in complaints.items():
        if holds:
            raise click.UsageError(complaint)


# ----------------------------------------------------------------------------------------------- test sets


def _own_test(source_path: Path | None, reference_paths: Sequence[Path]) -> TestText:
    if source_path is None:
        return TestText(str(reference_paths[0]), [], [read_lines(path) for path in reference_paths])
    source, first = read_aligned(source_path, reference_paths[0])
    return TestText(str(source_path), source, [first, *map(read_lines, reference_paths[1:])])


def _check_same_tests(runs: Sequence[Path], data_dir: Path | None) -> None:
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


def _test_sets(data_dir: Path, wanted: str | None) -> Iterator[TestText]:
    from mtmoe.data.prepared import open_prepared

    test_sets = open_prepared(data_dir).test_sets
    if wanted is not None and wanted not in test_sets:
        raise UserError(
            f"{data_dir}: there is no test set {wanted!r}", fix=f"there are: {', '.join(test_sets) or 'none'}"
        )
    for name, files in test_sets.items():
        if wanted in (None, name):
            yield TestText(name, read_lines(files.source), [read_lines(files.reference)])


# ------------------------------------------------------------------------------------------------- systems


def _read_systems(paths: Sequence[Path]) -> Systems:
    def system(lines: list[str]) -> Callable[[TestText], Sequence[str]]:
        return lambda test: lines

    return {str(path): system(read_lines(path)) for path in paths}


def _run_system(
    run: Path, checkpoint: str, overrides: tuple[str, ...], device: str | None
) -> Callable[[TestText], Sequence[str]]:
    from mtmoe.inference.translator import Translator

    translator = Translator(run, device=device, checkpoint=checkpoint, overrides=overrides)

    def translated(test: TestText) -> Sequence[str]:
        with shown_progress() as progress:
            translations = translator.translate(test.source, progress=progress)
        _warn_once(test.name, ["; ".join(translation.warnings) for translation in translations])
        return [translation.text for translation in translations]

    return translated


# ------------------------------------------------------------------------------------------------- results


def _measured(test: TestText, systems: Systems) -> dict[str, Any]:
    from mtmoe.inference.quality import compare, measure_quality

    translations = {name: translated(test) for name, translated in systems.items()}
    if len(translations) > 1:
        comparison = compare(translations, test.references)
        _warn_all(comparison.warnings)
        return {"test_set": test.name, **_comparison_dict(comparison)}
    [(name, lines)] = translations.items()
    quality = measure_quality(lines, test.references, name=name)
    _warn_all(quality.warnings)
    return {"test_set": test.name, "system": name, **quality._asdict()}


def _comparison_dict(comparison: Comparison) -> dict[str, Any]:
    def estimate_dict(estimate: Estimate) -> dict[str, Any]:
        return estimate._asdict()

    systems = [
        {"system": system.name, "bleu": estimate_dict(system.bleu), "chrf": estimate_dict(system.chrf)}
        for system in comparison.systems
    ]
    return {**comparison._asdict(), "systems": systems}


def _warn_once(name: str, line_warnings: Sequence[str]) -> None:
    """One warning for all lines of a test set; `mtmoe translate` tells of each line."""
    warned = [(number, text) for number, text in enumerate(line_warnings, start=1) if text]
    if warned:
        number, text = warned[0]
        warn(
            f"{name}: {len(warned)} of {len(line_warnings)} translations with a warning (first: line {number}: {text})"
        )


def _warn_all(warnings: Sequence[str]) -> None:
    for text in warnings:
        warn(text)


def _shown(result: Mapping[str, Any]) -> str:
    if "systems" not in result:
        return (
            f"{result['test_set']}: {result['num_sentences']:,} sentences\n"
            f"  BLEU  {result['bleu']:6.2f}   {result['bleu_signature']}\n"
            f"  chrF2 {result['chrf']:6.2f}   {result['chrf_signature']}\n"
        )
    first = result["systems"][0]["system"]
    lines = [f"{result['test_set']}: {result['num_sentences']:,} sentences, paired bootstrap against {first}"]
    for system in result["systems"]:
        lines.append(f"  {system['system']}")
        lines += [f"    BLEU  {_shown_estimate(system['bleu'])}", f"    chrF2 {_shown_estimate(system['chrf'])}"]
    lines += [f"  BLEU:  {result['bleu_signature']}", f"  chrF2: {result['chrf_signature']}"]
    return "\n".join(lines) + "\n"


def _shown_estimate(estimate: Mapping[str, Any]) -> str:
    chance = "" if estimate["p_value"] is None else f", p = {estimate['p_value']:.4f}"
    return f"{estimate['score']:6.2f} (95 %: {estimate['mean']:.2f} +- {estimate['interval']:.2f}{chance})"
