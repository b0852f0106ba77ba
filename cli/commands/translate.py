"""``mtmoe translate``: translations of standard input or files."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtmoe.documents.document_jobs import DocumentWishes, SourceDocument
from mtmoe.documents.registry import DOCUMENT_FORMATS, read_document
from mtmoe.errors import UserError
from mtmoe.inference.files.line_formats import LINE_FORMATS, FormatOptions
from mtmoe.inference.files.translate_files import check_read_again, output_conflict, plain_name, translate_files
from mtmoe.inference.files.translate_stream import translate_stream
from mtmoe.inference.files.translation_options import TranslationOptions
from mtmoe.system.atomic_files import is_special
from mtmoe.system.process_settings import prepare_for_translation

from ..console import note
from ..document_translation import (
    document_options,
    document_wishes,
    documents_among,
    translate_as_documents,
    translate_one_document,
)
from ..lines import STANDARD_INPUT, STANDARD_OUTPUT, opened_output, write_whole
from ..options import (
    BEAM,
    COLUMN,
    DIRECTORY,
    FILE,
    MODEL,
    RealRange,
    checkpoint_option,
    decoding_set_option,
    devices_of,
    devices_option,
    model_argument,
    translators_option,
    with_option,
)
from ..translation_display import TranslationNotes, progress_once_told

if TYPE_CHECKING:
    from mtmoe.documents.document import DocumentPart
    from mtmoe.inference.constraints.terminology import Terminology
    from mtmoe.inference.requests import Member


@click.command()
@model_argument
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option(
    "--format",
    "format_name",
    type=click.Choice([*LINE_FORMATS, *DOCUMENT_FORMATS]),
    help="Format, in and out: of lines, or of documents.  [default: that of FILE's name or content, else text]",
)
@click.option("--column", type=COLUMN, help="Column of the source, from 1, in --format tsv.  [default: 1; in csv all]")
@click.option(
    "--prefix-column",
    type=COLUMN,
    help="Column of how the translation must begin, from 1, in --format tsv.",
)
@click.option("--nbest", "num_best", type=BEAM, help="Write the N best translations of each line.")
@click.option("--scores", "with_scores", is_flag=True, help="Write score and log-probability before a translation.")
@click.option("--alignment", "with_alignment", is_flag=True, help="Write which word comes from which (0-0 2-1).")
@click.option("--beam", "beam_size", type=BEAM, help="Beam size.  [default: the recipe's]")
@click.option(
    "--terms",
    "terms_path",
    type=FILE,
    help="TSV file of terms: where a line has the first column, its translation has the second.",
)
@click.option("--lm", "language_model", metavar="RUN", type=MODEL, help="A language model that searches along.")
@click.option(
    "--lm-weight",
    type=RealRange(0, 10, min_open=True),
    help="Its weight.  [default: decoding.language_model.weight]",
)
@click.option("--rerank-lm", metavar="RUN", type=MODEL, help="A language model that chooses among candidates.")
@click.option("--rerank-channel", metavar="RUN", type=MODEL, help="A model of the other direction that does too.")
@click.option("--input", "input_paths", metavar="FILE", multiple=True, help="Another FILE. Can be repeated.")
@click.option("--output", "output_path", type=FILE, help="Write this file instead of standard output.")
@click.option("--output-dir", type=DIRECTORY, help="Write a file of the same name in this directory for each FILE.")
@document_options
@click.option("--resume", is_flag=True, help="Go on with an output that an interrupted command left unfinished.")
@translators_option
@with_option
@checkpoint_option
@decoding_set_option
@devices_option
def translate(
    run: Path,
    files: tuple[str, ...],
    format_name: str | None,
    column: int | None,
    prefix_column: int | None,
    num_best: int | None,
    with_scores: bool,
    with_alignment: bool,
    beam_size: int | None,
    terms_path: Path | None,
    language_model: Path | None,
    lm_weight: float | None,
    rerank_lm: Path | None,
    rerank_channel: Path | None,
    input_paths: tuple[str, ...],
    output_path: Path | None,
    output_dir: Path | None,
    document_parts: tuple[DocumentPart, ...] | None,
    retranslate: bool,
    memory_path: Path | None,
    direction: str | None,
    resume: bool,
    num_workers: int,
    ensemble: tuple[Member, ...],
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
) -> None:
    """Translate standard input or files: one line out per line in.

    FILE can be compressed, a pattern such as 'news/*.en', or - for standard input. The order is kept, an empty line
    stays empty. Documents keep their form (below).

    \b
    text    a line has columns with tabs between: the number of the input line (with --nbest), score and
            log-probability (with --scores or --nbest), translation, alignment (with --alignment)
    tsv     the columns of the input line, and then the same without the number
    json    an object with "text" and, if you like, "prefix" (how the translation must begin) and "phrases" (a
            list of what it must have); the answer has all fields of the object, translation, score,
            log_probability, tokens, token_log_probabilities, warnings, confidence (after `mtmoe calibrate`),
            corrections (typing errors of the line: written, read_as), alignment (with --alignment), terms (with
            --terms: source, target, applied) and alternatives (with --nbest)

    Documents (report.docx, page.html, text.xliff ...) are translated sentence by sentence. Bold text, links and the
    like go to the words that come from those they were on; what is no text stays as it is, byte for byte.

    A term of --terms is found as whole words (in languages without spaces anywhere), in any case if it is written
    without capitals, else only as it is written; the longest counts. Its translation stands as it is written and as
    whole words, too, in every line that has the term; so do "phrases". With --set decoding.soft_terms=0.5 it is
    copied, that likely, where the model attends to the term, and left out where it does not fit.

    Score and log-probability are natural logarithms, the latter what `mtmoe score` gives for a translation. With
    --lm, --rerank-lm or --rerank-channel, the weighted logarithms of these models are added to it before the score
    divides by the length; json has them as score_parts. The candidates of reranking are those of the beam
    (decoding.reranking has their number and the weights).

    Bytes that are not UTF-8 are replaced, with a warning. A line that is no JSON object or has too few columns has
    an empty translation, and at the end the exit status is 1.
    """
    inputs = [path for pattern in (*files, *input_paths) for path in _matching(pattern)]
    if STANDARD_INPUT in inputs:
        if len(inputs) > 1:
            raise click.UsageError("- is standard input, which is translated alone: give no other FILE with it")
        inputs = []
    if output_path == STANDARD_OUTPUT:
        output_path = None
    devices = devices_of(device, num_workers)
    documents = documents_among(inputs, format_name)
    is_document = bool(documents) or format_name in DOCUMENT_FORMATS
    wishes = document_wishes(
        document_parts, memory_path, direction, column, retranslate=retranslate, is_document=is_document
    )
    format_name = format_name or (documents[0].format.name if documents else "text")
    if with_scores and format_name == "json":
        raise click.UsageError("--scores has no meaning with --format json: scores are always in it")
    if prefix_column is not None and format_name != "tsv":
        raise click.UsageError(f"--prefix-column belongs to --format tsv, not to --format {format_name}")
    _check_usage(inputs, format_name, column, output_path, output_dir, resume)
    if beam_size is not None:
        overrides = (*overrides, f"decoding.beam_size={beam_size}")
    if lm_weight is not None:
        if language_model is None:
            raise click.UsageError("--lm-weight is the weight of a language model: give --lm")
        overrides = (*overrides, f"decoding.language_model.weight={lm_weight}")
    if is_document:
        if num_best is not None or with_scores or with_alignment:
            raise click.UsageError(f"--nbest, --scores and --alignment belong to lines, not to --format {format_name}")
        line_format = LINE_FORMATS["text"]()
    else:
        line_format = LINE_FORMATS[format_name](
            FormatOptions(with_scores, with_alignment, terms_path is not None, num_best, column, prefix_column)
        )
    from mtmoe.data.raw.lines import is_open_pipe
    from mtmoe.inference.scoring.rescoring import RescoringRuns

    others = RescoringRuns(*(str(path) if path else "" for path in (language_model, rerank_lm, rerank_channel)))
    options = TranslationOptions(
        run, line_format, checkpoint, overrides, devices, num_workers, others, ensemble, _read_terms(terms_path)
    )
    notes = TranslationNotes()
    prepare_for_translation()
    if output_dir or resume:
        check_read_again(inputs)
    to_file = output_path is not None and not is_special(output_path)
    if is_document and documents and (output_dir or to_file):
        done = translate_as_documents(options, documents, output_path, output_dir, wishes, resume=resume)
    elif is_document:
        _translate_document_to_stream(options, documents, format_name, output_path, wishes)
        return
    elif inputs and (output_dir or to_file) and not any(map(is_open_pipe, inputs)):
        with progress_once_told() as progress:
            done = translate_files(
                options, inputs, output_path, output_dir=output_dir, resume=resume, progress=progress, listener=notes
            )
    else:
        with progress_once_told(beside_output=output_path is None) as progress:
            done = translate_stream(
                options, inputs or [sys.stdin.buffer], opened_output(output_path), progress=progress, listener=notes
            )
    if suspicious := done.suspicious_lines():
        note(suspicious)
    done.raise_unreadable()


def _translate_document_to_stream(
    options: TranslationOptions,
    documents: Sequence[SourceDocument],
    format_name: str,
    output_path: Path | None,
    wishes: DocumentWishes,
) -> None:
    """Translate one document, from a file or standard input, to a device or standard output."""
    source = documents[0] if documents else SourceDocument(Path("standard input"), DOCUMENT_FORMATS[format_name])
    content = read_document(source.path) if documents else sys.stdin.buffer.read()
    translated = translate_one_document(options, content, source, wishes)
    write_whole(output_path, translated)


def _read_terms(path: Path | None) -> Terminology | None:
    from mtmoe.inference.constraints.terminology import read_terms

    return None if path is None else read_terms(path)


def _matching(pattern: str) -> list[Path]:
    """Return the file of that name, or the files that match the pattern, in alphabetical order."""
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        return [Path(pattern)]
    found = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())
    if not found:
        raise UserError(f"{pattern}: no file matches", fix="check the pattern; * does not match a leading dot")
    return found


def _check_usage(
    inputs: Sequence[Path],
    format_name: str,
    column: int | None,
    output_path: Path | None,
    output_dir: Path | None,
    resume: bool,
) -> None:
    conflict = output_conflict(inputs, output_path, output_dir)
    if format_name in DOCUMENT_FORMATS and len(inputs) > 1 and not output_dir:
        raise click.UsageError("several documents need --output-dir")
    compressed = output_path.suffix if output_path and plain_name(output_path) != output_path.name else ""
    complaints = {
        f"--column belongs to --format tsv, not to --format {format_name}": column is not None
        and format_name not in ("tsv", "csv"),
        "give either --output or --output-dir": output_path is not None and output_dir is not None,
        "--output-dir needs a FILE to translate": output_dir is not None and not inputs,
        "--resume needs a FILE to translate, and --output or --output-dir": resume
        and not (inputs and (output_path or output_dir)),
        f"--resume needs an output that is a file, and {output_path} is none": resume
        and output_path is not None
        and is_special(output_path),
        f"translations are written as plain text, but --output ends in {compressed}": bool(compressed),
        conflict: bool(conflict),
    }
    for complaint, holds in complaints.items():
        if holds:
            raise click.UsageError(complaint)
