"""``mtmoe score``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .console import note, shown_progress, warn, write_data, write_json
from .lines import read_aligned, read_lines
from .options import (
    FILE,
    checkpoint_option,
    decoding_set_option,
    device_option,
    json_option,
    run_argument,
)


@click.command()
@run_argument
@click.argument("source", metavar="SOURCE", type=FILE)
@click.argument("target", metavar="[TARGET]", type=FILE, required=False)
@checkpoint_option
@decoding_set_option
@device_option
@json_option
def score(
    run: Path,
    source: Path,
    target: Path | None,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Write the log-probability of each given translation or line.

    One natural logarithm for each line of TARGET given the same line of SOURCE, end of sentence included; a blank
    source line has 0. What `mtmoe translate --scores` told of a line is what this gives for it. The perplexity
    per subword goes to standard error.

    With a language model there is one text, SOURCE: a logarithm for each line, its end included, and the perplexity
    per word and per subword, ends of lines counted, unknown words as <unk>.
    """
    if _is_language_model(run):
        if target is not None or overrides:
            raise click.UsageError(f"{run} is a language model: it scores one text, and has no decoding settings")
        _score_text(run, source, checkpoint, device, as_json)
        return
    if target is None:
        raise click.UsageError("Missing argument 'TARGET': a translation model scores translations of SOURCE")
    from mtmoe.checkpoint import load_model
    from mtmoe.device import choose_device
    from mtmoe.inference.scoring import perplexity, score_pairs
    from mtmoe.inference.translator import decoding_settings

    decoding = decoding_settings(run, overrides)
    sources, targets = read_aligned(source, target)
    loaded = load_model(run, checkpoint, choose_device(device))
    scores = []
    with shown_progress(beside_output=not as_json) as progress:
        for number, scored in enumerate(
            score_pairs(loaded, sources, targets, decoding=decoding, progress=progress), start=1
        ):
            scores.append(scored)
            if scored.warning:
                warn(f"line {number}: {scored.warning}")
            if not as_json:
                write_data(f"{scored.log_probability:.6f}\n")
    total = sum(scored.log_probability for scored in scores)
    num_tokens = sum(scored.num_tokens for scored in scores)
    if as_json:
        lines = [{"log_probability": s.log_probability, "num_tokens": s.num_tokens} for s in scores]
        totals = {"log_probability": total, "num_tokens": num_tokens, "perplexity": perplexity(scores)}
        write_json({**totals, "lines": lines})
    else:
        note(f"log-probability {total:.3f}, {num_tokens:,} subwords, perplexity {perplexity(scores):.4f}")


def _is_language_model(run: Path) -> bool:
    from mtmoe.checkpoint import load_run_recipe, open_run

    return load_run_recipe(open_run(run)).task == "language-model"


def _score_text(run: Path, text: Path, checkpoint: str, device: str | None, as_json: bool) -> None:
    from mtmoe.checkpoint import load_language_model
    from mtmoe.device import choose_device
    from mtmoe.inference.language_model_scoring import score_text, total

    lines = read_lines(text)
    loaded = load_language_model(run, checkpoint, choose_device(device))
    scores = []
    with shown_progress(beside_output=not as_json) as progress:
        for scored in score_text(loaded, lines, progress):
            scores.append(scored)
            if not as_json:
                write_data(f"{scored.log_probability:.6f}\n")
    sums = total(scores)
    if as_json:
        totals: dict[str, Any] = sums._asdict()
        perplexities = {"perplexity_per_word": sums.per_word, "perplexity_per_token": sums.per_token}
        write_json({**totals, **perplexities, "lines": [scored._asdict() for scored in scores]})
        return
    note(
        f"log-probability {sums.log_probability:.3f}; "
        f"{sums.num_words:,} words, perplexity {sums.per_word:.4f} per word; "
        f"{sums.num_tokens:,} tokens, perplexity {sums.per_token:.4f} per token; {sums.num_unknown:,} unknown"
    )
