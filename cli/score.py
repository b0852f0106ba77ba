"""``mtmoe score``."""

from __future__ import annotations

from pathlib import Path

import click

from .console import note, shown_progress, warn, write_data, write_json
from .lines import read_aligned
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
@click.argument("target", metavar="TARGET", type=FILE)
@checkpoint_option
@decoding_set_option
@device_option
@json_option
def score(
    run: Path,
    source: Path,
    target: Path,
    checkpoint: str,
    overrides: tuple[str, ...],
    device: str | None,
    as_json: bool,
) -> None:
    """Write the log-probability of each given translation.

    One natural logarithm for each line of TARGET given the same line of SOURCE, end of sentence included; a blank
    source line has 0. What `mtmoe translate --scores` told of a line is what this gives for it. The perplexity
    per subword goes to standard error.
    """
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
