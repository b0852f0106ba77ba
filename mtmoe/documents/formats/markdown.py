"""Markdown (CommonMark, with tables and strikethrough): text in its lines, with emphasis and links; code stays.

markdown-it-py divides the text into blocks, and each block into its markup. Where both are in the file is found by
going along it: a block of which that fails is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token as Part

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tokens import Token

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n.*?\n---[ \t]*\r?(?:\n|\Z)", re.DOTALL)
_BEGINS_A_BLOCK = re.compile(
    r"\A(?:(?:[-+*>]|#{1,6})(?=\s)|=+\s*\Z|-+\s*\Z|(?P<number>\d{1,9})(?P<sign>[.)])(?=\s|\Z))"
)
_TASK = re.compile(r"\[[ xX]\][ \t]+")
_WORD_SIGN = re.compile(r"(?<!\w)_|_(?!\w)")


class _Unclear(Exception):
    """A block whose markup is not found in the file."""


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a text.

    Raises:
        UserError: it is of another encoding than UTF-8.
    """
    decoded = decode_text(content, name)
    front = _FRONT_MATTER.match(decoded.text)
    begin = front.end() if front else 0
    text = decoded.text[begin:]
    skeleton = Skeleton(options)
    marked = decoded.text[:begin] + _Blocks(text, skeleton).marked()
    return Document(skeleton, lambda fill: decoded.encoded(fill(marked)))


class _Blocks:
    def __init__(self, text: str, skeleton: Skeleton) -> None:
        self._text, self._skeleton = text, skeleton
        self._parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")
        self._lines = _LINES.findall(text)
        self._begins = [0]
        for line in self._lines:
            self._begins.append(self._begins[-1] + len(line))

    def marked(self) -> str:
        """Return the text with marks in place of its segments."""
        environment: dict[str, object] = {}
        parts: list[str] = []
        place = 0
        for block in self._parser.parse(self._text, environment):
            if block.type != "inline" or not block.map or not block.content.strip():
                continue
            spans = self._spans(block, place)
            if spans is None:
                continue
            before = len(self._skeleton.segments)
            try:
                marks = self._marks(block, environment)
            except _Unclear:
                del self._skeleton.segments[before:]
                continue
            if len(self._skeleton.segments) > before:
                parts += [self._text[place : spans[0][0]], marks]
                place = spans[-1][1]
        return "".join([*parts, self._text[place:]])

    def _spans(self, block: Part, place: int) -> list[tuple[int, int]] | None:
        """Return where the lines of a block are in the text: behind quotation signs, list signs and white space."""
        assert block.map is not None
        first, behind = block.map
        spans = []
        place = max(place, self._begins[first])
        end_of_block = self._begins[min(behind, len(self._begins) - 1)]
        for line in block.content.split("\n"):
            found = self._text.find(line.strip(), place, max(end_of_block, place))
            if found < 0:
                return None
            spans.append((found, found + len(line.strip())))
            place = spans[-1][1]
        return spans

    def _marks(self, block: Part, environment: dict[str, object]) -> str:
        """Return a block with marks. Lines that a hard break divides stay divided; all others become one."""
        inline = _Inline(self._parser, block, environment)
        parts: list[str] = []
        waiting: list[Token] = []
        for token in [*inline.tokens(), Token("alone", "", "divider")]:
            if token.name != "divider":
                waiting.append(token)
                continue
            parts += [self._skeleton.mark(waiting, inline.escaped), token.content]
            waiting = []
        return "".join(parts)


class _Inline:
    """The markup of a block, found in its text one after the other."""

    def __init__(self, parser: MarkdownIt, block: Part, environment: dict[str, object]) -> None:
        self._parser, self._environment = parser, environment
        self._text = block.content
        self._children: Sequence[Part] = block.children or []
        self._place = 0
        self._escapes: set[str] = set()

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens; together they are the text.

        Raises:
            _Unclear: they are not.
        """
        if task := _TASK.match(self._text):
            yield Token("alone", task[0], "divider")
        for part in self._children:
            if task and not self._place:  # it is in the first text
                part = part.copy(content=part.content.removeprefix(task[0].strip()).lstrip())
                self._place = task.end()
            yield from self._tokens_of(part)
        if self._place != len(self._text.rstrip()) and self._text[self._place :].strip():
            raise _Unclear

    def escaped(self, text: str) -> str:
        """Return a text as Markdown writes it: signs are escaped where they would be markup, or were in the source."""
        text = text.replace("\\", "\\\\") if "\\" in self._escapes else text
        text = re.sub(r"[*`<\[\]]", lambda sign: f"\\{sign[0]}" if self._is_markup(sign[0]) else sign[0], text)
        text = _WORD_SIGN.sub(r"\\_", text)
        text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
        begins = _BEGINS_A_BLOCK.match(text)
        if begins is None:
            return text
        place = begins.end("number") if begins["number"] else 0
        return f"{text[:place]}\\{text[place:]}"

    def _is_markup(self, sign: str) -> bool:
        return sign in "*`<" or sign in self._escapes

    def _take(self, raw: str) -> str:
        if not self._text.startswith(raw, self._place):
            raise _Unclear
        self._place += len(raw)
        return raw

    def _tokens_of(self, part: Part) -> Iterator[Token]:
        if part.type == "text":
            if part.content:
                yield Token("text", part.content, raw=self._take(part.content))
        elif part.type == "text_special":
            self._escapes.add(part.content)
            yield Token("text", part.content, raw=self._take(part.markup))
        elif part.type == "softbreak":
            yield Token("text", "\n", raw=self._take("\n"))
            self._skip_spaces()
        elif part.type == "hardbreak":
            match = re.compile(r"(?: {2,}|\\)\n").match(self._text, self._place)
            yield Token("alone", self._take(match[0] if match else "\\\n"), "divider")
            self._skip_spaces()
        elif part.type == "code_inline":
            end = self._text.find(part.markup, self._place + len(part.markup))
            if not self._text.startswith(part.markup, self._place) or end < 0:
                raise _Unclear
            yield Token("alone", self._take(self._text[self._place : end + len(part.markup)]), "code", is_shown=True)
        elif part.type == "html_inline":
            match = re.match(r"<(/?)([A-Za-z][\w-]*)", part.content)
            kind = "alone" if not match or part.content.endswith("/>") else "close" if match[1] else "open"
            yield Token(kind, self._take(part.content), match[2].lower() if match else "")  # type: ignore[arg-type]
        elif part.type == "image":
            yield Token("alone", self._take(self._image()), "image", is_shown=True)
        elif part.type == "link_open":
            yield Token("open", self._take("<" if part.markup == "autolink" else "["), "link")
        elif part.type == "link_close":
            raw = ">" if part.markup == "autolink" else self._text[self._place : self._end_of_link(self._place)]
            yield Token("close", self._take(raw), "link")
        elif part.type.endswith(("_open", "_close")) and part.markup:
            name, _, kind = part.type.rpartition("_")
            yield Token(kind, self._take(part.markup), name)  # type: ignore[arg-type]
        else:
            raise _Unclear

    def _skip_spaces(self) -> None:
        while self._text.startswith((" ", "\t"), self._place):
            self._place += 1

    def _image(self) -> str:
        """Return the image at the place, as it is written."""
        state = StateInline(self._text, self._parser, self._environment, [])
        end = self._parser.helpers.parseLinkLabel(state, self._place + 1, False)
        if end < 0:
            raise _Unclear
        return self._text[self._place : self._end_of_link(end)]

    def _end_of_link(self, place: int) -> int:
        """Return the place behind a link whose text ends at a place: ``](to "title")``, ``][name]`` or ``]``."""
        text, most = self._text, len(self._text)
        if not text.startswith("]", place):
            raise _Unclear
        helpers = self._parser.helpers
        if text.startswith("(", place + 1):
            end = _behind_spaces(text, place + 2)
            target = helpers.parseLinkDestination(text, end, most)
            end = target.pos if target.ok else end
            spaces = _behind_spaces(text, end)
            title = helpers.parseLinkTitle(text, spaces, most) if spaces > end else None
            end = _behind_spaces(text, title.pos) if title is not None and title.ok else spaces
            if text.startswith(")", end):
                return end + 1
        if text.startswith("[", place + 1):
            end = text.find("]", place + 2)
            if end >= 0:
                return end + 1
        return place + 1


def _behind_spaces(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\n":
        place += 1
    return place
