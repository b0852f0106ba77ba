"""Items that a translation has to leave as they are: web and mail addresses, emoji, placeholders of programs, tags.

Names in what is drawn are made up of syllables, so that a model learns to copy letters and not a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import regex

from mtmoe.config.placeholder_patterns import PATTERNS

ItemKind = Literal["url", "email", "emoji", "placeholder", "tag"]
ITEM_KINDS: tuple[ItemKind, ...] = get_args(ItemKind)

_ITEM = regex.compile("|".join(f"(?:{PATTERNS[name]})" for name in ("urls", "emails", "tags", "braces", "printf")))
_MAY_HAVE_ITEM = regex.compile(r"[@<{%]|://|[Ww]\.")  # quickly told; each pattern needs one of these
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"
_ENDINGS = ("com", "org", "net", "de", "fr", "eu", "io", "info", "co.uk", "example")
_NAMES = ("name", "count", "user", "date", "price", "title", "id", "file_name", "num_items", "city")
# One of each kind in which emoji are built: single, with a selector, skin tone, joined, flag, keycap.
_EMOJI = (
    *"😀😂🙂😉😍😎😢😭😡🤔🙄😴🤗👍👎👏🙏💪🎉🎂🎁🔥✨⭐🌍🌞🌧🌈🍕🍎🍺☕🚗🚲✈🏠🏥📱💻📷📚📅📞✉💡🔒🔑💰🐶🐱🐟🌹🌲⚽🎵✅❌❓❗💔💯",
    *("❤️", "☀️", "⚠️", "👍🏽", "👋🏻", "🤷‍♀️", "👨‍👩‍👧", "🏳️‍🌈", "🇫🇷", "🇩🇪", "1️⃣"),
)


def outside_items(text: str, change: Callable[[str], str]) -> str:
    """Return the text with ``change`` made to all of it but addresses, placeholders and tags."""
    if not _MAY_HAVE_ITEM.search(text):
        return change(text)
    parts, end = [], 0
    for match in _ITEM.finditer(text):
        parts += [change(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, change(text[end:])]) if parts else change(text)


def drawn_item(kind: ItemKind, random: np.random.Generator) -> str:
    """Draw an item of a kind."""
    return _DRAWING[kind](random)


def _one_of(choices: tuple[str, ...] | str, random: np.random.Generator) -> str:
    return choices[random.integers(len(choices))]


def _word(random: np.random.Generator) -> str:
    num_syllables = random.integers(2, 5)
    return "".join(_one_of(_CONSONANTS, random) + _one_of(_VOWELS, random) for _ in range(num_syllables))


def _host(random: np.random.Generator) -> str:
    return f"{_word(random)}.{_one_of(_ENDINGS, random)}"


def _url(random: np.random.Generator) -> str:
    begin = _one_of(("https://", "https://www.", "http://", "www."), random)
    path = "".join(f"/{_word(random)}" for _ in range(random.integers(3)))
    query = f"?{_one_of(_NAMES, random)}={random.integers(1000)}" if path and random.random() < 0.25 else ""
    return f"{begin}{_host(random)}{path}{query}"


def _email(random: np.random.Generator) -> str:
    behind = _one_of(("", f".{_word(random)}", str(random.integers(100))), random)
    return f"{_word(random)}{behind}@{_host(random)}"


def _emoji(random: np.random.Generator) -> str:
    return _one_of(_EMOJI, random)


def _placeholder(random: np.random.Generator) -> str:
    name, number = _one_of(_NAMES, random), random.integers(1, 5)
    forms = (f"{{{name}}}", f"{{{number - 1}}}", f"{{{{{name}}}}}", f"${{{name}}}", "%s", "%d", f"%{number}$s",
             f"%({name})s", f"{{{name}:.2f}}", "{}")  # fmt: skip
    return _one_of(forms, random)


def _tag(random: np.random.Generator) -> str:
    name, number = _one_of(("b", "i", "u", "em", "strong", "span", "p", "g"), random), random.integers(1, 10)
    forms = (f"<{name}>", f"</{name}>", "<br>", "<br/>", f'<{name} id="{number}">', f'<x id="{number}"/>',
             f'<a href="https://{_host(random)}">', f"<{number}>", f"</{number}>")  # fmt: skip
    return _one_of(forms, random)


_DRAWING: dict[ItemKind, Callable[[np.random.Generator], str]] = {
    "url": _url,
    "email": _email,
    "emoji": _emoji,
    "placeholder": _placeholder,
    "tag": _tag,
}
