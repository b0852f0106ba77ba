"""Runs: paragraphs of Office Open XML, where all text stands in runs of one formatting each.

The formatting that most of a paragraph has is its plain text; runs of another one are pairs of tags around their words.
So a tag closes the run before it and opens one behind it, and plain runs that stay empty are left out in the end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mtmoe.documents.document import Skeleton
from mtmoe.documents.tokens import Token
from mtmoe.documents.xml_tree import Element, Text, escaped, escaped_in_attribute, unescaped

_BEGIN, _END = "\0[", "\0]"
"""Around each plain run, until the empty ones are left out; no text has zero bytes."""
_RUN = re.compile(r"\0\[([^\0]*)\0\]")
_EMPTY = re.compile(r"<([\w:]*?)t(?: [^>]*)?></\1t></\1r>\Z")
DIVIDER = "divider"
_PAIRS = frozenset({"hyperlink", "ins", "moveTo", "smartTag", "customXml", "dir", "bdo", "sdt"})
_OF_OLD_TEXT = frozenset({"proofErr", "lastRenderedPageBreak"})
"""What was noted about the text as it was: spelling errors, ends of pages."""
_BREAKS = frozenset({"tab", "br", "cr", "ptab"})
_SIGNS = {"noBreakHyphen": "\N{NON-BREAKING HYPHEN}", "softHyphen": ""}
_RANGE = re.compile(r"\A(\w+?)(Start|End)\Z")
_DESCRIBED = frozenset({"docPr", "cNvPr"})
_DESCRIPTION = re.compile(r"""(\s(?:descr|title)=)(["'])(.*?)\2""", re.DOTALL)


def without_empty_runs(text: str) -> str:
    """Return a text in which all segments are filled in, without the runs that hold nothing."""
    return _RUN.sub(lambda match: "" if _EMPTY.search(match[1]) else match[1], text)


class _Run(NamedTuple):
    """How a run begins and ends; between is its text."""

    opening: str
    closing: str


class RunText:
    """Makes segments of the paragraphs of a part."""

    def __init__(self, skeleton: Skeleton, *, divides_lines: bool = False, kept: frozenset[str] = frozenset()) -> None:
        """
        Args:
            divides_lines: line ends in the text divide it.
            kept: texts that must stay as they are.
        """
        self._skeleton = skeleton
        self._divides_lines, self._kept = divides_lines, kept
        self._with_descriptions = "alt-texts" in skeleton.options.parts

    def marked(self, node: Element | Text, paragraphs: frozenset[str]) -> str:
        """Return how an element is written, with marks in place of its segments.

        Args:
            paragraphs: names of the elements that hold runs.
        """
        if isinstance(node, Text):
            return node.raw
        if node.name in paragraphs:
            return self._paragraph(node, paragraphs)
        opening = node.opening
        if node.name in _DESCRIBED and self._with_descriptions:
            opening = _DESCRIPTION.sub(self._description, opening)
        return opening + "".join(self.marked(child, paragraphs) for child in node.children) + node.closing

    def _description(self, match: re.Match[str]) -> str:
        tokens = [Token("text", unescaped(match[3]), raw=match[3])]
        return f"{match[1]}{match[2]}{self._skeleton.mark(tokens, escaped_in_attribute)}{match[2]}"

    def _paragraph(self, paragraph: Element, paragraphs: frozenset[str]) -> str:
        return _Paragraph(self, paragraph, paragraphs).marked()

    def mark(self, tokens: Sequence[Token]) -> str:
        """Return what stands for a segment, or for text that must stay."""
        if self._kept and "".join(token.content for token in tokens if token.kind == "text") in self._kept:
            return "".join(token.raw if token.kind == "text" else token.content for token in tokens)
        return self._skeleton.mark(tokens, escaped)

    def text_tokens(self, nodes: Iterable[Element | Text]) -> Iterator[Token]:
        """Yield the tokens of the text of an element that holds text alone."""
        for node in nodes:
            if isinstance(node, Element) or not node.text:
                continue
            if not self._divides_lines or "\n" not in node.text:
                yield Token("text", node.text, raw=node.raw)
                continue
            for part in re.split(r"(\n)", node.text):
                if part == "\n":
                    yield Token("alone", part, DIVIDER)
                elif part:
                    yield Token("text", part, raw=escaped(part))

    @property
    def num_segments(self) -> int:
        """Return how many segments there are by now."""
        return len(self._skeleton.segments)


class _Paragraph:
    """A paragraph while it is read."""

    def __init__(self, text: RunText, paragraph: Element, paragraphs: frozenset[str]) -> None:
        self._text, self._element, self._paragraphs = text, paragraph, paragraphs
        weights: Counter[str] = Counter()
        self._wrapper: Element | None = None
        for run in self._runs(paragraph):
            holder = run.first("t")
            if holder is None:
                continue
            self._wrapper = self._wrapper or holder
            weights[_properties(run)] += sum(len(each.text.strip()) for each in run.elements("t"))
        self._usual = weights.most_common(1)[0][0] if weights else ""

    def _runs(self, element: Element) -> Iterator[Element]:
        for child in element.elements():
            if child.name == "r":
                yield child
            elif child.name in _PAIRS or child.name == "sdtContent":
                yield from self._runs(child)

    def marked(self) -> str:
        """Return the paragraph with marks; as it is written, if there is no text in it."""
        element = self._element
        inner_before = self._text.num_segments
        if self._wrapper is None:
            plain = element.first("t")
            if plain is not None:  # a string of a spreadsheet without runs
                return self._of_plain_text(plain)
            inner = (self._text.marked(child, self._paragraphs) for child in element.children)
            return element.opening + "".join(inner) + element.closing
        children = element.children
        properties = [child for child in children if isinstance(child, Element) and child.name in ("pPr",)]
        last = [child for child in children if isinstance(child, Element) and child.name in _LAST]
        first = {id(child) for child in (*properties, *last)}
        usual = self._run(self._usual)
        self._usual_run = _Run(_BEGIN + usual.opening, usual.closing + _END)
        tokens = list(self._tokens([child for child in children if id(child) not in first]))
        content = self._usual_run.opening + self._segments(tokens) + self._usual_run.closing
        if self._text.num_segments == inner_before:
            return element.raw
        before = "".join(child.raw for child in properties)
        behind = "".join(child.raw for child in last)
        return element.opening + before + content + behind + element.closing

    def _of_plain_text(self, plain: Element) -> str:
        parts = []
        for child in self._element.children:
            if child is plain:
                tokens = list(self._text.text_tokens(plain.children))
                parts.append(plain.opening + self._segments(tokens) + plain.closing)
            else:
                parts.append(child.raw)
        return self._element.opening + "".join(parts) + self._element.closing

    def _segments(self, tokens: Sequence[Token]) -> str:
        parts: list[str] = []
        waiting: list[Token] = []
        for token in tokens:
            if token.name == DIVIDER:
                parts += [self._text.mark(waiting), token.content]
                waiting = []
            else:
                waiting.append(token)
        return "".join([*parts, self._text.mark(waiting)])

    def _run(self, properties: str) -> _Run:
        assert self._wrapper is not None
        prefix = self._wrapper.opening[1:].split(">")[0].split()[0].removesuffix("/").removesuffix("t")
        # The attribute keeps white space at the ends; text in drawings always does.
        space = "" if "drawingml" in self._wrapper.uri else ' xml:space="preserve"'
        return _Run(f"<{prefix}r>{properties}<{prefix}t{space}>", f"</{prefix}t></{prefix}r>")

    def _between_runs(self, raw: str) -> str:
        return self._usual_run.closing + raw + self._usual_run.opening

    def _tokens(self, nodes: Sequence[Element | Text]) -> Iterator[Token]:
        place = 0
        while place < len(nodes):
            node = nodes[place]
            place += 1
            if isinstance(node, Text):
                if node.raw.strip():
                    yield Token("alone", self._between_runs(node.raw))
                continue
            if node.name == "r":
                end = _end_of_field(nodes, place - 1)
                if end is not None:
                    yield from self._field(nodes[place - 1 : end + 1])
                    place = end + 1
                else:
                    yield from self._of_run(node)
            elif node.name in _PAIRS and node.closing:
                opening, inner, closing = node.opening, node.children, node.closing
                if node.name == "sdt":
                    held = node.first("sdtContent")
                    if held is None or not held.closing:
                        yield Token("alone", self._between_runs(node.raw), node.name, is_shown=True)
                        continue
                    at = node.children.index(held)
                    opening += "".join(child.raw for child in node.children[:at]) + held.opening
                    closing = held.closing + "".join(child.raw for child in node.children[at + 1 :]) + closing
                    inner = held.children
                yield Token("open", self._between_runs(opening), node.name)
                yield from self._tokens(inner)
                yield Token("close", self._between_runs(closing), node.name)
            elif node.name in _OF_OLD_TEXT:
                continue
            elif (ranged := _RANGE.match(node.name)) and not node.children:
                number = next((value for key, value in node.attributes.items() if key.endswith(" id")), "")
                kind = "open" if ranged[2] == "Start" else "close"
                yield Token(kind, self._between_runs(node.raw), f"{ranged[1]} {number}")  # type: ignore[arg-type]
            elif node.name == "br":
                yield Token("alone", self._between_runs(node.raw), DIVIDER)
            else:
                shown = node.name not in ("del", "moveFrom", "commentReference")
                yield Token("alone", self._between_runs(self._text.marked(node, self._paragraphs)), node.name, shown)

    def _of_run(self, run: Element) -> Iterator[Token]:
        """Yield the tokens of a run: text of the usual formatting stands alone, other text in a pair of tags."""
        properties = _properties(run)
        own = None if properties == self._usual else self._run(properties)
        is_open = False
        for child in run.elements():
            if child.name in ("rPr", *_OF_OLD_TEXT):
                continue
            if child.name == "t" or child.name in _SIGNS:
                if own and not is_open:
                    yield Token("open", self._usual_run.closing + own.opening, "r")
                    is_open = True
                if child.name == "t":
                    for token in self._text.text_tokens(child.children):
                        if token.name == DIVIDER and own:
                            yield Token("close", own.closing + self._usual_run.opening, "r")
                            yield token
                            yield Token("open", self._usual_run.closing + own.opening, "r")
                        else:
                            yield token
                elif sign := _SIGNS[child.name]:
                    yield Token("text", sign, raw=sign)
                continue
            if own and is_open:
                yield Token("close", own.closing + self._usual_run.opening, "r")
                is_open = False
            raw = run.opening + properties + self._text.marked(child, self._paragraphs) + run.closing
            name = DIVIDER if child.name in _BREAKS else child.name
            is_shown = child.name not in ("annotationRef", "fldChar", "instrText", "commentReference")
            yield Token("alone", self._between_runs(raw), name, is_shown)
        if own and is_open:
            yield Token("close", own.closing + self._usual_run.opening, "r")

    def _field(self, nodes: Sequence[Element | Text]) -> Iterator[Token]:
        """Yield the tokens of a field: of a link its text is translated, of all others nothing."""
        raw = "".join(node.raw for node in nodes)
        separator = next((place for place, node in enumerate(nodes) if "separate" in _field_signs(node)), None)
        code = "".join(
            instruction.text for node in nodes if isinstance(node, Element) for instruction in node.all("instrText")
        )
        if separator is None or len(nodes) < 3 or not code.strip().startswith("HYPERLINK"):
            yield Token("alone", self._between_runs(raw), "field", is_shown=True)
            return
        yield Token("open", self._between_runs("".join(node.raw for node in nodes[: separator + 1])), "field")
        yield from self._tokens(nodes[separator + 1 : -1])
        yield Token("close", self._between_runs(nodes[-1].raw), "field")


_LAST = frozenset({"endParaRPr", "rPh", "phoneticPr"})


def _properties(run: Element) -> str:
    held = run.first("rPr")
    return "" if held is None else held.raw


def _field_signs(node: Element | Text) -> list[str]:
    """Return which of begin, separate and end of fields are in a run."""
    if isinstance(node, Text) or node.name != "r":
        return []
    return [
        value
        for sign in node.elements("fldChar")
        for key, value in sign.attributes.items()
        if key.endswith("fldCharType")
    ]


def _end_of_field(nodes: Sequence[Element | Text], begin: int) -> int | None:
    """Return the place of the end of the field that begins at a place; None if none does, or it ends elsewhere."""
    if "begin" not in _field_signs(nodes[begin]):
        return None
    depth = 0
    for place in range(begin, len(nodes)):
        for sign in _field_signs(nodes[place]):
            depth += (sign == "begin") - (sign == "end")
        if depth == 0:
            return place
    return None
