"""``mtmoe bleu``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mtmoe.errors import UserError

from .console import shown_progress, warn, write_data, write_json, write_table
from .lines import read_aligned, read_lines
from .options import DIRECTORY, FILE, checkpoint_option, decoding_set_option, device_option, json_option, with_option
from .run_data import run_data

if TYPE_CHECKING:
    from mtmoe.inference.quality import Comparison
    from mtmoe.inference.requests import Member


class TestText(NamedTuple):
    """A test set: its source (none, where translations are given) and one or more references."""

    name: str
    source: list[str]
    references: list[list[str]]


Systems = Mapping[str, Callable[[TestText], Sequence[str]]]
"""Name of each system, and how to get its translation of a test set."""

_NUM_SAMPLES = 1000


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, type=DIRECTORY)
@click.option(
    "--test-set",
    "test_sets",
    metavar="NAME",
    multiple=True,
    help="Only this test set of the recipe; with -l one of sacreBLEU's, such as wmt14/full. Can be repeated.",
)
@click.option(
    "-l",
    "--languages",
    metavar="PAIR",
    help="Direction of sacreBLEU's test sets, such as en-de; of files, what decides the tokeniser.",
)
@click.option("--source", "source_path", type=FILE, help="Translate this file, not the recipe's test sets.")
@click.option("--reference", "reference_paths", type=FILE, multiple=True, help="Its translation. Can be repeated.")
@click.option(
    "--hypothesis",
    "hypothesis_paths",
    type=FILE,
    multiple=True,
    help="A translation that exists, in place of RUN. Can be repeated, to compare.",
)
@click.option(
    "--results",
    "result_paths",
    type=FILE,
    multiple=True,
    help="Only show what an earlier --json wrote, in one table. Can be repeated.",
)
@click.option("--comet", "comet_model", metavar="MODEL", help="COMET too, such as Unbabel/wmt22-comet-da.")
@click.option("--data", "data_dir", type=DIRECTORY, help="DATA_DIR with the test sets.  [default: the first run's]")
@with_option
@checkpoint_option
@decoding_set_option
@device_option
@json_option
def bleu(
    runs: tuple[Path, ...],
    test_sets: tuple[str, ...],
    languages: str | None,
    source_path: Path | None,
    reference_paths: tuple[Path, ...],
    hypothesis_paths: tuple[Path, ...],
    result_paths: tuple[Path, ...],
    comet_model: str | None,
    data_dir: Path | None,
    ensemble: tuple[Member, ...],
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Measure BLEU and chrF, with sacreBLEU's signatures.

    Text is detokenised and cased. 95 % intervals are by bootstrap resampling; two or more systems are compared with
    the first by paired bootstrap.

    \b
    mtmoe bleu RUN                                        on the recipe's test sets
    mtmoe bleu RUN RUN                                    compare runs
    mtmoe bleu RUN --with RUN                             an ensemble of runs
    mtmoe bleu RUN --test-set wmt14/full -l en-de         on a test set that sacreBLEU fetches
    mtmoe bleu RUN --source FILE --reference FILE         on other text
    mtmoe bleu --hypothesis FILE --reference FILE         of a translation that exists
    mtmoe bleu --results a.json --results b.json          of what was measured before
    """
    public = bool(languages and test_sets)
    _check_usage(
        runs, test_sets, languages, source_path, reference_paths, hypothesis_paths, result_paths, comet_model, data_dir
    )
    if ensemble and len(runs) != 1:
        raise click.UsageError(f"--with makes an ensemble of one RUN and others, but there are {len(runs)} RUNs")
    if result_paths:
        results = _read_results(result_paths)
    else:
        comet = _comet(comet_model)  # before hours of translating
        if public:
            assert languages is not None
            tests = [_public_test(name, languages) for name in test_sets]
        elif reference_paths:
            tests = [_own_test(source_path, reference_paths)]
        else:
            _check_same_tests(runs, data_dir)
            tests = list(_test_sets(data_dir or run_data(runs[0]), test_sets))
        language = languages.partition("-")[2] if languages else _target_language(runs)
        if hypothesis_paths:
            systems = _read_systems(hypothesis_paths)
        else:
            systems = {}
            for run in runs:
                name = " + ".join(str(part) for part in (run, *(other.run for other in ensemble)))
                systems[name] = _run_system(run, ensemble, checkpoint, overrides, device)
        results = [_measured(test, systems, language, comet) for test in tests]
    if as_json:
        write_json(results)
    elif len(results) == 1 and "systems" not in results[0]:
        write_data(_shown(results[0]))
    else:
        _show_table(results)


def _check_usage(
    runs: Sequence[Path],
    test_sets: Sequence[str],
    languages: str | None,
    source_path: Path | None,
    reference_paths: Sequence[Path],
    hypothesis_paths: Sequence[Path],
    result_paths: Sequence[Path],
    comet_model: str | None,
    data_dir: Path | None,
) -> None:
    names = [str(path) for path in (*runs, *hypothesis_paths)]
    public = bool(languages and test_sets)
    files = bool(reference_paths)
    given = [*runs, *test_sets, *reference_paths, *hypothesis_paths, languages, source_path, comet_model, data_dir]
    complaints = {
        "--results shows what was measured before: nothing else can be measured with it": bool(result_paths)
        and any(given),
        "give a RUN, or --hypothesis and --reference": not runs and not hypothesis_paths and not result_paths,
        "give either a RUN or --hypothesis": bool(runs) and bool(hypothesis_paths),
        "--hypothesis needs --reference": bool(hypothesis_paths) and not files and not public,
        "--source has no meaning with --hypothesis, but for --comet": bool(hypothesis_paths)
        and source_path is not None
        and comet_model is None,
        "--comet reads the source too: give --source": comet_model is not None
        and bool(hypothesis_paths)
        and source_path is None
        and not public,
        "--source and --reference belong together": bool(runs) and (source_path is None) != (not files),
        "--test-set and --data belong to the recipe's test sets, not to --reference": files
        and (bool(test_sets) or data_dir is not None),
        "--data belongs to the recipe's test sets, not to -l": public and data_dir is not None,
        "a translation is of one test set: give one --test-set": bool(hypothesis_paths) and len(test_sets) > 1,
        "-l needs a --test-set of sacreBLEU's, or files": languages is not None and not test_sets and not files,
        "-l is a pair of languages, such as en-de": languages is not None and not all(languages.partition("-")),
        "the same test set is given twice": len(set(test_sets)) < len(test_sets),
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


def _public_test(name: str, languages: str) -> TestText:
    from mtmoe.data.public_test_sets import public_test_set

    found = public_test_set(name, languages)
    source, first = read_aligned(found.source, found.references[0])
    return TestText(name, source, [first, *map(read_lines, found.references[1:])])


def _target_language(runs: Sequence[Path]) -> str:
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


def _test_sets(data_dir: Path, wanted: Sequence[str]) -> Iterator[TestText]:
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


# ------------------------------------------------------------------------------------------------- systems


def _read_systems(paths: Sequence[Path]) -> Systems:
    def system(lines: list[str]) -> Callable[[TestText], Sequence[str]]:
        return lambda test: lines

    return {str(path): system(read_lines(path)) for path in paths}


def _run_system(
    run: Path, ensemble: Sequence[Member], checkpoint: str, overrides: tuple[str, ...], device: str | None
) -> Callable[[TestText], Sequence[str]]:
    from mtmoe.inference.translator import Translator

    translator = Translator(run, device=device, checkpoint=checkpoint, overrides=overrides, ensemble=ensemble)

    def translated(test: TestText) -> Sequence[str]:
        with shown_progress() as progress:
            translations = translator.translate(test.source, progress=progress)
        _warn_once(test.name, ["; ".join(translation.warnings) for translation in translations])
        return [translation.text for translation in translations]

    return translated


# ------------------------------------------------------------------------------------------------- results

Comet = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], float]


def _comet(model_name: str | None) -> tuple[str, Comet] | None:
    if model_name is None:
        return None
    from mtmoe.inference.quality import load_comet

    return model_name, load_comet(model_name)


def _measured(
    test: TestText, systems: Systems, target_language: str, comet: tuple[str, Comet] | None
) -> dict[str, Any]:
    from mtmoe.inference.quality import compare, measure_quality

    translations = {name: translated(test) for name, translated in systems.items()}
    by_comet = {}
    if comet is not None:
        by_comet = {name: {"comet": comet[1](test.source, lines, test.references), "comet_model": comet[0]}
                    for name, lines in translations.items()}  # fmt: skip
    if len(translations) > 1:
        comparison = compare(translations, test.references, num_samples=_NUM_SAMPLES, target_language=target_language)
        _warn_all(comparison.warnings)
        result = {"test_set": test.name, **_comparison_dict(comparison)}
        for system in result["systems"]:
            system |= by_comet.get(system["system"], {})
        return result
    [(name, lines)] = translations.items()
    quality = measure_quality(
        lines, test.references, name=name, num_samples=_NUM_SAMPLES, target_language=target_language
    )
    _warn_all(quality.warnings)
    return {"test_set": test.name, "system": name, **quality._asdict(), **by_comet.get(name, {})}


def _comparison_dict(comparison: Comparison) -> dict[str, Any]:
    systems = [
        {"system": system.name, "bleu": system.bleu._asdict(), "chrf": system.chrf._asdict()}
        for system in comparison.systems
    ]
    return {**comparison._asdict(), "systems": systems}


def _read_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What ``--json`` wrote into each file, if it can be compared.

    Raises:
        UserError: a file is something else, or scores of the same test set have different signatures.
    """
    results = []
    for path in paths:
        try:
            found = json.loads("\n".join(read_lines(path)))
            if not isinstance(found, list):
                raise TypeError
            for result in found:
                list(_rows(result))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{path}: is not what `mtmoe bleu --json` writes", fix="measure again: mtmoe bleu RUN --json"
            ) from None
        results += [(path, result) for result in found]
    _check_comparable(results)
    return [result for _, result in results]


def _check_comparable(results: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    from mtmoe.inference.quality import comparable_signature

    first_of: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path, result in results:
        first_path, first = first_of.setdefault(result["test_set"], (path, result))
        for key in ("bleu_signature", "chrf_signature"):
            here, there = comparable_signature(result[key]), comparable_signature(first[key])
            if here != there:
                raise UserError(
                    f"scores of the test set {result['test_set']} cannot be compared: {path} has {here}, "
                    f"but {first_path} has {there}",
                    fix="measure both with the same version of sacreBLEU and the same references",
                )
        if result["num_sentences"] != first["num_sentences"]:
            raise UserError(
                f"the test set {result['test_set']} has {result['num_sentences']} sentences in {path}, "
                f"but {first['num_sentences']} in {first_path}",
                fix="they are different test sets: compare on the same text",
            )


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
    """One system on one test set."""
    lines = [
        f"{result['test_set']}: {result['num_sentences']:,} sentences",
        f"  BLEU  {result['bleu']:6.2f}   {result['bleu_signature']}",
        f"  chrF2 {result['chrf']:6.2f}   {result['chrf_signature']}",
    ]
    if "comet" in result:
        lines.append(f"  COMET {result['comet']:6.4f}   {result['comet_model']}")
    intervals = f"BLEU +- {result['bleu_interval']:.2f}, chrF2 +- {result['chrf_interval']:.2f}"
    lines.append(f"  95 % intervals by bootstrap: {intervals}")
    return "\n".join(lines) + "\n"


class _Row(NamedTuple):
    """A system on a test set."""

    test_set: str
    system: str
    bleu: float
    bleu_interval: float
    bleu_p: float | None
    chrf: float
    chrf_interval: float
    chrf_p: float | None
    comet: float | None

    def cells(self) -> list[str]:
        def chance(p_value: float | None) -> str:
            return "" if p_value is None else f"p = {p_value:.4f}"

        return [
            self.test_set,
            self.system,
            f"{self.bleu:.2f} +- {self.bleu_interval:.2f}",
            chance(self.bleu_p),
            f"{self.chrf:.2f} +- {self.chrf_interval:.2f}",
            chance(self.chrf_p),
            "" if self.comet is None else f"{self.comet:.4f}",
        ]


def _rows(result: Mapping[str, Any]) -> Iterator[_Row]:
    test_set = result["test_set"]
    for key in ("bleu_signature", "chrf_signature", "num_sentences"):
        result[key]
    if "systems" not in result:
        bleu = (result["bleu"], result["bleu_interval"], None)
        chrf = (result["chrf"], result["chrf_interval"], None)
        yield _Row(test_set, result["system"], *bleu, *chrf, result.get("comet"))
        return
    for system in result["systems"]:
        bleu, chrf = (
            (estimate["score"], estimate["interval"], estimate["p_value"])
            for estimate in (system["bleu"], system["chrf"])
        )
        yield _Row(test_set, system["system"], *bleu, *chrf, system.get("comet"))


def _show_table(results: Sequence[Mapping[str, Any]]) -> None:
    """All systems on all test sets, and what it takes to reproduce the numbers."""
    table = [row.cells() for result in results for row in _rows(result)]
    columns = ["test set", "system", "BLEU", "", "chrF2", "", "COMET"]
    used = [place for place in range(len(columns)) if any(cells[place] for cells in table)]
    write_table([columns[place] for place in used], [[cells[place] for place in used] for cells in table])
    blocks = []
    for result in results:
        against = f", paired bootstrap against {result['systems'][0]['system']}" if "systems" in result else ""
        blocks.append(
            f"{result['test_set']}: {result['num_sentences']:,} sentences{against}\n"
            f"  BLEU:  {result['bleu_signature']}\n"
            f"  chrF2: {result['chrf_signature']}\n"
        )
    write_data("+-: 95 % interval by bootstrap; p: of such a difference by chance\n")
    write_data("".join(dict.fromkeys(blocks)))
