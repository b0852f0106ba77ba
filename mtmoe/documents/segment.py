"""Segments: a text of a document with its inline markup, the sentences to translate of it, and the text again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mtmoe.documents.placing import Pieces, placed_by_alignment, placed_in_source, written
from mtmoe.documents.tag_tree import TaggedText, tagged_text
from mtmoe.documents.tokens import Token, Translated, partners
from mtmoe.inference.text.long_lines import sentences
from mtmoe.languages import has_spaces


class SegmentLanguages:
    """What a segment needs to know of the two languages."""

    def __init__(self, source: str = "", target: str = "") -> None:
        self.source, self.target = source, target
        self.target_has_spaces = has_spaces(target)
        self.words_apart = has_spaces(source) and self.target_has_spaces


class Segment:
    """A text with markup that is translated, in sentences.

    Tags at its ends stay there. Those between words go where the alignment says (:mod:`.placing`); where that does not
    say it, the text between tags is translated by itself, and so for languages without spaces between words.
    """

    def __init__(
        self,
        tokens: Sequence[Token],
        escaped: Callable[[str], str] = str,
        languages: SegmentLanguages | None = None,
        *,
        in_sentences: bool = True,
    ) -> None:
        """
        Args:
            escaped: from text to how the format writes it.
            in_sentences: translate each sentence by itself.
        """
        self._languages = languages or SegmentLanguages()
        self._escaped = escaped
        self._as_it_was = _as_written(tokens, escaped)
        tokens = _with_marks_whole(tokens, escaped)
        before, core, behind = _without_ends(tokens)
        self._before, self._behind = (_as_written(ends, escaped) for ends in (before, behind))
        self.tagged: TaggedText = tagged_text(core)
        text = self.tagged.text
        self._sentences = [each for each in sentences(text) if each] if in_sentences else [text] if text else []
        self._separators = _separators(text, self._sentences)
        self._known: dict[int, str] = {}
        """Translations of sentences that need no translator."""
        self._whole: str | None = None

    @property
    def text(self) -> str:
        """Return the text without markup, in normal form."""
        return self.tagged.text

    @property
    def has_text(self) -> bool:
        """Return whether there is a letter in it."""
        return any(map(str.isalpha, self.text))

    @property
    def lines(self) -> list[str]:
        """Return the sentences to translate."""
        if self._whole is not None or not self.has_text:
            return []
        return [line for place, line in enumerate(self._sentences) if place not in self._known]

    def take_known(self, known: Callable[[str], str | None]) -> int:
        """Take translations that are known already, of the whole or of sentences; return how many lines that spares.

        A text with tags between its words is left: where these go in a translation of others nobody knows.
        """
        if self.tagged.has_inner_tags or not self.has_text:
            return 0
        self._whole = known(self.text)
        if self._whole is not None:
            return len(self._sentences)
        for place, line in enumerate(self._sentences):
            found = known(line)
            if found is not None:
                self._known[place] = found
        return len(self._known)

    def second_lines(self, translations: Sequence[Translated]) -> list[str]:
        """Return further lines that are needed: the text between tags that have no place in the translations."""
        if not self.lines or self._placed(translations) is not None:
            return []
        return [content.strip() for content, is_markup in self._source_pieces() if _is_translated(content, is_markup)]

    def joined(self, translations: Sequence[Translated], second: Sequence[Translated] = ()) -> str:
        """Return the segment as the document has it, with translations of :attr:`lines` and of :meth:`second_lines`."""
        if not self.has_text:
            return self._as_it_was
        return self._before + written(self._translated(translations, second), self._escaped) + self._behind

    def _translated(self, translations: Sequence[Translated], second: Sequence[Translated]) -> Pieces:
        if self._whole is not None:
            return self._around_whole(self._whole)
        placed = self._placed(translations)
        if placed is not None:
            return placed
        remaining = iter(second)
        pieces: Pieces = []
        last = ""
        for content, is_markup in self._source_pieces():
            if _is_translated(content, is_markup):
                begin = content[: len(content) - len(content.lstrip())]
                end = content[len(content.rstrip()) :]
                content = begin + next(remaining).text + end
            if self._languages.target_has_spaces and not is_markup and last.isalnum() and content[:1].isalnum():
                content = f" {content}"
            if not is_markup and content:
                last = content[-1]
            pieces.append((content, is_markup))
        return pieces

    def _around_whole(self, text: str) -> Pieces:
        return placed_by_alignment(self.tagged, text, {}) or [(text, False)]

    def _placed(self, translations: Sequence[Translated]) -> Pieces | None:
        """Return the translations with tags by alignment; None if a tag has no place."""
        text, sources = self._together(translations)
        if self.tagged.has_inner_tags and (self.tagged.is_vast or not self._languages.words_apart):
            return None
        return placed_by_alignment(self.tagged, text, sources)

    def _together(self, translations: Sequence[Translated]) -> tuple[str, dict[int, int]]:
        """Return the translation of the text, and the source word that each of its words comes from."""
        found = iter(translations)
        parts: list[str] = []
        sources: dict[int, int] = {}
        first_source = first_word = 0
        for place, line in enumerate(self._sentences):
            translation = None if place in self._known else next(found)
            text = self._known[place] if translation is None else translation.text
            num_sources, num_words = len(line.split()), len(text.split())
            for source, word in () if translation is None else translation.alignment:
                if 0 <= source < num_sources and 0 <= word < num_words:
                    sources.setdefault(first_word + word, first_source + source)
            # A sentence without a space before it begins within the word that ends the one before.
            first_source += num_sources - (not self._separators[place])
            first_word += num_words
            parts.append(text)
        return (" " if self._languages.target_has_spaces else "").join(filter(None, parts)), sources

    def _source_pieces(self) -> Pieces:
        return placed_in_source(self.tagged, words_apart=self._languages.words_apart)


def _is_translated(content: str, is_markup: bool) -> bool:
    return not is_markup and any(map(str.isalpha, content))


def _separators(text: str, lines: Sequence[str]) -> list[str]:
    """Return what stands behind each sentence of a text."""
    separators = []
    place = 0
    for line in lines:
        place = text.index(line, place) + len(line)
        separators.append(text[place : place + 1] if text[place : place + 1] == " " else "")
    return separators


def _without_ends(tokens: Sequence[Token]) -> tuple[list[Token], list[Token], list[Token]]:
    """Divide tokens: what is before the first text, the rest, and what is behind the last text. Pairs stay whole."""
    with_text = [place for place, token in enumerate(tokens) if token.has_text]
    if not with_text:
        return list(tokens), [], []
    first, last = with_text[0], with_text[-1]
    begin, end = first, last + 1
    for opened, closed in partners(tokens).items():
        if opened < first <= closed <= last:
            begin = min(begin, opened)
        if first <= opened <= last < closed:
            end = max(end, closed + 1)
    before, core, behind = list(tokens[:begin]), list(tokens[begin:end]), list(tokens[end:])
    if core[0].kind == "text":
        space, core[0] = _divided(core[0], len(core[0].content) - len(core[0].content.lstrip()))
        before.append(space)
    if core[-1].kind == "text":
        core[-1], space = _divided(core[-1], len(core[-1].content.rstrip()))
        behind.insert(0, space)
    return before, core, behind


def _with_marks_whole(tokens: Sequence[Token], escaped: Callable[[str], str]) -> list[Token]:
    """Return the tokens with each pair of tags that holds no letter and stands at a word as one: the number of a
    footnote goes where its word goes. Where the word goes on behind it (a formula), all of that is one."""
    found = list(tokens)
    pairs = partners(tokens)
    for begin in sorted(pairs, reverse=True):
        end = begin + next(n for n, token in enumerate(found[begin:]) if token is tokens[pairs[begin]])
        text = "".join(token.content for token in found[begin:end] if token.kind == "text")
        if not text.strip() or any(sign.isalpha() or sign.isspace() for sign in text):
            continue
        left = found[begin - 1].content if begin and found[begin - 1].kind == "text" else ""
        right = found[end + 1].content if end + 1 < len(found) and found[end + 1].kind == "text" else ""
        touches_left, touches_right = left[-1:].isalpha(), right[:1].isalpha()
        if not touches_left:
            continue
        content = _as_written(found[begin : end + 1], escaped)
        if touches_right:
            start = max((n + 1 for n, sign in enumerate(left) if not sign.isalnum()), default=0)
            stop = next((n for n, sign in enumerate(right) if not sign.isalnum()), len(right))
            whole = escaped(left[start:]) + content + escaped(right[:stop])
            found[begin - 1 : end + 2] = [
                Token("text", left[:start]),
                Token("alone", whole, "formula", is_shown=True),
                Token("text", right[stop:]),
            ]
        else:
            found[begin : end + 1] = [Token("alone", content, "mark")]
    return found


def _divided(token: Token, place: int) -> tuple[Token, Token]:
    return tuple(token._replace(content=part, raw="") for part in (token.content[:place], token.content[place:]))  # type: ignore[return-value]


def _as_written(tokens: Sequence[Token], escaped: Callable[[str], str]) -> str:
    return "".join(token.raw or escaped(token.content) if token.kind == "text" else token.content for token in tokens)
