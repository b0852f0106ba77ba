"""``mtmoe score``: log-probabilities of given text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.errors import UserError

from ...console import note, number_or_null, shown_progress, warn, write_data, write_json
from ...language_model_scores import score_language_model
from ...lines import read_aligned
from ...options import (
    DIRECTORY,
    FILE,
    checkpoint_option,
    device_option,
    json_option,
    model_argument,
    with_option,
)

if TYPE_CHECKING:
    from mtmoe.inference.requests import Member

_LINES_BETWEEN_PROGRESS = 256
_SETTINGS = ("max_source_tokens", "over_long", "batch_tokens", "beam_size")
"""Of decoding. The last two say how many lines are scored at a time: as many as a search would have."""


@click.command()
@model_argument
@click.argument("source", metavar="SOURCE", type=FILE)
@click.argument("targets", metavar="[TARGET...]", nargs=-1, type=FILE)
@click.option("--tokens", "with_tokens", is_flag=True, help="Write the log-probability of each subword too.")
@with_option
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Another value for a setting: of decoding for a translation model, such as decoding.max_source_tokens=100; of "
    "scoring for a language model, such as scoring.cache.weight=0.2. Can be repeated.",
)
@click.option(
    "--tune-on",
    "dev_text",
    metavar="TEXT",
    type=FILE,
    help="Language models: choose the numbers of scoring.dynamic and scoring.cache on this dev text first; of both, "
    "if neither is set.",
)
@click.option(
    "--data",
    "data_dir",
    type=DIRECTORY,
    help="DATA_DIR that the model was trained on, for scoring.dynamic.  [default: the run's]",
)
@checkpoint_option
@device_option
@json_option
def score(
    run: Path,
    source: Path,
    targets: tuple[Path, ...],
    with_tokens: bool,
    ensemble: tuple[Member, ...],
    overrides: tuple[str, ...],
    dev_text: Path | None,
    data_dir: Path | None,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Write the log-probability of each given translation or line.

    One natural logarithm for each line of TARGET given the same line of SOURCE, end of sentence included; a blank
    source line has 0. What `mtmoe translate --scores` told of a line is what this gives for it, unless the line
    was split there, or translated with a decoding.shortlist: here a word is one of the whole vocabulary. Of several
    TARGETs each has a column, with tabs between; --tokens puts a column such as "▁the=-1.25 </s>=-0.5" after each.
    The perplexity per subword goes to standard error. JSON has all of this.

    With a language model there is one text, SOURCE: a logarithm for each line, its end included, and the perplexity
    per word and per subword, ends of lines counted, unknown words as <unk>. In a language without spaces between
    words (Chinese, Thai), its letters count as words.

    A language model of running text can learn from the text as it is scored (--set scoring.dynamic.learning_rate=5e-5:
    dynamic evaluation), or remember its words (--set scoring.cache.weight=0.2: a neural cache). A word is always scored
    before anything is learned from it, and the run stays as it is.

    One of the texts can be `-`, standard input.
    """
    if _is_language_model(run):
        if targets or with_tokens or ensemble:
            raise click.UsageError(f"{run} is a language model: it scores one text as a whole, alone")
        score_language_model(run, source, overrides, dev_text, data_dir, checkpoint, device, as_json)
        return
    for option, value in (("--tune-on", dev_text), ("--data", data_dir)):
        if value is not None:
            raise click.UsageError(
                f"{option} {value} is for language models, which can learn from the text that they score; {run} is a "
                "translation model"
            )
    if not targets:
        raise click.UsageError("Missing argument 'TARGET...': a translation model scores translations of SOURCE")
    from mtmoe.checkpoint import open_model
    from mtmoe.device import choose_device
    from mtmoe.inference.models.ensemble_loading import load_together
    from mtmoe.inference.scoring.forced_decoding import Score, perplexity, score_pairs
    from mtmoe.inference.text.lines import encode_targets
    from mtmoe.inference.text.stand_ins import copied_names
    from mtmoe.inference.translator import decoding_settings
    from mtmoe.system.process_settings import prepare_for_translation
    from mtmoe.vocabulary import EOS

    decoding = decoding_settings(run, overrides)
    for override in overrides:
        if override.partition("=")[0].strip().removeprefix("decoding.") not in _SETTINGS:
            raise click.UsageError(
                f"--set {override} would do nothing: scoring searches for nothing, and reads only "
                + ", ".join(f"decoding.{key}" for key in _SETTINGS)
            )
    sources, *target_lines = read_aligned(source, *targets)
    prepare_for_translation()
    loaded = load_together(run, ensemble, checkpoint, choose_device(device))
    pieces = loaded.subwords.pieces

    def tokens_of(line: str, scored: Score) -> list[str]:
        if not scored.num_tokens:
            return []
        [ids] = encode_targets([line], loaded.subwords)
        return [pieces[i] for i in (*ids, EOS)]

    scores: list[list[Score]] = [[] for _ in targets]
    names = partial(copied_names, open_model(run), loaded.subwords)
    scorers = [score_pairs(loaded, sources, lines, decoding=decoding, names=names) for lines in target_lines]
    with shown_progress(beside_output=not as_json) as progress:
        for number, row in enumerate(zip(*scorers, strict=True), start=1):
            columns = []
            for place, scored in enumerate(row):
                scores[place].append(scored)
                if scored.warning:
                    of_file = f" of {targets[place]}" if len(targets) > 1 else ""
                    warn(f"line {number}{of_file}: {scored.warning}")
                columns.append(f"{scored.log_probability:.6f}")
                if with_tokens and not as_json:
                    tokens = tokens_of(target_lines[place][number - 1], scored)
                    named = zip(tokens, scored.token_log_probabilities, strict=True)
                    columns.append(" ".join(f"{token}={value:.6f}" for token, value in named))
            if not as_json:
                write_data("\t".join(columns) + "\n")
            if number % _LINES_BETWEEN_PROGRESS == 0 or number == len(sources):
                progress("score", number, len(sources), "lines")
    if not any(scored.num_tokens for scored in scores[0]):  # whether a line is scored depends on its source
        raise UserError(f"{source}: no line was scored", fix="give source lines that are not blank")
    totals: list[dict[str, Any]] = [
        {
            "target": str(path),
            "log_probability": sum(s.log_probability for s in of_target),
            "num_tokens": sum(s.num_tokens for s in of_target),
            "perplexity": number_or_null(perplexity(of_target)),
        }
        for path, of_target in zip(targets, scores, strict=True)
    ]
    if as_json:
        for total, lines, of_target in zip(totals, target_lines, scores, strict=True):
            total["lines"] = [_line_dict(s, tokens_of(line, s)) for line, s in zip(lines, of_target, strict=True)]
        write_json(totals)
        return
    for total in totals:
        of_file = f"{total['target']}: " if len(targets) > 1 else ""
        note(
            f"{of_file}log-probability {total['log_probability']:.3f}, {total['num_tokens']:,} subwords, "
            f"perplexity {total['perplexity']:.4f}"
        )


def _line_dict(scored: Any, tokens: Sequence[str]) -> dict[str, Any]:
    return {
        "log_probability": scored.log_probability,
        "num_tokens": scored.num_tokens,
        "tokens": tokens,
        "token_log_probabilities": scored.token_log_probabilities,
        "warning": scored.warning,
    }


def _is_language_model(run: Path) -> bool:
    from mtmoe.checkpoint import open_model

    return open_model(run).recipe().task == "language-model"
