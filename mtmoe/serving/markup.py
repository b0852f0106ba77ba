"""Text with markup (HTML, XML): sentences are translated with their inline tags, and everything else stays as it is.

Elements that begin a new line in a browser divide sentences. Tags within a sentence become tags of numbers, ``<1>``,
which a translator takes through by the attention (`inference/constraints/pass_through.py`). Should one be lost or
stand in the wrong order, the sentence is translated once more, in the pieces between its tags.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

_MOST_CHARACTERS_OF_A_TAG = 4000
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<!\[CDATA\[.*?(?:\]\]>|\Z)"
    r"|<[!?][^<>]*>"
    rf"""|<(?P<close>/?)(?P<name>[A-Za-z][\w:.-]*+)(?:[^<>"']|"[^"]*+"|'[^']*+'){{0,{_MOST_CHARACTERS_OF_A_TAG}}}+>""",
    re.DOTALL,
)
_NOT_TRANSLATED = re.compile(
    r"""\stranslate\s*=\s*["']?no\b|\sclass\s*=\s*(?:"[^"]*\bnotranslate\b|'[^']*\bnotranslate\b|notranslate\b)""",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"<(/?)(\d+)(/?)>")
_EDGES = re.compile(r"(\s*)(.*?)(\s*)", re.DOTALL)
_RAW = frozenset({"script", "style"})
_VOID = frozenset(re.findall(r"\w+", "area base br col embed hr img input link meta param source track wbr"))
_DIVIDING = frozenset(
    re.findall(
        r"\w+",
        """
    address article aside blockquote body br button caption center col colgroup dd details dialog div dl dt fieldset
    figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe legend li link main
    menu meta nav noscript ol optgroup option p pre script section select style summary table tbody td template textarea
    tfoot th thead title tr ul video
    """,
    )
)
"""Elements that divide sentences; all others, of whatever name, are within one."""


class _Token(NamedTuple):
    """A piece of the text. name: of a tag, in small letters."""

    kind: Literal["text", "open", "close", "alone", "divider"]
    content: str
    name: str = ""


class _Sentence:
    """Text and inline tags between two dividers."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens = tokens
        numbers = _pairs(tokens)
        in_pairs = {number for number, count in Counter(numbers.values()).items() if count == 2}
        self.tags: dict[str, str] = {}
        shown = []
        for place, token in enumerate(tokens):
            if token.kind == "text":
                shown.append(html.unescape(token.content))
                continue
            number = numbers[place]
            form = {"open": "<{}>", "close": "</{}>"}[token.kind] if number in in_pairs else "<{}/>"
            shown.append(form.format(number))
            self.tags[shown[-1]] = token.content
        edges = _EDGES.fullmatch("".join(shown))
        assert edges is not None
        self.before, self.line, self.behind = edges.groups()
        texts = [html.unescape(token.content) for token in tokens if token.kind == "text"]
        self.has_text = any(map(str.strip, texts))
        self.looks_tagged = any(map(_NUMBERED.search, texts))
        self.pieces = [text.strip() for text in texts if text.strip()]

    def with_tags(self, translation: str) -> str | None:
        """Return the translation with the tags in place of their numbers; None if one is lost or misplaced."""
        parts: list[str] = []
        found: list[str] = []
        open_numbers: list[str] = []
        end = 0
        for match in _NUMBERED.finditer(translation):
            if match[0] not in self.tags:
                return None
            if match[1]:
                if not open_numbers or open_numbers.pop() != match[2]:
                    return None
            elif not match[3]:
                open_numbers.append(match[2])
            parts += [_escaped(translation[end : match.start()]), self.tags[match[0]]]
            found.append(match[0])
            end = match.end()
        if sorted(found) != sorted(self.tags):
            return None
        return self._between(*parts, _escaped(translation[end:]))

    def of_pieces(self, translations: Sequence[str]) -> str:
        """Return the sentence with the translation of each piece of text where the piece was."""
        remaining = iter(translations)
        parts = []
        for token in self.tokens:
            if token.kind != "text" or not html.unescape(token.content).strip():
                parts.append(token.content)
                continue
            edges = _EDGES.fullmatch(html.unescape(token.content))
            assert edges is not None
            parts.append(_escaped(edges[1] + next(remaining) + edges[3]))
        return "".join(parts)

    def _between(self, *parts: str) -> str:
        return "".join((_escaped(self.before), *parts, _escaped(self.behind)))


class Markup:
    """A text with tags, comments and character references (``&amp;``)."""

    def __init__(self, text: str) -> None:
        self._parts: list[str | _Sentence] = []
        tokens: list[_Token] = []
        for token in (*_tokens(text), _Token("divider", "")):
            if token.kind != "divider":
                tokens.append(token)
                continue
            if tokens:
                sentence = _Sentence(tokens)
                self._parts.append(sentence if sentence.has_text else "".join(each.content for each in tokens))
                tokens = []
            self._parts.append(token.content)
        self._sentences = [part for part in self._parts if isinstance(part, _Sentence)]
        self.lines = [sentence.line for sentence in self._sentences]

    def second_lines(self, translations: Sequence[str]) -> list[str]:
        return [
            piece
            for sentence, translation in zip(self._sentences, translations, strict=True)
            if self._is_lost(sentence, translation)
            for piece in sentence.pieces
        ]

    def takes(self, place: int, best: str, alternative: str) -> bool:
        sentence = self._sentences[place]
        return not self._is_lost(sentence, best) and not self._is_lost(sentence, alternative)

    def joined(self, translations: Sequence[str], second: Sequence[str] = ()) -> str:
        first, pieces = iter(translations), iter(second)
        joined = []
        for part in self._parts:
            if isinstance(part, str):
                joined.append(part)
                continue
            translation = next(first)
            if self._is_lost(part, translation):
                joined.append(part.of_pieces([next(pieces, piece) for piece in part.pieces]))
            else:
                joined.append(part.with_tags(translation) or "")
        return "".join(joined)

    def _is_lost(self, sentence: _Sentence, translation: str) -> bool:
        return sentence.looks_tagged or sentence.with_tags(translation) is None


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _pairs(tokens: Sequence[_Token]) -> dict[int, int]:
    """Return the number of each tag by its place among the tokens; opening and closing tag of a pair share theirs."""
    numbers: dict[int, int] = {}
    waiting: list[tuple[str, int]] = []
    following = 1
    for place, token in enumerate(tokens):
        if token.kind == "text":
            continue
        if token.kind == "close" and waiting and waiting[-1][0] == token.name:
            numbers[place] = waiting.pop()[1]
            continue
        numbers[place] = following
        if token.kind == "open":
            waiting.append((token.name, following))
        following += 1
    return numbers


def _tokens(text: str) -> Iterator[_Token]:
    """Yield the pieces of a text; together they are the text."""
    place = 0
    while match := _MARKUP.search(text, place):
        if match.start() > place:
            yield _Token("text", text[place : match.start()])
        name = (match["name"] or "").lower()
        end = match.end()
        if not name:
            yield _Token("alone", match[0])
        elif match["close"]:
            yield _Token("divider" if name in _DIVIDING else "close", match[0], name)
        elif name in _RAW or _NOT_TRANSLATED.search(match[0]):
            end = end if name in _VOID or match[0].endswith("/>") else _end_of_element(text, match)
            yield _Token("divider" if name in _DIVIDING else "alone", text[match.start() : end], name)
        elif name in _DIVIDING:
            yield _Token("divider", match[0], name)
        else:
            yield _Token("alone" if name in _VOID or match[0].endswith("/>") else "open", match[0], name)
        place = end
    if place < len(text):
        yield _Token("text", text[place:])


def _end_of_element(text: str, opening: re.Match[str]) -> int:
    """Return the place behind the closing tag that belongs to an opening one; the end of the text if there is none."""
    name = re.escape(opening["name"])
    if opening["name"].lower() in _RAW:
        closing = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, opening.end())
        return closing.end() if closing else len(text)
    depth = 1
    for tag in re.compile(rf"<(/?){name}\b[^<>]*?(/?)>", re.IGNORECASE).finditer(text, opening.end()):
        depth += -1 if tag[1] else 0 if tag[2] else 1
        if depth == 0:
            return tag.end()
    return len(text)
