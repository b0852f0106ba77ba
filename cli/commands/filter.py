"""``mtmoe filter``: the good pairs of a parallel text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.languages import unknown_codes

from ..console import folded, heading, note, number, output_columns, warn, write_data, write_json
from ..options import DIRECTORY, FILE, MODEL, RealRange, checkpoint_option, devices_of, devices_option, json_option
from ..options import WORKERS as WORKERS_RANGE
from ..translation_display import progress_once_told

if TYPE_CHECKING:
    from mtmoe.config.settings import Cleaning
    from mtmoe.filtering.filter_report import FilterReport

_CLEANING = ("max_characters", "max_length_ratio", "remove_identical_sides", "remove_duplicates")
_MEASURES = ("translation", "coverage", "form", "source-lm", "target-lm")  # not imported, so that --help is instant
_LEAST_SIMILARITY = 0.5
_MOST_PAIRS = 1 << 40
_MOST = 1e9
_INDENT = 2


class _MeasureValue(click.ParamType):
    """MEASURE=NUMBER."""

    name = "measure"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        name, equals, text = str(value).partition("=")
        if not equals or name not in _MEASURES:
            names = ", ".join(_MEASURES)
            self.fail(f"{value!r} is not of the form MEASURE=NUMBER; measures: {names}", parameter, context)
        return name, RealRange(-_MOST, _MOST).convert(text, parameter, context)


@click.command("filter")
@click.argument("paths", metavar="TEXT [TRANSLATION]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=DIRECTORY, help="A new directory for what is kept, and for the report.")
@click.option("--source", default="", metavar="CODE", help="Language of the source side.  [default: as found]")
@click.option("--target", default="", metavar="CODE", help="Language of the target side.  [default: as found]")
@click.option("--forward", metavar="RUN", type=MODEL, help="Score by a run that translates source into target.")
@click.option("--backward", metavar="RUN", type=MODEL, help="Score by a run that translates target into source.")
@click.option(
    "--lexicon", metavar="RUN_OR_DATA", type=DIRECTORY, help="Score by the lexicon of a run or of a data directory."
)
@click.option("--form", "with_form", is_flag=True, help="Score by lengths, numbers and question marks.")
@click.option("--source-lm", metavar="RUN", type=MODEL, help="Score sources by a language model.")
@click.option("--target-lm", metavar="RUN", type=MODEL, help="Score targets by a language model.")
@click.option("--languages", "with_languages", is_flag=True, help="Leave out pairs with a side in another language.")
@click.option("--near-duplicates", is_flag=True, help="Leave out pairs that nearly repeat an earlier pair.")
@click.option(
    "--held-out",
    type=FILE,
    multiple=True,
    help="Leave out pairs with a side that nearly repeats a line of FILE, a dev or test text. Can be repeated.",
)
@click.option(
    "--similarity",
    type=RealRange(_LEAST_SIMILARITY, 1),
    help="What nearly is: the share of three-letter sequences that two texts have in common.  [default: 0.8]",
)
@click.option("--least-score", type=RealRange(-_MOST, _MOST), help="Keep pairs with this score or a better one.")
@click.option("--keep-share", type=RealRange(0, 1), help="Keep this share of the pairs that break no rule, the best.")
@click.option("--keep-pairs", type=click.IntRange(1, _MOST_PAIRS), help="Keep so many pairs at most, the best.")
@click.option(
    "--least",
    "least",
    type=_MeasureValue(),
    multiple=True,
    metavar="MEASURE=NUMBER",
    help="Leave out pairs with less of a measure, such as coverage=0.2. Can be repeated.",
)
@click.option(
    "--weight",
    "weights",
    type=_MeasureValue(),
    multiple=True,
    metavar="MEASURE=NUMBER",
    help="Another weight of a measure in the score. Can be repeated.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "tsv"]),
    default="text",
    show_default=True,
    help="Write kept pairs as two aligned files, or as a table.",
)
@click.option("--scores", "with_scores", is_flag=True, help="Write the scores of all pairs, too.")
@click.option("--resume", is_flag=True, help="Go on with an output that an interrupted command left unfinished.")
@click.option(
    "--workers",
    "num_workers",
    type=WORKERS_RANGE,
    default=1,
    show_default=True,
    help="Processes that measure; the result does not depend on it.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="data.cleaning.KEY=VALUE",
    help="Another value for a rule of cleaning, such as data.cleaning.max_length_ratio=3. Can be repeated.",
)
@checkpoint_option
@devices_option
@json_option
def filter_(
    paths: tuple[Path, ...],
    output: Path,
    source: str,
    target: str,
    forward: Path | None,
    backward: Path | None,
    lexicon: Path | None,
    with_form: bool,
    source_lm: Path | None,
    target_lm: Path | None,
    with_languages: bool,
    near_duplicates: bool,
    held_out: tuple[Path, ...],
    similarity: float | None,
    least_score: float | None,
    keep_share: float | None,
    keep_pairs: int | None,
    least: tuple[tuple[str, float], ...],
    weights: tuple[tuple[str, float], ...],
    output_format: str,
    with_scores: bool,
    resume: bool,
    num_workers: int,
    overrides: tuple[str, ...],
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Keep the good pairs of a parallel text.

    TEXT is a translation memory (TMX), a table with tabs or JSON lines; or two files, TEXT and its TRANSLATION, one
    sentence a line. Pairs that break a rule of cleaning (a side empty or too long, lengths too different, both sides
    the same, a duplicate) are always left out, as `mtmoe preprocess` would.

    \b
    Each pair has measures, the larger the better. Their weighted sum is its score.
    translation   weight 1: mean log-probability of a subword given the other side (--forward or --backward);
                  with both runs dual conditional cross-entropy: their mean, minus how far they are apart
    coverage      weight 3: share of the subwords that have a likely translation on the other side (--lexicon),
                  by the lexicon that `mtmoe preprocess` learned, of either direction
    form          weight 1: -4 to 0, how well lengths, numbers and question marks fit (--form)
    source-lm     weight 0.2: mean log-probability of a subword of the source (--source-lm)
    target-lm     weight 0.2: the same of the target (--target-lm)

    Kept are all pairs, or by --least-score, --keep-share or --keep-pairs the best of them. The report goes to standard
    output: what was left out and why, and examples of each tenth of the scores, the worst first. It is in the
    output, too, beside kept.SOURCE and kept.TARGET (or kept.tsv), scores.tsv (with --scores) and a manifest with
    hashes of everything. Nothing is overwritten.
    """
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} files: name one that holds both languages, or two aligned ones")
    if similarity is not None and not (near_duplicates or held_out):
        raise click.UsageError("--similarity is that of --near-duplicates and --held-out: give one of them")
    for text in unknown_codes(filter(None, (source, target))):
        warn(text)
    from mtmoe.corpus_survey.text_fields import LanguagePair
    from mtmoe.filtering.criteria import DEFAULT_SIMILARITY, Criteria, Selection
    from mtmoe.filtering.filter_corpus import filter_corpus
    from mtmoe.filtering.filter_options import FilterOptions
    from mtmoe.system.process_settings import prepare_for_translation

    criteria = Criteria(
        forward, backward, source_lm, target_lm, lexicon, with_form, with_languages, near_duplicates, held_out,
        DEFAULT_SIMILARITY if similarity is None else similarity, _cleaning(overrides), checkpoint,
    )  # fmt: skip
    selection = Selection(dict(weights), dict(least), least_score, keep_share, keep_pairs)
    _check_usage(criteria.measures, selection._asdict(), is_checkpoint_read=bool(criteria.runs), checkpoint=checkpoint)
    options = FilterOptions(
        paths, output, criteria, selection, LanguagePair(source, target),
        "tsv" if output_format == "tsv" else "text", with_scores, devices_of(device, num_workers), num_workers,
    )  # fmt: skip
    prepare_for_translation()
    with progress_once_told() as progress:
        report = filter_corpus(options, resume=resume, progress=progress, tell=note)
    if report is None:
        return
    if as_json:
        write_json(report.as_data())
    else:
        _tell(report, output)


def _cleaning(overrides: tuple[str, ...]) -> Cleaning:
    from mtmoe.config import load_recipe

    for override in overrides:
        if override.partition("=")[0].strip().removeprefix("data.cleaning.") not in _CLEANING:
            raise click.UsageError(
                f"--set {override} would do nothing: filter reads only "
                + ", ".join(f"data.cleaning.{key}" for key in _CLEANING)
            )
    return load_recipe("demo", overrides).data.cleaning


def _check_usage(
    measures: tuple[str, ...], selection: dict[str, Any], *, is_checkpoint_read: bool, checkpoint: str
) -> None:
    options = {"least_score": "--least-score", "keep_share": "--keep-share", "keep_pairs": "--keep-pairs"}
    given = [option for name, option in options.items() if selection[name] is not None]
    if len(given) > 1:
        raise click.UsageError(f"give one of {' and '.join(given)}")
    if given and not measures:
        raise click.UsageError(
            f"{given[0]} keeps pairs by their score: give what scores them (--forward, --backward, --lexicon, --form, "
            "--source-lm, --target-lm)"
        )
    for option, name in (("--least", "least"), ("--weight", "weights")):
        if unknown := next((measure for measure in selection[name] if measure not in measures), None):
            raise click.UsageError(f"{option} {unknown}=... would do nothing: no option asks for this measure")
    if checkpoint != "best" and not is_checkpoint_read:
        raise click.UsageError("--checkpoint is that of runs: give one")


def _tell(report: FilterReport, output: Path) -> None:
    columns = output_columns()
    share = report.num_kept / report.num_pairs if report.num_pairs else 0.0
    write_data(folded(f"kept {report.num_kept:,} of {report.num_pairs:,} pairs ({share:.1%}), in {output}", columns))
    for line in _counts(report):
        write_data(folded(line, columns, _INDENT, 2 * _INDENT))
    if report.deciles:
        write_data(heading("tenths of the scored pairs, the worst first") + "\n")
    for decile in report.deciles:
        least = f"from {number(decile.least)}: {decile.num_pairs:,} pairs, {decile.num_kept:,} kept"
        write_data(folded(least, columns, _INDENT, 2 * _INDENT))
        for example in decile.examples:
            text = f"{number(example.score)}  {example.source}  |  {example.target}"
            write_data(folded(text, columns, 2 * _INDENT, 4 * _INDENT))


def _counts(report: FilterReport) -> Iterator[str]:
    told = [f"{count:,} {_WORDS[rule]}" for rule, count in report.left_out.items()]
    if told:
        yield f"left out: {', '.join(told)}"
    if report.num_unreadable:
        yield f"could not be read: {report.num_unreadable:,} lines"
    if report.least_score is not None:
        yield f"score of the worst pair that is kept: {number(report.least_score)}"
    for name, found in report.measures.items():
        yield f"{name}: mean {number(found.mean)}, from {number(found.least)} to {number(found.most)}"


_WORDS = {
    "empty_side": "with an empty side",
    "too_long": "too long",
    "length_ratio": "of very different lengths",
    "identical_sides": "untranslated (both sides equal)",
    "duplicate": "duplicates",
    "held_out": "near held-out text",
    "near_duplicate": "near duplicates",
    "other_language": "in another language",
    "not_scored": "without a word to score",
    "below_least": "with too little of a measure",
    "below_score": "with a lower score",
}
"""What the counts are called here."""
