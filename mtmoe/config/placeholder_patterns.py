"""Patterns of the placeholders that ``decoding.placeholders`` names."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import regex

SECONDS_A_LINE = 1.0
"""Longest search in one line. The named patterns take a time in proportion to the line; what a user writes may not."""

# ----------------------------------------------------------------- web addresses, as GitHub's autolinks delimit them
_ENDS_ADDRESS = r"\s<>\"`\\“”‘’«»‹›「」『』【】《》（），。、；：！？"
_TRAILING = r"?!.,:;*_~'…"  # not the end of an address, but inside it
_IN_BRACKETS = rf"[^{_ENDS_ADDRESS}()\[\]]"


def _balanced(depth: int) -> str:
    """Return a regular expression of balanced brackets, round or square, nested up to so many deep."""
    inner = rf"(?:{_IN_BRACKETS}|{_balanced(depth - 1)})*+" if depth > 1 else rf"{_IN_BRACKETS}*+"
    return rf"(?:\({inner}\)|\[{inner}\])"


_ENTITY = r"(?!&[A-Za-z0-9]+;(?:$|[\s<>)]))"  # "&quot;" behind an address
_ADDRESS = rf"(?:[{_TRAILING}]*+(?:{_ENTITY}[^{_ENDS_ADDRESS}()\[\]{_TRAILING}]|{_balanced(3)}))++"

# -------------------------------------------------------------------------------------------------- mail addresses
_LABEL = r"[^\W_]++(?:[-_]++[^\W_]++)*+"

# ----------------------------------------------------------------------------------------------------------- markup
_QUOTED = r"\"[^\"]*+\"|'[^']*+'"
_WITHOUT_VALUE = (
    "allowfullscreen|async|autofocus|autoplay|checked|controls|default|defer|disabled|download|formnovalidate|hidden|"
    "inert|ismap|itemscope|loop|multiple|muted|nomodule|novalidate|open|playsinline|readonly|required|reversed|"
    "selected|v-cloak|v-else|v-once|v-pre"
)
_ATTRIBUTE = rf"[^\s\"'<>/=]++\s*+=\s*+(?:{_QUOTED}|[^\s\"'=<>`]++)|(?:(?i:{_WITHOUT_VALUE})|data-[\w-]++)(?=[\s/>])"

# -------------------------------------------------------------------------------------------------- printf's formats
_FLAGS_AND_WIDTH = r"[-+#0']*+(?:\d++|\*(?:\d++\$)?+)?+"
_PRECISION = r"\.(?:\d++|\*(?:\d++\$)?+)?+"
_TYPE = r"(?:hh|h|ll|l|q|L|j|z|t|I64|I32)?+[diouxXeEfFgGaAcCsSpn@]"
_UNIT = r"(?:s|ms|h|m|min|px|pt|x|k|[kKMGT]?i?[Bb]|st|nd|rd|th)(?![A-Za-z0-9])"

# ------------------------------------------------------------------------------------------------------------- emoji
# Those that Unicode shows as text unless told otherwise are letters to most writers: (c), (R), TM, arrows.
_AS_TEXT = r"[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u3030\u303d\u3297\u3299]"
_BASE = rf"(?:\p{{Emoji_Presentation}}|(?!{_AS_TEXT}(?!\ufe0f))\p{{Extended_Pictographic}})"
_PICTURE = rf"{_BASE}(?:\ufe0f|\p{{Emoji_Modifier}})?+"
_TAG_SEQUENCE = r"(?:[\U000e0020-\U000e007e]++\U000e007f)?+"

PATTERNS = {
    # A scheme or "www.", then anything but white space, quotes and angle brackets. What punctuates the sentence and a
    # bracket that was not opened in it are no part of it; neither are names alone, "example.org".
    "urls": rf"(?:(?<![A-Za-z0-9+-])(?i:https?|ftps?)://|(?<![\w.@/-])(?i:www)\.(?=[^\W_])){_ADDRESS}",
    "emails": rf"(?<![\w.+%-])[.%-]*+\K[\w+][\w.+%-]*+@{_LABEL}(?:\.{_LABEL})++",
    # HTML, XML, XLIFF, and numbers as tags. A word in a tag is an attribute only with a value, or where HTML has it.
    "tags": rf"<(?:/[A-Za-z][\w:.-]*+\s*+|/?\d++\s*+/?|[A-Za-z][\w:.-]*+(?:\s++(?:{_ATTRIBUTE}))*+\s*+/?)>"
    r"|<!--(?:[^-<]|-(?!->)|<(?!!--))*+-->",
    # {name}, {0:.2f}, {a!r}, {date:%d %B}, {n, number}, {x:{width}}, ${x}, %{x}, #{x}; {{ x }}, {{{ x }}}, {% x %}.
    "braces": r"[$#%@]?(?:\{\{\{[^{}]*+\}\}\}|\{\{[^{}]*+\}\}|\{%[^{}%]*+%\}"
    r"|\{[^{}\s]*+(?:\{[^{}\s]*+\}[^{}\s]*+)*+\}|\{[^{}\s:]*+:[^{}%]*+%[^{}]*+\}"
    r"|\{\s*+\w++\s*+,\s*+(?:date|duration|list|number|ordinal|spellout|time)(?:\s*+,[^{}]*+)?+\s*+\})",
    # "100%sure" and "5% of" are no formats: letters follow one only if something besides the "%" says that it is one.
    "printf": rf"%%|%\d++\${_FLAGS_AND_WIDTH}(?:{_PRECISION})?+{_TYPE}|%\([^()\s]++\){_FLAGS_AND_WIDTH}"
    rf"(?:{_PRECISION})?+{_TYPE}|%{_FLAGS_AND_WIDTH}{_PRECISION}{_TYPE}"
    rf"|%{_FLAGS_AND_WIDTH}{_TYPE}(?:(?![A-Za-z0-9])|(?<!\d%[A-Za-z@])(?=x%|{_UNIT}))",
    "numbers": r"(?<!\w)\d+(?:[.,:]\d+)*(?!\w)",
    # Flags, keycaps, and pictures with their modifiers, several joined into one.
    "emoji": rf"\p{{Regional_Indicator}}{{2}}|[0-9#*]\ufe0f?+\u20e3|{_PICTURE}{_TAG_SEQUENCE}(?:\u200d{_PICTURE})*+"
    r"|\p{Emoji_Modifier}",
    # 1,000.50, 12:30, 2024-05-01, 192.168.0.1, 1'000, 3/4: digits with signs between them. A lone digit is a word.
    "formatted-numbers": r"(?<![\w.,:'’/-])\d++(?:[.,:'’/-]\d++)++(?!\w)",
}
"""Regular expressions by name, of the package ``regex``. White space in a line is single spaces when they are looked
for."""


_MAY_BE_THERE = regex.compile(
    r"[@<{%\d\u20e3\U0001f1e6-\U0001f1ff]|://|www\.|\p{Extended_Pictographic}|\p{Emoji_Modifier}", regex.IGNORECASE
)
"""Something of this is in every text that one of the named patterns finds; most lines have nothing of it."""

NUMBER_KINDS = frozenset({"numbers", "formatted-numbers"})
"""Kinds that a model writes by itself, and languages write differently."""

PASSED_THROUGH = ("urls", "emails", "tags", "braces", "printf", "emoji", "formatted-numbers")
"""What comes out as it went in unless ``decoding.pass_through`` says otherwise."""


class TookTooLong(Exception):
    """An expression could not be looked for in time; its argument is the expression as the user wrote it."""


class PlaceholderPattern:
    """A pattern that finds what any of several names means. It can be pickled."""

    def __init__(self, expressions: dict[str, str], seconds: float = SECONDS_A_LINE) -> None:
        """Compile expressions, given by what the user calls them; each by itself, for it may set flags."""
        self._patterns = {name: regex.compile(expression) for name, expression in expressions.items()}
        self._names = {pattern: name for name, pattern in self._patterns.items()}
        self._all_known = all(PATTERNS.get(name) == expression for name, expression in expressions.items())
        self._seconds = seconds

    def finditer(self, text: str) -> Iterator[regex.Match[str]]:
        """Yield matches from left to right that do not overlap: what begins first counts, of these the name that was
        given first.

        Raises:
            TookTooLong: all together took longer than ``seconds``.
        """
        if self._all_known and _MAY_BE_THERE.search(text) is None:
            return
        deadline = time.monotonic() + self._seconds
        place = 0
        waiting: dict[str, _Found] = {}
        while True:
            for name, pattern in self._patterns.items():
                if name not in waiting or (waiting[name].match and waiting[name].begin < place):
                    waiting[name] = _first(name, pattern, text, place, deadline)
            found = min((found for found in waiting.values() if found.match), key=lambda f: f.begin, default=None)
            if found is None or found.match is None:
                return
            yield found.match
            place = found.match.end()

    def kind(self, match: regex.Match[str]) -> str:
        """Return by which name something was found."""
        return self._names[match.re]

    def findall(self, text: str) -> list[str]:
        """Return what :meth:`finditer` finds as strings."""
        return [match[0] for match in self.finditer(text)]


class _Found(NamedTuple):
    begin: int
    match: regex.Match[str] | None
    """None: there is no more of it in the line."""


def _first(name: str, pattern: regex.Pattern[str], text: str, place: int, deadline: float) -> _Found:
    """Return the first match from ``place`` on that is not empty."""
    while True:
        seconds = deadline - time.monotonic()
        try:
            if seconds <= 0:
                raise TimeoutError
            match = pattern.search(text, place, timeout=seconds)
        except TimeoutError:
            raise TookTooLong(name) from None
        if match is None or match.end() > match.start():
            return _Found(match.start() if match else -1, match)
        place = match.end() + 1


def placeholder_pattern(names: Sequence[str], key: str = "placeholders") -> PlaceholderPattern:
    """Return the pattern of any of the names: each one of ``PATTERNS``, or a regular expression between slashes.

    Args:
        key: of the setting that names them.

    Raises:
        ValueError: what is wrong with a name.
    """
    return PlaceholderPattern({name: PATTERNS[name] if name in PATTERNS else _expression(name, key) for name in names})


def _expression(name: str, key: str) -> str:
    """Return the regular expression between the slashes, if it is valid.

    Raises:
        ValueError: as :func:`placeholder_pattern`.
    """
    if not (len(name) > 2 and name[0] == name[-1] == "/"):
        known = ", ".join(PATTERNS)
        raise ValueError(f"{key}: {name!r} is none of {known}, nor a regular expression between slashes")
    expression = name[1:-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constructs that may mean something else one day
            # The parser tells how short a match can be; ``search("")`` would not see that /\b/ matches nothing.
            shortest, _ = re._parser.parse(expression).getwidth()  # type: ignore[attr-defined]
            found = re.compile(expression)
            regex.compile(expression)
    except (re.error, regex.error, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"{key}: {name} is no regular expression: {error}") from None
    if found.groups:
        raise ValueError(f"{key}: {name} has a group; write (?:...) for (...)")
    if not shortest:
        raise ValueError(f"{key}: {name} matches the empty text")
    return expression
