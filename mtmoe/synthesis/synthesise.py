"""Synthesis of a file of pairs from a file of text; after an interruption it is gone on with.

The pairs of a text are one file, in the order of its lines. Several processes that share the text by shards write a
part each (`shards.py`); the one that is last joins them (`joining.py`). What a line becomes depends on nothing but the
line, its number, the runs and the settings: neither shards nor workers nor interruptions change a pair. (Scores may
differ in their last digit, for a sum of floats depends on the batch.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import mtmoe
from mtmoe.checkpoint import open_model
from mtmoe.config.settings import Data
from mtmoe.errors import UserError
from mtmoe.inference.files.answers import Answers, chunk_translator
from mtmoe.inference.files.model_identity import model_identity
from mtmoe.inference.files.output_jobs import OutputJob, do_job
from mtmoe.inference.files.resumable_output import InputFile, ResumableOutput, examine_input
from mtmoe.inference.files.translate_files import check_read_again, plain_name
from mtmoe.inference.files.translation_options import NOBODY, TranslatedLines, TranslationListener, TranslationOptions
from mtmoe.inference.translator import decoding_settings
from mtmoe.progress import Progress, silent
from mtmoe.synthesis.joining import join_if_complete
from mtmoe.synthesis.pair_format import PairFormat
from mtmoe.synthesis.shards import WHOLE, Shard
from mtmoe.synthesis.synthesis_manifest import (
    SynthesisManifest,
    check_same,
    complete_manifest,
    counts_of,
    sha256_of,
    write_manifest,
)
from mtmoe.synthesis.synthesis_options import SynthesisOptions


class Synthesised(NamedTuple):
    """What was made. lines: of this shard, with their faults; missing: shards that are not complete; manifest: of all
    of it, once no shard is missing."""

    lines: TranslatedLines
    missing: tuple[Shard, ...]
    manifest: SynthesisManifest | None


def synthesise(
    options: SynthesisOptions,
    text: Path,
    output: Path,
    *,
    shard: Shard = WHOLE,
    resume: bool = False,
    progress: Progress = silent,
    listener: TranslationListener = NOBODY,
) -> Synthesised:
    """Make a pair of each line of a text, and write them, with their scores, as columns with tabs between.

    Args:
        text: a plain or compressed file, one sentence a line.
        output: a file, which gets a manifest beside it.
        shard: the stretch of the text that this call works on.
        resume: go on where an earlier call with the same arguments stopped. What is complete is left as it is.

    Raises:
        UserError: as :func:`mtmoe.translate_files`; the reference has another number of lines; a run of several
            directions.
        OSError: the output cannot be written.
    """
    job = _Job(options, text, output)
    part, lines = shard.part_of(output), shard.lines(job.examined.num_lines)
    resumable = ResumableOutput(part, {**job.identity, "shard": str(shard)}, [job.examined])
    done = _done_before(output, resumable, job.made_of, listener) if resume else None
    if done is None:
        answers = Answers(job.translation, listener)
        with chunk_translator(job.translation, listener) as translate_chunks:
            if not resume:  # not before models and settings are known to be good: what is unfinished is lost with it
                resumable.begin()

            def told(num_done: int) -> None:
                progress("synthesise", num_done, len(lines), "lines")

            work = OutputJob(resumable, [text], len(lines), lines.start)
            do_job(work, answers, translate_chunks, told, listener, resume=resume)
            told(len(lines))
        done = TranslatedLines(len(lines), resumable.faults)
        write_manifest(part, job.manifest(part, shard, done))
    resumable.remove_journal()
    missing = join_if_complete(output, shard.total, job.made_of) if shard.total > 1 else []
    return Synthesised(done, tuple(missing), None if missing else complete_manifest(output))


class _Job:
    """A synthesis before it begins: its settings are known to be good, and its files to be there."""

    def __init__(self, options: SynthesisOptions, text: Path, output: Path) -> None:
        _check_files(options, text, output)
        self.options, self.text = options, text
        translation = options.translation._replace(overrides=options.search_overrides())
        self.runs = [Path(translation.run), *(member.run for member in translation.ensemble)]
        data = _data_of_one_pair(self.runs[0])
        sides = (data.source_language, data.target_language)
        self.languages = sides[::-1] if options.makes_source else sides
        num_best = _num_candidates(options, translation)
        self.format = PairFormat(options, data.target_language, num_best)
        self.translation = translation._replace(format=self.format)
        self.examined = examine_input(text)
        self.identity = {**model_identity(self.translation), "output": self.format.identity()}
        if options.reference is not None:
            reference = _examined_reference(options.reference, text, self.examined)
            self.identity["reference"] = {"num_lines": reference.num_lines, "digest": reference.digest}
        input_identity = {"num_lines": self.examined.num_lines, "digest": self.examined.digest}
        self.made_of: dict[str, Any] = json.loads(json.dumps({**self.identity, "text": input_identity}))

    def manifest(self, part: Path, shard: Shard, done: TranslatedLines) -> SynthesisManifest:
        """Return the manifest of a part that is complete."""
        options = self.options
        return SynthesisManifest(
            mtmoe=mtmoe.__version__,
            origin=options.origin,
            source_language=self.languages[0],
            target_language=self.languages[1],
            license=self._license(),
            runs=(*map(str, self.runs), *filter(None, options.translation.rescoring or ())),
            text=str(self.text),
            reference=str(options.reference or ""),
            made_of=self.made_of,
            columns=self.format.columns,
            shard=str(shard),
            num_lines=done.num_lines,
            num_bytes=part.stat().st_size,
            sha256=sha256_of(part),
            **counts_of(done.faults),
        )

    def _license(self) -> str:
        """Return the terms of the text, and those of the text that the runs have learned from."""
        of_text = f"{self.text.name}: {self.options.license or 'terms not stated'}"
        recipes = [open_model(run).recipe() for run in self.runs]
        sources = {source.name: source.license for recipe in recipes for source in recipe.data.train}
        learned = ", ".join(f"{name}: {terms or 'terms not stated'}" for name, terms in sources.items())
        return f"{of_text}; translated by models of {learned}"


def _check_files(options: SynthesisOptions, text: Path, output: Path) -> None:
    inputs = [text, *filter(None, [options.reference])]
    check_read_again(inputs)
    for path in inputs:
        if path.exists() and output.exists() and path.samefile(output):
            raise UserError(f"{path} would be overwritten by its pairs", fix="write to another file")
    if plain_name(output) != output.name:
        raise UserError(
            f"{output}: pairs are written as plain text, but the name ends in {output.suffix}",
            fix=f"write to {output.with_suffix('')}, and compress it when it is complete",
        )


def _data_of_one_pair(run: Path) -> Data:
    recipe = open_model(run).recipe()
    if recipe.task == "language-model":
        raise UserError(f"{run}: is a language model, which translates nothing", fix="name a run that translates")
    if recipe.data.multilingual is not None:
        raise UserError(
            f"{run}: translates in several directions ({recipe.data.languages}), and pairs are of one",
            fix="name a run of two languages, or use `mtmoe translate`",
        )
    return recipe.data


def _num_candidates(options: SynthesisOptions, translation: TranslationOptions) -> int:
    if options.reference is None:
        return 1
    if options.candidates is not None:
        return options.candidates
    return decoding_settings(translation.run, translation.overrides).beam_size


def _examined_reference(reference: Path, text: Path, examined: InputFile) -> InputFile:
    found = examine_input(reference)
    if found.num_lines != examined.num_lines:
        raise UserError(
            f"{text} has {examined.num_lines} lines, but {reference} has {found.num_lines}",
            fix="line n of the one must belong to line n of the other; a blank line counts as a line",
        )
    return found


def _done_before(
    output: Path, resumable: ResumableOutput, made_of: dict[str, Any], listener: TranslationListener
) -> TranslatedLines | None:
    """Return what is complete already of this very job, the output or a part; None if neither is.

    Raises:
        UserError: what is there was made of something else, and is not about to be replaced.
    """
    for path in (resumable.output, output):
        manifest = complete_manifest(path)
        if manifest is not None and manifest.made_of == made_of:
            listener.complete_already(path)
            return TranslatedLines(manifest.num_lines, manifest.faults)
        if manifest is not None and not resumable.is_begun:
            check_same(path, manifest, made_of)
    return None
