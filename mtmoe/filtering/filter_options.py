"""Options of a filter, and their identity: what measures and choices depend on, as JSON can say it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtmoe.checkpoint import open_model
from mtmoe.corpus_survey.corpus_location import Corpus
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.raw.lines import open_decompressed
from mtmoe.errors import UserError
from mtmoe.filtering.criteria import Criteria, Selection
from mtmoe.filtering.lexicon_coverage import lexicon_files
from mtmoe.filtering.run_languages import check_language, direction_token, is_reversed
from mtmoe.filtering.selecting import weights_of
from mtmoe.inference.files.model_identity import weights_identity
from mtmoe.inference.translator import decoding_settings

OutputFormat = Literal["text", "tsv"]
_READ_BYTES = 1 << 20


class FilterOptions(NamedTuple):
    """Which text is filtered, how, and where to.

    paths: one file or two aligned ones. asked: languages, where they are not to be found out. output: a directory.
    output_format: two aligned files, or one table. with_scores: whether the scores of all pairs are written, too.
    devices: one, or one for each worker in turn; None is cuda where there is one, else cpu.
    """

    paths: tuple[Path, ...]
    output: Path
    criteria: Criteria = Criteria()
    selection: Selection = Selection()
    asked: LanguagePair = LanguagePair("", "")
    output_format: OutputFormat = "text"
    with_scores: bool = False
    devices: tuple[str | None, ...] = (None,)
    num_workers: int = 1

    def check(self) -> None:
        """Check that the options go together.

        Raises:
            ValueError: they contradict each other, or ask for a measure that is not taken.
        """
        measures, selection = self.criteria.measures, self.selection
        given = [selection.least_score, selection.keep_share, selection.keep_pairs]
        if sum(number is not None for number in given) > 1:
            raise ValueError("give one of least_score, keep_share and keep_pairs")
        if not measures and any(number is not None for number in given):
            raise ValueError("pairs are kept by their score, but no criterion gives one")
        for name in (*selection.weights, *selection.least):
            if name not in measures:
                raise ValueError(f"there is no measure {name!r} among {', '.join(measures) or 'none'}")


def file_digest(path: Path) -> str:
    """Return a hash of a file's content, decompressed.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open_decompressed(path) as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def measures_identity(criteria: Criteria, corpus: Corpus, languages: LanguagePair) -> dict[str, Any]:
    """Return everything that the measures of a text depend on, besides the text.

    Raises:
        UserError: a run is not there, is none, or is of other languages.
    """
    flags = {
        "form": criteria.with_form, "languages": criteria.with_languages,
        "near_duplicates": criteria.with_near_duplicates, "similarity": criteria.similarity,
        "most_remembered": criteria.most_remembered,
    }  # fmt: skip
    cleaning = criteria.cleaning
    rules = ("max_characters", "max_length_ratio", "remove_identical_sides", "remove_duplicates")
    return {
        "work": "filter",
        "format": {key: value for key, value in corpus.source.items() if not isinstance(value, Mapping)},
        "source_language": languages.source,
        "target_language": languages.target,
        "criteria": flags,
        "cleaning": {rule: getattr(cleaning, rule) for rule in rules},
        "runs": {name: _run_identity(name, run, criteria, languages) for name, run in criteria.runs.items()},
        "held_out": {str(number): file_digest(path) for number, path in enumerate(criteria.held_out, start=1)},
    }


def selection_identity(options: FilterOptions) -> dict[str, Any]:
    """Return what the choice among measured pairs depends on."""
    selection = options.selection
    return {
        "weights": dict(weights_of(options.criteria.measures, selection)),
        "least": dict(selection.least),
        "least_score": selection.least_score,
        "keep_share": selection.keep_share,
        "keep_pairs": selection.keep_pairs,
        "output_format": options.output_format,
        "with_scores": options.with_scores,
    }


def _run_identity(name: str, run: Path, criteria: Criteria, languages: LanguagePair) -> dict[str, Any]:
    if name == "lexicon":
        files = lexicon_files(run)
        is_reversed(run, files.data, languages)
        return {"lexicon": file_digest(files.lexicon)}
    recipe = open_model(run).recipe()
    data, wanted = recipe.data, "language-model" if name.endswith("_lm") else "translation"
    if recipe.task != wanted:
        raise UserError(
            f'{run}: is a run of task = "{recipe.task}", but --{name.replace("_", "-")} needs one of "{wanted}"',
            fix="name another run",
        )
    identity = weights_identity(run, criteria.checkpoint)
    if name in ("source_lm", "target_lm"):
        check_language(run, data, languages[name == "target_lm"])
        return identity
    opposite = LanguagePair(languages.target, languages.source)
    direction_token(run, data, languages if name == "forward" else opposite)
    decoding = decoding_settings(run).model_dump(mode="json")
    read = ("max_source_tokens", "over_long", "pass_through", "placeholders")
    return {**identity, "decoding": {key: decoding[key] for key in read}}
