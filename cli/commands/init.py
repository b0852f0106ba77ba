"""``mtmoe init``: from text of one's own to a recipe for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.languages import unknown_codes

from ..console import (
    command_line,
    duration,
    folded,
    heading,
    number_of_bytes,
    output_columns,
    shown_progress,
    warn,
    write_data,
    write_json,
)
from ..options import FILE, RealRange, device_option, json_option

if TYPE_CHECKING:
    from mtmoe.corpus_survey.survey import Survey
    from mtmoe.recipe_sizing.recipe_settings import Choice
    from mtmoe.recipe_sizing.sizing import Sizing
    from mtmoe.recipe_sizing.start_choice import StartChoice

_LEAST_MINUTES, _MOST_MINUTES = 0.1, 60 * 24 * 100.0
_LEAST_TOLD = 0.001
_MOST_OTHER_LANGUAGE = 0.05
_INDENT = 2


@click.command()
@click.argument("paths", metavar="TEXT [TRANSLATION]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--source", default="", metavar="CODE", help="Language of the source side.  [default: as found]")
@click.option("--target", default="", metavar="CODE", help="Language of the target side.  [default: as found]")
@click.option(
    "--minutes",
    type=RealRange(_LEAST_MINUTES, _MOST_MINUTES),
    default=30.0,
    show_default=True,
    help="How long the training may take on this machine.",
)
@click.option("--output", type=FILE, help="Where to write the recipe.  [default: NAME.toml after the text's NAME]")
@click.option(
    "--from",
    "start_run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Begin with the weights of this run: its network is kept, and its subwords where the languages are the same.",
)
@device_option
@json_option
def init(
    paths: tuple[Path, ...],
    source: str,
    target: str,
    minutes: float,
    start_run: Path | None,
    output: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Write a recipe for text of your own.

    TEXT is a translation memory (TMX), a table with tabs, JSON lines or the directory of a Hugging Face data set; or
    two files, TEXT and its TRANSLATION, one sentence a line. The text is looked at, the speed of this machine is
    measured for some seconds, and a short commented recipe is written that suits both. What was found and chosen goes
    to standard output. No file is overwritten.
    """
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} files: name one that holds both languages, or two aligned ones")
    for text in unknown_codes(filter(None, (source, target))):
        warn(text)
    from mtmoe.checkpoint import open_run
    from mtmoe.corpus_survey.corpus_location import stem_of
    from mtmoe.corpus_survey.survey import take_survey
    from mtmoe.corpus_survey.text_fields import LanguagePair
    from mtmoe.device import choose_device
    from mtmoe.recipe_sizing.recipe_file import check_is_new, recipe_text, write_recipe
    from mtmoe.recipe_sizing.sizing import size_recipe
    from mtmoe.recipe_sizing.start_choice import choose_start
    from mtmoe.system.process_settings import prepare_for_training

    output = output or Path(f"{stem_of(paths[0].absolute())}.toml")
    check_is_new(output)
    if start_run is not None:
        open_run(start_run)  # before any text is read, which may take long
    chosen_device = choose_device(device)
    prepare_for_training(chosen_device)
    with shown_progress() as progress:
        survey = take_survey(paths, LanguagePair(source, target), progress)
        start = None if start_run is None else choose_start(start_run, survey.languages, survey.num_usable)
        sizing = size_recipe(survey, minutes, chosen_device, start=start, progress=progress)
    write_recipe(output, recipe_text(survey, sizing, minutes, stem_of(output)))
    if as_json:
        write_json(_as_data(survey, sizing, output))
    else:
        _tell(paths, survey, sizing, output, minutes)


def _as_data(survey: Survey, sizing: Sizing, output: Path) -> dict[str, Any]:
    """Return everything that is told, as plain data."""
    found = survey._asdict() | {"num_usable": survey.num_usable}
    del found["sample"]
    for name in ("languages", "alphabet"):
        found[name] = found[name]._asdict()
    found["corpus"] = survey.corpus.source
    found["own_sets"] = dict(survey.corpus.own_sets)
    for name in ("lengths", "other_language"):
        found[name] = {side: value._asdict() for side, value in zip(("source", "target"), found[name], strict=True)}
    found["shifted"] = [part._asdict() for part in survey.shifted]
    choice = sizing.choice._asdict()
    choice |= {"shape": sizing.choice.shape._asdict(), "steps": sizing.choice.steps._asdict()}
    start = sizing.choice.start
    if start is not None:
        choice["shape"] = None  # that of the start run
        choice["start"] = start._asdict() | {"languages": start.languages._asdict()}
    return {
        "recipe": str(output),
        "found": found,
        "chosen": choice,
        "measured": sizing.speed._asdict(),
        "expected": sizing.expected._asdict(),
    }


def _tell(paths: tuple[Path, ...], survey: Survey, sizing: Sizing, output: Path, minutes: float) -> None:
    """Write what was found, chosen and is expected, and the next commands, to standard output."""
    columns = output_columns()
    parts = {
        f"found in {' and '.join(path.name for path in paths)}": _found(survey),
        f"chosen for {minutes:g} minutes of training": _chosen(survey, sizing),
        "expected": _expected(sizing),
    }
    for title, lines in parts.items():
        write_data(heading(folded(title, columns).rstrip("\n")) + "\n")
        for line in lines:
            write_data(folded(line, columns, _INDENT, 2 * _INDENT))
    name = output.name.removesuffix(".toml")
    write_data(folded(f"{output} is written; it says why each setting is as it is. Next:", columns))
    for words in (("train", output, f"runs/{name}"), ("translate", f"runs/{name}")):
        write_data(f"{' ' * _INDENT}{command_line(*words)}{' < text' if words[0] == 'translate' else ''}\n")


def _found(survey: Survey) -> Iterator[str]:
    from mtmoe.data.cleaning.normal_form import CHANGES
    from mtmoe.data.cleaning.rules import DROPS

    formats = {"text": "two aligned files", "tsv": "a table", "jsonl": "JSON lines", "huggingface": "a data set"}
    named = formats.get(survey.corpus.format, survey.corpus.format.upper())
    source, target = survey.languages
    yield f"{named}, {source} to {target}: {survey.num_pairs:,} pairs, of which {survey.num_usable:,} can be used"
    if survey.num_examined < survey.num_pairs:
        yield f"what follows was counted among the first {survey.num_examined:,}"
    for title, rules in (("left out", DROPS), ("mended", CHANGES)):
        told = [f"{survey.counts[rule]:,} {_WORDS[rule]}" for rule in rules if survey.counts[rule]]
        if told:
            yield f"{title}: {', '.join(told)}"
    means = " and ".join(
        f"{side.mean:.0f} in {code}" for side, code in zip(survey.lengths, survey.languages, strict=True)
    )
    yield f"characters of a sentence: {means}; the longest has {max(side.longest for side in survey.lengths):,}"
    for side, code in zip(survey.other_language, survey.languages, strict=True):
        if side.share >= _LEAST_TOLD:
            advice = "; look at them before you train" if side.share >= _MOST_OTHER_LANGUAGE else ""
            yield f"in another language than {code}: {side.share:.1%} of its longer sentences{advice}"
    if survey.shifted:
        first = ", ".join(f"{part.first:,}-{part.last:,}" for part in survey.shifted[:3])
        more = " ..." if len(survey.shifted) > 3 else ""
        yield f"shifted: pairs {first}{more} fit better with the target of a neighbour; repair them before you train"


_WORDS = {
    "invalid_utf8": "that are not UTF-8",
    "unreadable": "without two sides",
    "second_variant": "second translations of a unit",
    "empty_side": "with an empty side",
    "too_long": "too long",
    "length_ratio": "of very different lengths",
    "identical_sides": "untranslated (both sides equal)",
    "duplicate": "duplicates",
    "in_dev_or_test": "of the test set",
    "unicode_nfc": "of another Unicode form",
    "control_characters": "with control characters or tabs",
    "line_separators": "with line ends inside",
    "white_space": "with surplus spaces",
}
"""What the counts of cleaning are called here."""


def _chosen(survey: Survey, sizing: Sizing) -> Iterator[str]:
    choice, steps = sizing.choice, sizing.choice.steps
    yield _sets(choice)
    if choice.start is not None:
        yield from _start(choice.start)
    if choice.has_own_subwords:
        characters = "all characters" if choice.character_coverage == 1.0 else "all but the rarest characters"
        yield f"{choice.vocabulary_size:,} subwords, {characters} among them, as {survey.num_usable:,} pairs can teach"
    yield f"{_network(choice)}: {sizing.speed.num_parameters / 1e6:.1f} million parameters"
    why = (
        f"as many as fit into the time at {sizing.speed.seconds_per_step:.2g} s each"
        if steps.limited_by == "time"
        else "more would be learning by heart"
    )
    yield (
        f"{steps.max_steps:,} steps of {choice.batch_tokens:,} tokens, {steps.epochs:.2g} times through the text: {why}"
    )
    yield f"dropout {choice.dropout:g}, as the text is seen so often"
    yield "some pairs in small letters, with typos, without full stops, as people type them ([data.augmentation])"
    if choice.bleu_tokeniser:
        from mtmoe.languages import tokeniser_of

        usual = tokeniser_of(survey.languages.target)
        yield (
            f"BLEU of single characters: {usual} is not installed (pip install "
            f"'sacrebleu[{usual.partition('-')[0]}]', then remove bleu_tokeniser from the recipe)"
        )


def _sets(choice: Choice) -> str:
    kinds = {"dev": choice.valid_pairs, "test": choice.test_pairs}
    if not any(kinds.values()):
        return "dev and test set are the data set's own"
    if all(kinds.values()):
        return f"{choice.valid_pairs:,} pairs held out as the dev set and {choice.test_pairs:,} as the test set"
    return " and ".join(
        f"{number:,} pairs held out as the {kind} set" if number else f"the data set's own {kind} set"
        for kind, number in kinds.items()
    )


def _start(start: StartChoice) -> Iterator[str]:
    source, target = start.languages
    subwords = "with its subwords" if start.vocabulary == "same" else "with its subwords and those of the new language"
    yield f"begins with the weights of {start.run} ({source} to {target}), {subwords}"
    if start.replay_weight:
        number = round(start.replay_weight * start.num_old_pairs)
        yield f"{number:,} of that run's {start.num_old_pairs:,} pairs are read again in each epoch"
    elif start.vocabulary == "same":
        yield "the text of that run is gone and cannot be read again: it may forget what it knows"


def _network(choice: Choice) -> str:
    shape = choice.shape
    if choice.start is not None:
        return "the network of that run"
    experts = f"2 x {shape.num_experts} experts of {shape.expert_hidden}"
    if shape.kind == "dense":
        experts = (
            f"2 dense networks of {shape.experts_per_token * shape.expert_hidden} hidden units in place of experts"
        )
    return f"width {shape.width}, {shape.layers} + {shape.layers} layers, {experts}"


def _expected(sizing: Sizing) -> Iterator[str]:
    expected = sizing.expected
    yield (
        f"{duration(expected.preparation_seconds)} to prepare the text and {duration(expected.training_seconds)} to "
        f"train, at the speed of these seconds ({sizing.speed.tokens_per_second:,.0f} tokens/s, "
        f"{sizing.speed.precision}, {sizing.speed.hardware})"
    )
    on_gpu = f", and {number_of_bytes(expected.gpu_bytes)} of the GPU" if expected.gpu_bytes else ""
    yield f"memory: about {number_of_bytes(expected.memory_bytes)}{on_gpu}"
