"""The two languages of a corpus: what was asked for and what its files name, checked against what its text is in."""

from __future__ import annotations

from collections.abc import Sequence

from mtmoe.corpus_survey.corpus_location import Corpus
from mtmoe.corpus_survey.language_identification import Identified, base_code, identify
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.errors import UserError
from mtmoe.languages import same_language


def decide_languages(corpus: Corpus, pairs: Sequence[Pair], asked: LanguagePair, where: str) -> LanguagePair:
    """Return the codes of both sides: as asked for, else as the files name them, else as the text is identified.

    Raises:
        UserError: a side is surely in another language, or cannot be told, or both sides are in one.
    """
    found = [identify([pair[side] for pair in pairs]) for side in (0, 1)]
    codes = []
    for side, name in enumerate(("source", "target")):
        claimed = asked[side] or corpus.named[side]
        if not claimed and not found[side].is_known:
            raise UserError(
                f"{where}: the language of the {name} side cannot be told", fix=f"give its code: --{name} CODE"
            )
        codes.append(claimed or found[side].language)
    chosen = LanguagePair(*codes)
    _check_claims(chosen, found, where, is_asked=any(asked), is_tmx=corpus.format == "tmx")
    if same_language(*chosen):
        raise UserError(
            f"{where}: both sides are in one language ({chosen.source}); a translation needs two",
            fix="name the file of the other language; or give both codes, --source and --target, if they differ",
        )
    return chosen


def _check_claims(
    chosen: LanguagePair, found: Sequence[Identified], where: str, *, is_asked: bool, is_tmx: bool
) -> None:
    """Raise a UserError where the text of a side is surely not in the language that it is said to be in."""
    if all(found[side].excludes(chosen[side]) for side in (0, 1)) and [f.language for f in found] == [
        base_code(chosen.target), base_code(chosen.source)
    ]:  # fmt: skip
        source, target = found[0].language, found[1].language
        fix = f"give --source {source} --target {target}, or name two files in the other order"
        raise UserError(
            f"{where}: is the other way round: the source side is in {source}, the target side in {target}",
            fix="correct xml:lang in the file" if is_tmx else fix,
        )
    for side, name in enumerate(("source", "target")):
        if found[side].excludes(chosen[side]):
            language, share = found[side].language, found[side].probabilities[found[side].language]
            fix = f"give --{name} {language}" + (", or another file" if is_asked else "; or check the file")
            if is_tmx:
                fix = f"correct xml:lang in the file, or choose another language with --{name}"
            raise UserError(
                f"{where}: the {name} side should be in {chosen[side]}, but {share:.0%} of it reads as {language}",
                fix=fix,
            )
