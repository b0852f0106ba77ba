"""Filter a corpus: all pairs are measured, then the good ones are written.

The output is a directory::

    OUT/kept.en, OUT/kept.de    the pairs that are kept (or kept.tsv), in normal form and in their order
    OUT/scores.tsv              every pair: its number, score, what became of it, its measures (if asked for)
    OUT/report.json             what was left out, and examples (`filter_report.py`)
    OUT/manifest.json           hashes of text, runs and outputs, and the settings; written last
    OUT/measured, .measured.*   until it is complete: the measures, and the journal to go on with

Text is read three times, a bounded number of pairs at a time: to count it and to hear of its faults before any work, to
measure it, and to write what is kept. The second reading takes long. It is gone on with after a stop; what earlier
pairs teach of duplicates is then learned from the text again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mtmoe
from mtmoe.corpus_survey.corpus_languages import decide_languages
from mtmoe.corpus_survey.corpus_location import Corpus, locate
from mtmoe.corpus_survey.survey import corpus_pairs, first_pairs
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.raw.sentence_pairs import BadLine, Pair
from mtmoe.errors import UserError
from mtmoe.filtering.filter_options import FilterOptions, file_digest, measures_identity, selection_identity
from mtmoe.filtering.filter_report import FilterReport, ReportWriter
from mtmoe.filtering.measuring_workers import measured_chunks
from mtmoe.filtering.pair_rules import PairRules
from mtmoe.filtering.selecting import Decision, MeasuredText, measured_line
from mtmoe.inference.files.resumable_output import InputFile, PartialOutput, ResumableOutput
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_directory import check_writable
from mtmoe.system.atomic_files import hidden_beside, make_directory, opened_atomically, write_atomically
from mtmoe.system.json_files import JsonRecord, read_json

MANIFEST, REPORT, SCORES = "manifest.json", "report.json", "scores.tsv"
_MEASURED = "measured"
_FORMAT_VERSION = 1
CHUNK_PAIRS = 1024
_PAIRS_PER_CALL = 10_000

Tell = Callable[[str], None]


class _Text(NamedTuple):
    """The text, its languages, and what a first reading has found."""

    corpus: Corpus
    languages: LanguagePair
    inputs: Sequence[InputFile]
    num_pairs: int
    num_unreadable: int

    def pairs(self) -> Iterator[Pair]:
        return corpus_pairs(self.corpus, self.languages)


def filter_corpus(
    options: FilterOptions,
    *,
    resume: bool = False,
    progress: Progress = silent,
    tell: Tell = lambda text: None,
) -> FilterReport | None:
    """Filter a corpus into a new directory.

    Args:
        resume: go on where an earlier call with the same options stopped.
        tell: hears of what a person should know.

    Returns:
        What was done; None if an earlier call had done all of it.

    Raises:
        UserError: the text or a run cannot be read; the output is there already, or was begun with other options.
        ValueError: as `FilterOptions.check`.
    """
    options.check()
    _check_output(options.output, resume=resume)
    text = _read_once(options, progress)
    identity = measures_identity(options.criteria, text.corpus, text.languages)
    manifest = _manifest(identity, options, text)
    is_complete = (options.output / MANIFEST).exists()
    if is_complete:
        _check_is_same(options.output / MANIFEST, manifest)
    rules = PairRules(options.criteria)
    make_directory(options.output)
    measured = ResumableOutput(
        options.output / _MEASURED, identity, text.inputs, work="filter", afresh="name another --output"
    )
    if is_complete:
        tell(f"{options.output}: complete already")
        _remove_measured(options.output, measured)
        return None
    with measured.opened(resume=resume) as partial:
        if partial is not None:
            _measure(options, text, rules, partial, progress, tell)
    with measured.opened(resume=True):  # which holds the lock
        report = _select(options, text, manifest, progress)
    _remove_measured(options.output, measured)
    return report


def _remove_measured(output: Path, measured: ResumableOutput) -> None:
    measured.remove_journal()
    (output / _MEASURED).unlink(missing_ok=True)


def _check_output(output: Path, *, resume: bool) -> None:
    """Raise a UserError where the output is something else than a new directory, or one to go on with."""
    check_writable(output)
    is_begun = hidden_beside(output / _MEASURED, "journal").exists()
    is_complete = (output / MANIFEST).exists()
    is_there = output.is_dir() and any(output.iterdir())
    if not is_there or (resume and (is_begun or is_complete)):
        return
    if resume:
        raise UserError(f"{output}: holds no unfinished filter to go on with", fix="name another --output")
    fix = "name another --output"
    if is_begun and not is_complete:
        fix += ", or add --resume to go on with it"
    raise UserError(f"{output}: is there already, and filter overwrites nothing", fix=fix)


def _read_once(options: FilterOptions, progress: Progress) -> _Text:
    """Find format and languages, and read all pairs: faults that show only at the end are told before any work."""
    where = " and ".join(map(str, options.paths))
    corpus = locate(options.paths, options.asked)
    if corpus.format == "huggingface":
        raise UserError(
            f"{where}: is a directory; filter reads files", fix="write its pairs to a file of JSON lines first"
        )
    languages = decide_languages(corpus, first_pairs(corpus), options.asked, where)
    bad_lines = 0

    def count(_bad_line: BadLine) -> None:
        nonlocal bad_lines
        bad_lines += 1

    num_pairs = 0
    for _ in corpus_pairs(corpus, languages, count):
        num_pairs += 1
        if num_pairs % _PAIRS_PER_CALL == 0:
            progress("read", num_pairs, None, "pairs")
    progress("read", num_pairs, num_pairs, "pairs")
    inputs = [InputFile(str(path), num_pairs, file_digest(path)) for path in options.paths]
    return _Text(corpus, languages, inputs, num_pairs, bad_lines)


def _measure(
    options: FilterOptions, text: _Text, rules: PairRules, output: PartialOutput, progress: Progress, tell: Tell
) -> None:
    """Measure the pairs that are not measured yet."""
    checked = rules.checked(text.pairs())
    num_before = output.num_lines_done
    if num_before:
        tell(f"{options.output}: going on after pair {num_before:,} of {text.num_pairs:,}")
    for number, _ in enumerate(itertools.islice(checked, num_before), start=1):
        if number % _PAIRS_PER_CALL == 0 or number == num_before:
            progress("read again", number, num_before, "pairs")
    chunks = iter(lambda: list(itertools.islice(checked, CHUNK_PAIRS)), [])
    try:
        devices, num_workers = options.devices, options.num_workers
        measured = measured_chunks(
            chunks, options.criteria, text.languages, devices, num_workers, num_before=num_before, warn=tell
        )
        for found in measured:
            output.write("".join(map(measured_line, found)), len(found))
            progress("measure", output.num_lines_done, text.num_pairs, "pairs")
    except BaseException:
        tell(
            f"{options.output}: stopped after pair {output.num_lines_done:,} of {text.num_pairs:,}; what is measured "
            "is saved; to go on, add --resume to the same command"
        )
        raise
    progress("measure", text.num_pairs, text.num_pairs, "pairs")
    output.finish()


def _select(options: FilterOptions, text: _Text, manifest: dict[str, Any], progress: Progress) -> FilterReport:
    """Write what is kept, the report, and at last the manifest."""
    measures = options.criteria.measures
    measured = MeasuredText(options.output / _MEASURED, measures, options.selection)
    report_writer = ReportWriter(measures, measured.deciles())
    with _opened_outputs(options, text.languages) as outputs:
        pairs = (Pair(*map(normalise_line, pair)) for pair in text.pairs())
        decisions = measured.decisions(measured.border())
        number = 0
        for number, (pair, decision) in enumerate(zip(pairs, decisions, strict=False), start=1):
            report_writer.add(pair, decision)
            for output in outputs:
                output.write(number, pair, decision)
            if number % _PAIRS_PER_CALL == 0 or number == text.num_pairs:
                progress("write", number, text.num_pairs, "pairs")
        if number != text.num_pairs:
            raise UserError(
                f"{text.inputs[0].path}: has changed: {number:,} pairs, and {text.num_pairs:,} before",
                fix="filter it anew, with another --output",
            )
    report = report_writer.report(text.num_unreadable)
    write_atomically(options.output / REPORT, _json(report.as_data()))
    told = {output.name: {"num_lines": output.num_lines, "sha256": output.sha256} for output in outputs}
    write_atomically(options.output / MANIFEST, _json({**manifest, "outputs": told}))
    return report


class _Output:
    """A file of the output: which lines a pair has in it."""

    def __init__(
        self, name: str, write: Callable[[bytes], Any], line: Callable[[int, Pair, Decision], str], head: str = ""
    ) -> None:
        """``line``: empty for a pair that has none here."""
        self.name, self.num_lines = name, 0
        self._write, self._line = write, line
        self._digest = hashlib.sha256()
        if head:
            self._put(head)

    def write(self, number: int, pair: Pair, decision: Decision) -> None:
        """Write a pair's line, if it has one."""
        if line := self._line(number, pair, decision):
            self._put(line)

    def _put(self, line: str) -> None:
        content = (line + "\n").encode("utf-8")
        self._write(content)
        self._digest.update(content)
        self.num_lines += 1

    @property
    def sha256(self) -> str:
        """Return the hash of what was written."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def _opened_outputs(options: FilterOptions, languages: LanguagePair) -> Iterator[list[_Output]]:
    """Yield the outputs, which get their names when the block ends well."""

    def side(place: int) -> Callable[[int, Pair, Decision], str]:
        return lambda number, pair, decision: "" if decision.broken else pair[place]

    def table(number: int, pair: Pair, decision: Decision) -> str:
        scores = [f"{decision.score:.6g}"] if options.with_scores else []
        return "" if decision.broken else "\t".join((*pair, *scores))

    def scores(number: int, pair: Pair, decision: Decision) -> str:
        score = f"{decision.score:.6g}" if decision.is_scored else ""
        values = [f"{value:.6g}" for value in decision.values] or [""] * len(options.criteria.measures)
        return "\t".join((str(number), score, decision.broken or "kept", *values))

    lines: dict[str, Callable[[int, Pair, Decision], str]] = {"kept.tsv": table}
    if options.output_format == "text":
        lines = {f"kept.{code}": side(place) for place, code in enumerate(languages)}
    heads = {}
    if options.with_scores:
        lines[SCORES] = scores
        heads[SCORES] = "\t".join(("pair", "score", "decision", *options.criteria.measures))
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(opened_atomically(options.output / name)) for name in lines}
        yield [_Output(name, files[name].write, line, heads.get(name, "")) for name, line in lines.items()]


class _Manifest(JsonRecord):
    """What of a manifest is compared: the whole of it, as it stands there."""

    options: dict[str, Any]


def _manifest(identity: dict[str, Any], options: FilterOptions, text: _Text) -> dict[str, Any]:
    """Return the manifest without the outputs."""
    return {
        "format_version": _FORMAT_VERSION,
        "mtmoe": mtmoe.__version__,
        "text": [{"file": file.path, "num_pairs": file.num_lines, "blake2b": file.digest} for file in text.inputs],
        "runs": {name: str(run) for name, run in options.criteria.runs.items()},
        "options": {
            **identity,
            "text": [file.digest for file in text.inputs],
            "selection": selection_identity(options),
        },
    }


def _check_is_same(path: Path, manifest: dict[str, Any]) -> None:
    """Raise a UserError where a complete output is of other text or options."""
    found = read_json(path, _Manifest, fix="name another --output", format_version=_FORMAT_VERSION)
    if found.options != json.loads(_json(manifest))["options"]:
        raise UserError(
            f"{path.parent}: is complete already, of other text or with other options",
            fix="give the same command as before, or another --output",
        )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
