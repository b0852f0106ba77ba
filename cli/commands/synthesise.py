"""``mtmoe synthesise``: training text made of other text, with a trained run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.system.process_settings import prepare_for_translation
from mtmoe.system.torchrun import is_launched, place_of_process

from ..console import note, write_text
from ..options import (
    BEAM,
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
from ..synthesis_display import ready_source
from ..translation_display import TranslationNotes, progress_once_told

if TYPE_CHECKING:
    from mtmoe.inference.requests import Member
    from mtmoe.synthesis.shards import Shard

# As `mtmoe.synthesis.synthesis_options` has them; not imported, so that --help is instant.
ORIGINS = ("back-translated", "forward-translated", "distilled")
METHODS = ("beam", "sampling", "top-k", "noised-beam")
UTILITIES = ("bleu", "chrf")
_MOST_SHARDS = 100_000
_SHARE = RealRange(0, 1, max_open=True)


class _ShardType(click.ParamType):
    """I/N."""

    name = "shard"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from mtmoe.synthesis.shards import Shard

        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(value))
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= _MOST_SHARDS:
            self.fail(f"{value!r} is no shard: write 2/4 for the second of four", parameter, context)
        return Shard(int(match[1]), int(match[2]))


@click.command()
@model_argument
@click.argument("text", metavar="TEXT", type=FILE)
@click.argument("output", metavar="OUT", type=FILE)
@click.option(
    "--origin",
    type=click.Choice(ORIGINS),
    default="back-translated",
    show_default=True,
    help="Which side RUN makes: back-translated, the source side; the others, the target side.",
)
@click.option("--method", type=click.Choice(METHODS), default="beam", show_default=True, help="How RUN translates.")
@click.option("--top-k", type=click.IntRange(1, 1_000_000), help="Words that --method top-k draws from.  [default: 10]")
@click.option("--drop", type=_SHARE, help="Share of words that --method noised-beam leaves out.  [default: 0.1]")
@click.option("--blank", type=_SHARE, help="Share of the others that become <BLANK>.  [default: 0.1]")
@click.option("--shuffle", type=click.IntRange(0, 1000), help="Places that a word moves at most.  [default: 3]")
@click.option(
    "--seed", type=click.IntRange(0, (1 << 32) - 1), help="Of what is drawn, together with the line.  [default: 1]"
)
@click.option("--tag", metavar="WORD", help="Write this word, such as <BT>, before each source sentence.")
@click.option("--reference", type=FILE, help="Translations by people: of each line, take the candidate most like it.")
@click.option("--utility", type=click.Choice(UTILITIES), help="Likeness to --reference.  [default: bleu]")
@click.option("--candidates", type=BEAM, help="Candidates, with --reference.  [default: the beam size]")
@click.option("--license", "license_text", metavar="TERMS", default="", help="Terms of TEXT, for the manifest.")
@click.option("--lm", "language_model", metavar="RUN", type=MODEL, help="A language model that searches along.")
@click.option("--rerank-lm", metavar="RUN", type=MODEL, help="A language model that chooses among candidates.")
@click.option("--rerank-channel", metavar="RUN", type=MODEL, help="A model of the other direction that does too.")
@click.option("--shard", metavar="I/N", type=_ShardType(), help="Do the I-th of N stretches of TEXT only.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted command left; begin if there is nothing.")
@translators_option
@with_option
@checkpoint_option
@decoding_set_option
@devices_option
def synthesise(
    run: Path,
    text: Path,
    output: Path,
    origin: Any,
    method: Any,
    top_k: int | None,
    drop: float | None,
    blank: float | None,
    shuffle: int | None,
    seed: int | None,
    tag: str | None,
    reference: Path | None,
    utility: Any,
    candidates: int | None,
    license_text: str,
    language_model: Path | None,
    rerank_lm: Path | None,
    rerank_channel: Path | None,
    shard: Shard | None,
    resume: bool,
    num_workers: int,
    ensemble: tuple[Member, ...],
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
) -> None:
    """Make training pairs of TEXT, one a line, by translating it with RUN.

    \b
    back-translated     TEXT is in the language that you translate into; RUN makes the source side
    forward-translated  TEXT is in the language that you translate from; RUN makes the target side
    distilled           as forward-translated, of your training text, for a small model to learn from

    \b
    beam         the best translation that the search finds
    sampling     words drawn from the model's distribution
    top-k        words drawn from the likeliest K alone
    noised-beam  the best translation, with words left out, blanked and moved

    OUT has columns with tabs between: source, target, score, log-probability, subwords of the translation, BLEU or chrF
    (with --reference), and what is suspicious about it. Line n belongs to line n of TEXT. OUT.manifest.json tells what
    it was made of. Standard output has the [[data.train]] table that reads OUT.

    What is drawn for a line depends on --seed and the number of the line alone. Several processes can share TEXT: start
    them with torchrun, or give each its --shard; the last of them joins the parts. An interrupted command goes on where
    it was with --resume.
    """
    shard = _shard_of_process(shard)
    _check_usage(method, top_k, (drop, blank, shuffle), seed, reference, utility, candidates, tag)
    devices = devices_of(_device_of_process(device), num_workers)
    from mtmoe.inference.files.translation_options import TranslationOptions
    from mtmoe.inference.scoring.rescoring import RescoringRuns
    from mtmoe.synthesis.noise import NO_NOISE, Noise
    from mtmoe.synthesis.synthesis_options import SynthesisOptions
    from mtmoe.synthesis.synthesise import synthesise as synthesise_file

    others = RescoringRuns(*(str(path) if path else "" for path in (language_model, rerank_lm, rerank_channel)))
    translation = TranslationOptions(
        run,
        checkpoint=checkpoint,
        overrides=overrides,
        devices=devices,
        num_workers=num_workers,
        rescoring=others,
        ensemble=ensemble,
    )
    usual = Noise()
    noise = Noise(
        usual.drop if drop is None else drop,
        usual.blank if blank is None else blank,
        usual.shuffle if shuffle is None else shuffle,
    )
    options = SynthesisOptions(
        translation,
        origin,
        method,
        seed=1 if seed is None else seed,
        top_k=top_k or 10,
        noise=noise if method == "noised-beam" else NO_NOISE,
        tag=tag or "",
        reference=reference,
        utility=utility or "bleu",
        candidates=candidates,
        license=license_text,
    )
    prepare_for_translation()
    with progress_once_told() as progress:
        done = synthesise_file(
            options, text, output, shard=shard, resume=resume, progress=progress, listener=TranslationNotes()
        )
    if suspicious := done.lines.suspicious_lines():
        note(suspicious)
    if done.missing:
        note(f"{output}: {len(done.missing):,} of {shard.total:,} shards are not complete; the last one joins all")
    if done.manifest is not None:
        write_text(ready_source(output, done.manifest))
    done.lines.raise_unreadable()


def _shard_of_process(shard: Shard | None) -> Shard:
    from mtmoe.synthesis.shards import Shard

    if not is_launched():
        return shard or Shard()
    place = place_of_process()
    if shard is not None:
        raise click.UsageError(
            f"--shard {shard} and torchrun (RANK = {place.rank}) both say which lines this process does: leave out one"
        )
    return Shard(place.rank + 1, place.size)


def _device_of_process(device: str | None) -> str | None:
    """Return the device that is asked for; where torchrun has started several processes, they share the GPUs."""
    if device is not None or not is_launched():
        return device
    import torch

    return f"cuda:{place_of_process().local_rank % torch.cuda.device_count()}" if torch.cuda.is_available() else None


def _check_usage(
    method: str,
    top_k: int | None,
    noise: tuple[float | None, ...],
    seed: int | None,
    reference: Path | None,
    utility: str | None,
    candidates: int | None,
    tag: str | None,
) -> None:
    complaints = {
        f"--top-k belongs to --method top-k, not to --method {method}": top_k is not None and method != "top-k",
        f"--drop, --blank and --shuffle belong to --method noised-beam, not to --method {method}": method
        != "noised-beam"
        and any(value is not None for value in noise),
        "--seed does nothing with --method beam, which draws nothing": seed is not None and method == "beam",
        "--utility compares with --reference: give one": utility is not None and reference is None,
        "--candidates are chosen from by --reference: give one": candidates is not None and reference is None,
        f"--tag {tag!r} is not one word": tag is not None and len(tag.split()) != 1,
    }
    for complaint, holds in complaints.items():
        if holds:
            raise click.UsageError(complaint)
