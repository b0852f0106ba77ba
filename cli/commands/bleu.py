"""``mtmoe bleu``: translation quality on test sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtmoe.errors import UserError
from mtmoe.languages import TOKENISERS, Tokeniser, parse_direction

from ..bleu_results import load_comet_model, measured, read_results, show_table, shown
from ..bleu_texts import (
    check_same_tests,
    own_test,
    public_test,
    read_systems,
    recipe_tests,
    recipes_of,
    run_system,
    tokeniser_for,
    warn_of_language,
)
from ..console import write_json, write_text
from ..lines import STANDARD_INPUT
from ..options import (
    DIRECTORY,
    FILE,
    MODEL,
    checkpoint_option,
    decoding_set_option,
    device_option,
    json_option,
    with_option,
)
from ..robustness import chosen_kinds, show_robustness, with_robustness

if TYPE_CHECKING:
    from mtmoe.inference.requests import Member

_ANOTHER = "--tokeniser char"


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, type=MODEL)
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
    help="Direction of sacreBLEU's test sets, such as en-de or en-zh-CN; of files, what decides the tokeniser.",
)
@click.option(
    "--tokeniser",
    type=click.Choice(TOKENISERS),
    help="sacreBLEU's tokeniser.  [default: that of the recipe or of the target language]",
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
@click.option(
    "--perturb",
    "perturbations",
    metavar="KINDS",
    help="Also as people type it: all, or a list of upper, title, lower, no-punctuation, typos, url, email, emoji, "
    "placeholder, tag and merged, with commas between them; a + makes two in one line (lower+no-punctuation).",
)
@click.option(
    "--perturb-seed",
    type=click.IntRange(0, (1 << 32) - 1),
    help="Draws where and what: the same seed, the same text.  [default: 1]",
)
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
    tokeniser: Tokeniser | None,
    source_path: Path | None,
    reference_paths: tuple[Path, ...],
    hypothesis_paths: tuple[Path, ...],
    result_paths: tuple[Path, ...],
    comet_model: str | None,
    perturbations: str | None,
    perturb_seed: int | None,
    data_dir: Path | None,
    ensemble: tuple[Member, ...],
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Measure BLEU and chrF, with sacreBLEU's signatures.

    Text is detokenised and cased. 95 % intervals are by bootstrap resampling; two or more systems are compared with
    the first by paired bootstrap. The tokeniser of BLEU is that of each test set's target language; of files without
    RUN, -l or --tokeniser it is 13a.

    \b
    mtmoe bleu RUN                                        on the recipe's test sets
    mtmoe bleu RUN RUN                                    compare runs
    mtmoe bleu RUN --with RUN                             an ensemble of runs
    mtmoe bleu RUN --test-set wmt14/full -l en-de         on a test set that sacreBLEU fetches
    mtmoe bleu RUN --source FILE --reference FILE         on other text
    mtmoe bleu RUN --perturb all                          in capitals, with typos, with addresses and tags ...
    mtmoe bleu --hypothesis FILE --reference FILE         of a translation that exists
    mtmoe bleu --results a.json --results b.json          of what was measured before
    """
    public = bool(languages and test_sets)
    _check_usage(
        runs, test_sets, languages, tokeniser, source_path, reference_paths, hypothesis_paths, result_paths,
        comet_model, data_dir,
    )  # fmt: skip
    if (perturbations or perturb_seed is not None) and (len(runs) != 1 or comet_model or not perturbations):
        raise click.UsageError("--perturb KINDS measures one RUN by BLEU and chrF; --perturb-seed belongs to it")
    kinds = chosen_kinds(perturbations)
    if ensemble and len(runs) != 1:
        raise click.UsageError(f"--with makes an ensemble of one RUN and others, but there are {len(runs)} RUNs")
    if result_paths:
        results = read_results(result_paths)
    else:
        recipes = recipes_of(runs)
        if languages is not None:  # before anything is fetched
            tokeniser_for(parse_direction(languages).target, tokeniser, recipes, another=_ANOTHER)
        if public:
            assert languages is not None
            tests = [public_test(name, languages) for name in test_sets]
        elif reference_paths:
            tests = [own_test(source_path, reference_paths, languages, recipes)]
        else:
            from mtmoe.checkpoint.run_data import run_data

            check_same_tests(runs, data_dir)
            tests = list(recipe_tests(data_dir or run_data(runs[0]), test_sets))
        # All that can be missing is missed before hours of translating.
        tokenisers = [tokeniser_for(test.language, tokeniser, recipes, another=_ANOTHER) for test in tests]
        for language in () if tokeniser else dict.fromkeys(test.language for test in tests):
            warn_of_language(language, recipes)
        comet = load_comet_model(comet_model)
        if hypothesis_paths:
            systems = read_systems(hypothesis_paths)
        else:
            systems = {}
            for run in runs:
                name = " + ".join(str(part) for part in (run, *(other.run for other in ensemble)))
                systems[name] = run_system(run, ensemble, checkpoint, overrides, device)
        results = [measured(test, systems, of_test, comet) for test, of_test in zip(tests, tokenisers, strict=True)]
        if kinds:
            seed = 1 if perturb_seed is None else perturb_seed
            results = with_robustness(results, tests, tokenisers, systems, recipes[0].data, kinds, seed)
    if as_json:
        write_json(results)
    elif len(results) == 1 and "systems" not in results[0]:
        write_text(shown(results[0]))
    else:
        show_table(results)
    if not as_json:
        show_robustness(results)


def _check_usage(
    runs: Sequence[Path],
    test_sets: Sequence[str],
    languages: str | None,
    tokeniser: str | None,
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
    given = [*runs, *test_sets, *reference_paths, *hypothesis_paths, languages, tokeniser, source_path, comet_model]
    given += [data_dir]
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
        "the same test set is given twice": len(set(test_sets)) < len(test_sets),
        "the same system is given twice": len(set(names)) < len(names),
        "- is standard input, which can be one of the files alone": _num_standard_input(
            source_path, *reference_paths, *hypothesis_paths, *result_paths
        )
        > 1,
    }
    for complaint, holds in complaints.items():
        if holds:
            raise click.UsageError(complaint)
    try:
        parse_direction(languages or "en-de")
    except UserError as error:
        raise click.UsageError(f"-l is a pair of languages, such as en-de: {error.problem}; {error.fix}") from None


def _num_standard_input(*paths: Path | None) -> int:
    return paths.count(STANDARD_INPUT)
