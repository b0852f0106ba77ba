"""Long lines: division of a line that is too long for the model where it hurts least.

A model learns from sentences of bounded length and translates much longer ones badly. So an over-long line is
divided at ends of sentences, each of which is translated by itself; a sentence that is still too long at its
clauses, then between words, and what has no white space anywhere.

The rules are few and careful, and the same for all languages: only lines beyond ``decoding.max_source_tokens``
meet them, so that a boundary too few costs little, and one too many (after an abbreviation) a little quality.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

Encode = Callable[[Sequence[str]], list[list[int]]]

_CLOSING = "\"'”’»›)\\]」』》】"
# Signs that are written without a space after them, and those that need one to end anything.
_END_WIDE = "。！？｡"
_END = ".!?…‽।॥؟۔։።"
_CLAUSE_WIDE = "、，；："
_CLAUSE = ";:,،؛·—–"
# A run of signs is tried from its first one only, and never in parts: else a line of dots takes quadratic time.
_SENTENCE = re.compile(f"(?<![{_END}])[{_END}]++[{_CLOSING}]*+(?= )|[{_END_WIDE}]++[{_CLOSING}]*+")
_CLAUSES = re.compile(f"(?<![{_CLAUSE}])[{_CLAUSE}]++[{_CLOSING}]*+(?= )|[{_CLAUSE_WIDE}]++[{_CLOSING}]*+")

_ABBREVIATIONS = re.compile(
    r"\A(?:approx|bzw|cf|chap|corp|dept|dr|ed|etc|fr|gen|hr|inc|jr|ltd|mme|mrs?|ms|nr|pp|prof|rev|sen|sgt|sra?|st|str|usw|"
    "vgl|vol|vs)",
    re.IGNORECASE,
)
_INNER_STOP = re.compile(r"\w\.\w")
_ORDINAL = re.compile(r"\d{1,2}")
_WORDS = re.compile(r"(?<! ) *[^ ]+")


def divided(text: str, encode: Encode, longest: int) -> list[str]:
    """Return parts of the text, in order, of at most ``longest`` subwords each.

    Nothing but white space between two parts is lost. A text that is short enough is one part; a blank one none.

    Args:
        text: a line in the normal form of :func:`mtmoe.data.cleaning.normal_form.normalise_line`.
        encode: from texts to subword ids.
        longest: subwords of a part. A single character that has more is a part all the same.
    """
    return [part for part in _divided(text, encode, longest, _LEVELS) if part]


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a line: its ends are full stops and their like, before what can begin a sentence."""
    begin = 0
    for match in _SENTENCE.finditer(text):
        if _ends_sentence(text, match):
            yield text[begin : match.end()].strip()
            begin = match.end()
    yield text[begin:].strip()


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    # One space at most follows in the normal form. Nothing is copied, for a line can have very many ends.
    behind = match.end() + text.startswith(" ", match.end())
    following = text[behind : behind + 1]
    if following.islower():
        return False
    if match[0] != "." or not following:
        return True
    word = text[text.rfind(" ", 0, match.start()) + 1 : match.start()].lstrip("\"'“‘«(")
    is_short_form = (
        (len(word) == 1 and word.isalpha())  # an initial
        or _ABBREVIATIONS.fullmatch(word)
        or _INNER_STOP.search(word)  # U.S, z.B
        or _ORDINAL.fullmatch(word)  # am 3. Mai
    )
    return not is_short_form


def _clauses(text: str) -> Iterator[str]:
    begin = 0
    for match in _CLAUSES.finditer(text):
        yield text[begin : match.end()]
        begin = match.end()
    yield text[begin:]


def _words(text: str) -> Iterator[str]:
    yield from _WORDS.findall(text)


def _halves(text: str) -> Iterator[str]:
    """Yield two halves; a mark stays with its letter."""
    middle = len(text) // 2
    while middle > 1 and unicodedata.category(text[middle])[0] == "M":
        middle -= 1
    yield from (text[:middle], text[middle:])


_Level = Callable[[str], Iterator[str]]
_LEVELS: tuple[_Level, ...] = (sentences, _clauses, _words, _halves)


def _divided(text: str, encode: Encode, longest: int, levels: Sequence[_Level]) -> Iterator[str]:
    text = text.strip()
    [ids] = encode([text])
    if len(ids) <= longest or len(text) < 2:
        yield text
        return
    divide = levels[0]
    pieces = [piece for piece in divide(text) if piece]
    # Sentences are translated one by one, as the model knows them; smaller pieces are as large as can be.
    parts = pieces if divide in (sentences, _halves) else _packed(pieces, encode, longest)
    following = levels if divide is _halves else levels[1:]
    for part in parts:
        yield from _divided(part, encode, longest, following)


def _packed(pieces: Sequence[str], encode: Encode, longest: int) -> Iterator[str]:
    """Yield neighbours put together for as long as the sum of their subwords allows."""
    packed, num_subwords = "", 0
    for piece, ids in zip(pieces, encode(pieces), strict=True):
        if packed and num_subwords + len(ids) > longest:
            yield packed
            packed, num_subwords = "", 0
        packed += piece
        num_subwords += len(ids)
    if packed:
        yield packed
