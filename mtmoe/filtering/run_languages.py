"""Languages of the runs that a filter asks, compared with those of the text."""

from __future__ import annotations

from pathlib import Path

from mtmoe.config.settings import Data
from mtmoe.corpus_survey.language_identification import base_code
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.cleaning.language_tokens import language_token, language_tokens
from mtmoe.errors import UserError


def direction_token(run: Path, data: Data, direction: LanguagePair) -> str:
    """Return what a run wants in front of each source sentence of a direction: nothing, or a language token.

    Raises:
        UserError: the run does not translate in this direction.
    """
    if data.multilingual is not None:
        token = language_token("-".join(direction))
        if token in (known := language_tokens(data)):
            return token
        raise UserError(
            f"{run}: translates into {', '.join(known)}, not into {direction.target}", fix="name another run"
        )
    if not _are_same(run_languages(data), direction):
        told, wanted = ("-".join(codes) for codes in (run_languages(data), direction))
        is_reversed = _are_same(run_languages(data), LanguagePair(direction.target, direction.source))
        fix = "swap --forward and --backward, or give --source and --target" if is_reversed else "name another run"
        raise UserError(f"{run}: translates {told}, but the text needs a run of {wanted}", fix=fix)
    return ""


def is_reversed(run: Path, data: Data, languages: LanguagePair) -> bool:
    """Return whether a run is of the text's languages the other way round.

    Raises:
        UserError: it is of others.
    """
    if data.multilingual is not None or _are_same(run_languages(data), languages):
        return False
    if _are_same(run_languages(data), LanguagePair(languages.target, languages.source)):
        return True
    told, wanted = ("-".join(codes) for codes in (run_languages(data), languages))
    raise UserError(f"{run}: is of {told}, but the text of {wanted}", fix="name another run")


def check_language(run: Path, data: Data, code: str) -> None:
    """Check that a language model is one of the language of a side.

    Raises:
        UserError: it is of another.
    """
    if base_code(data.target_language) != base_code(code):
        raise UserError(
            f"{run}: is a language model of {data.target_language}, but this side of the text is in {code}",
            fix="swap --source-lm and --target-lm, or name another run",
        )


def run_languages(data: Data) -> LanguagePair:
    """Return the languages that a run was trained on."""
    return LanguagePair(data.source_language, data.target_language)


def _are_same(one: LanguagePair, other: LanguagePair) -> bool:
    return [base_code(code) for code in one] == [base_code(code) for code in other]
