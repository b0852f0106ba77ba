"""Languages by their codes (BCP 47, ISO 639): in which script they are written, whether that divides words by spaces,
which of sacreBLEU's tokenisers measures them, and directions such as ``en-zh-CN``.

Codes are read as people write them: ``zh_CN``, ``ZHO``, ``chi`` and ``cmn-Hans`` are Chinese. Scripts are those of CLDR
(likely subtags), so that a language that nobody thought of here is treated as it is written.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from mtmoe.errors import UserError

if TYPE_CHECKING:
    from langcodes import Language

SEVERAL = "mul"
"""The code of text in several languages."""

Tokeniser = Literal[
    "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores101", "flores200", "spBLEU-1K", "none"
]  # fmt: skip
TOKENISERS: tuple[Tokeniser, ...] = get_args(Tokeniser)
"""sacreBLEU's, by the names that it has for them."""
ChosenTokeniser = Literal["auto", Tokeniser]
"""auto: that of the language."""

_HAN = frozenset({"Hans", "Hant", "Hani", "Hanb", "Bopo"})
_JAPANESE = frozenset({"Jpan", "Hrkt", "Hira", "Kana"})
# Line breaking by dictionary (class SA of UAX #14) or between any two signs, syllables or clauses.
_OTHERS_WITHOUT_SPACES = frozenset(
    {"Thai", "Laoo", "Khmr", "Mymr", "Tale", "Talu", "Lana", "Tavt", "Ahom", "Tibt"}
    | {"Yiii", "Nshu", "Tang", "Java", "Bali", "Batk", "Bugi", "Kawi"}
)
_WITHOUT_SPACES = _HAN | _JAPANESE | _OTHERS_WITHOUT_SPACES
_SUBTAGS = re.compile("[A-Za-z0-9]+(_[A-Za-z0-9]+)*")
# First words of the Unicode names of their characters.
_CHARACTERS_WITHOUT_SPACES = (
    "CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA ", "BOPOMOFO ", "THAI ", "LAO ", "KHMER ",
    "MYANMAR ", "TAI LE ", "NEW TAI LUE ", "TAI THAM ", "TAI VIET ", "AHOM ", "TIBETAN ", "YI ", "NUSHU ", "TANGUT ",
    "JAVANESE ", "BALINESE ", "BATAK ", "BUGINESE ", "KAWI ",
)  # fmt: skip
# Chinese and Tibetan languages for which CLDR has no likely script.
_SCRIPTS = dict.fromkeys(("cdo", "cjy", "cnp", "cpx", "csp", "czh", "czo", "mnp"), "Hans")
_SCRIPTS |= dict.fromkeys(("adx", "khg"), "Tibt")


class Direction(NamedTuple):
    """Two languages, by their codes as they were written."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


@cache
def normal_code(code: str) -> str:
    """Return the code in the form of BCP 47: ``zh-CN`` of ``ZHO_cn``, ``zh`` of ``cmn``; what is no code as it is, in
    lower case and with hyphens."""
    language = _language(code)
    return code.strip().lower().replace("_", "-") if language is None else language.to_tag()


@cache
def is_known(code: str) -> bool:
    """Return whether all of the code's parts are registered (or for private use)."""
    language = _language(code)
    return language is not None and language.language is not None and language.is_valid()


def same_language(one: str, other: str) -> bool:
    """Return whether two codes mean the same: ``zho`` and ``zh``, but not ``zh-TW`` and ``zh``."""
    return normal_code(one) == normal_code(other)


def covers(wanted: str, found: str) -> bool:
    """Return whether text marked as ``found`` is of the wanted language: ``en`` takes ``en-US``, ``eng`` and
    ``EN_gb``; ``en-GB`` takes neither ``en`` nor ``en-US``."""
    wanted, found = normal_code(wanted), normal_code(found)
    return found == wanted or found.startswith(f"{wanted}-")


@cache
def script_of(code: str) -> str:
    """Return the script (ISO 15924) that the code names, else the one that its language is mostly written in; empty for
    a code that is not known."""
    language = _language(code)
    if language is None or not language.is_valid() or language.language == SEVERAL:
        return ""
    return language.script or _SCRIPTS.get(language.language or "") or language.maximize().script or ""


def has_spaces(code: str) -> bool:
    """Return whether the language divides words by spaces; taken to be so if the code is not known."""
    return script_of(code) not in _WITHOUT_SPACES


def space_between_sentences(code: str) -> str:
    """Return what stands between two sentences of the language: a space, or nothing."""
    return " " if has_spaces(code) else ""


@cache
def is_written_without_spaces(character: str) -> bool:
    """Return whether a character is of a script that does not divide words by spaces."""
    return not character.isascii() and unicodedata.name(character, "").startswith(_CHARACTERS_WITHOUT_SPACES)


def num_words(text: str, code: str) -> int:
    """Return how many words a text in normal form has: what spaces divide; in a language without them, each letter of
    a script without spaces is one (a mark belongs to its letter), as is what stands together of other scripts."""
    if has_spaces(code):
        return len(text.split())
    number, goes_on = 0, False
    for character in text:
        if unicodedata.category(character)[0] == "M":
            continue
        stands_alone = is_written_without_spaces(character)
        number += not character.isspace() and (stands_alone or not goes_on)
        goes_on = not character.isspace() and not stands_alone
    return number


def tokeniser_of(code: str) -> Tokeniser:
    """Return the name of the tokeniser with which BLEU of a language is measured.

    It is sacreBLEU's own choice for Chinese, Japanese and Korean. For other languages without spaces, whose sentences
    would be single words to 13a, it is single characters; for all others 13a, as also for a code that is not known.
    """
    language, script = _language(code), script_of(code)
    if script in _HAN:
        return "zh"
    if script in _JAPANESE:
        return "ja-mecab"
    if language is not None and language.language == "ko" and script != "Latn":
        return "ko-mecab"
    return "char" if script in _WITHOUT_SPACES else "13a"


def chosen_tokeniser(chosen: ChosenTokeniser, code: str) -> Tokeniser:
    """Return the tokeniser that was named; for ``auto`` that of the language."""
    return tokeniser_of(code) if chosen == "auto" else chosen


def complaint_about(code: str) -> str:
    """Return a warning of a code that is not known, with the nearest one that is; empty for a known one."""
    if is_known(code):
        return ""
    near = nearest(code)
    meant = f" (did you mean {near}?)" if near else ""
    return (
        f"{code!r} is not a language code that is known{meant}; it is treated as a language with "
        "spaces between words, whose BLEU is that of the tokeniser 13a"
    )


def unknown_codes(codes: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for each code that is not known, once."""
    return tuple(filter(None, (complaint_about(code) for code in dict.fromkeys(codes))))


@cache
def nearest(code: str) -> str:
    """Return a known code that may have been meant by one that is not; empty if there is none.

    The code of a country stands for its language (``jp``, ``cn``), a name for its first letters (``german``).
    """
    from langcodes import Language
    from langcodes.data_dicts import LANGUAGE_ALPHA3, LANGUAGE_ALPHA3_BIBLIOGRAPHIC

    if normal_code(code) == "und":
        return ""
    first, _, others = normal_code(code).partition("-")
    if others and is_known(first):
        return first
    if len(first) == 2 and first[0] not in "qx":  # those are nobody's
        country = Language.make(territory=first.upper())
        if country.is_valid():
            return normal_code(country.maximize().language or "")
    for begin in (first, first[:3]):
        if len(begin) == 3 and is_known(begin) and (len(first) > 3 or begin != first):
            return normal_code(begin)
    known = {*LANGUAGE_ALPHA3, *LANGUAGE_ALPHA3.values(), *LANGUAGE_ALPHA3_BIBLIOGRAPHIC.values()}
    alike = sorted(other for other in known if other[0] == first[:1])
    found = difflib.get_close_matches(first, alike, n=1, cutoff=0.6)
    return normal_code(found[0]) if found else ""


@cache
def parse_direction(text: str) -> Direction:
    """Return the two languages of ``SOURCE-TARGET``, such as ``en-de``, ``en-zh-CN``, ``zh_Hant-en``.

    Where there are several hyphens, only languages that are known are taken. If that leaves several ways to read it,
    the one counts that is written as BCP 47 writes it (regions in capitals: ``en-pt-BR``).

    Raises:
        UserError: it is not a direction, or can be read in several ways.
    """
    parts = text.split("-")
    splits = [("-".join(parts[:place]), "-".join(parts[place:])) for place in range(1, len(parts))]
    if not splits or not all(map(_SUBTAGS.fullmatch, parts)) or not all(len(code) > 1 for code in sum(splits, ())):
        raise UserError(f"{text!r} is not a direction", fix="write SOURCE-TARGET, such as en-de or en-zh-CN")
    known = [split for split in splits if is_known(split[0]) and is_known(split[1])]
    written = [split for split in known if all(code == _as_written(code) for code in split)]
    if len(splits) > 1 and len(known) != 1 and len(written) != 1:
        raise _unclear(text, known)
    [(source, target)] = splits if len(splits) == 1 else known if len(known) == 1 else written
    # zh-TW is Taiwan's Chinese, though tw, in small letters, is a language too.
    if len(splits) == 1 and not target.islower() and _as_written(text) == text and is_known(text):
        raise UserError(
            f"{text!r} is one language, and a direction has two", fix=f"write SOURCE-TARGET, such as en-{text}"
        )
    return Direction(source, target)


def _unclear(text: str, known: list[tuple[str, str]]) -> UserError:
    if not known:
        return UserError(
            f"{text!r} is not a direction between two known languages",
            fix="write SOURCE-TARGET, such as en-de or en-zh-CN",
        )
    readings = " or ".join(f"{normal_code(source)} to {normal_code(target)}" for source, target in known)
    examples = " or ".join(
        f"{normal_code(source).replace('-', '_')}-{normal_code(target).replace('-', '_')}" for source, target in known
    )
    return UserError(f"the direction {text!r} can be read as {readings}", fix=f"write {examples}")


def _as_written(code: str) -> str:
    """Return the code in BCP 47's capitals; its language stays, if that is an old or long name, too."""
    language, *others = code.split("-")
    shown = [language.lower()]
    for part in others:
        shown.append(part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part.lower())
    return "-".join(shown)


@cache
def _language(code: str) -> Language | None:
    """None: it does not look like a code."""
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        return Language.get(code.strip()).prefer_macrolanguage()
    except (LanguageTagError, ValueError):
        return None
