"""HTML, also in pieces as clients of a server send them, and XHTML.

Elements that begin a new line in a browser divide texts; all other tags are within one. Nothing is asked of how well
the page is written: what is no tag is text, and tags without partners stay.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from mtmoe.documents.decoding import DecodedText, decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tokens import Token
from mtmoe.documents.xml_tree import decoded_xml, escaped, escaped_in_attribute

_MOST_CHARACTERS_OF_A_TAG = 4000
MARKUP = re.compile(
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
_RAW = frozenset({"script", "style"})
_CODE = frozenset({"code", "kbd", "samp", "var", "math", "svg", "pre"})
"""Elements whose content is none to translate; of ``pre`` the line ends would not stay."""
VOID = frozenset(re.findall(r"\w+", "area base br col embed hr img input link meta param source track wbr"))
_SHOWN = frozenset({"img", "input", "embed", "object"})
DIVIDING = frozenset(
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
"""Elements that divide texts; all others, of whatever name, are within one."""
_ATTRIBUTE = re.compile(
    r"""(?P<before>\s(?:alt|title|placeholder|aria-label)\s*=\s*)(?P<quote>["'])(?P<value>.*?)(?P=quote)""",
    re.IGNORECASE | re.DOTALL,
)
_CHARSET = re.compile(rb"""<meta[^>]*?charset\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.IGNORECASE)
_READ_FOR_CHARSET = 4096
_LATIN = frozenset({"iso-8859-1", "latin-1", "latin1", "us-ascii"})
_IS_XML = re.compile(rb"\A\s*<\?xml\s")


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a page.

    Raises:
        UserError: it is not of the encoding that it says it has.
    """
    decoded = decoded_html(content, name)
    skeleton = Skeleton(options)
    marked = marked_html(decoded.text, skeleton)
    return Document(skeleton, lambda fill: decoded.encoded(fill(marked)))


def marked_html(text: str, skeleton: Skeleton) -> str:
    """Return a text with marks in place of its segments."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")  # as browsers read it
    with_attributes = "alt-texts" in skeleton.options.parts
    parts: list[str] = []
    tokens: list[Token] = []
    for piece in _pieces(text):
        content = piece.content
        if with_attributes and piece.name and not piece.is_whole and "=" in content:
            content = _ATTRIBUTE.sub(lambda match: _marked_attribute(match, skeleton), content)
        if piece.kind == "divider":
            parts += [skeleton.mark(tokens, escaped), content]
            tokens = []
        elif piece.kind == "text":
            tokens.append(Token("text", html.unescape(content), raw=content))
        else:
            tokens.append(Token(piece.kind, content, piece.name, piece.is_whole or piece.name in _SHOWN))
    return "".join([*parts, skeleton.mark(tokens, escaped)])


def _marked_attribute(match: re.Match[str], skeleton: Skeleton) -> str:
    value = match["value"]
    tokens = [Token("text", html.unescape(value), raw=value)]
    return f"{match['before']}{match['quote']}{skeleton.mark(tokens, escaped_in_attribute)}{match['quote']}"


def decoded_html(content: bytes, name: str) -> DecodedText:
    """Return the text of a page, in the encoding that it says it has.

    Raises:
        UserError: it is of another one.
    """
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return decode_text(content, name)
    if _IS_XML.match(content):
        return DecodedText(*decoded_xml(content, name))
    declared = _CHARSET.search(content[:_READ_FOR_CHARSET])
    encoding = declared[1].decode("ascii").lower() if declared else "utf-8"
    # As browsers read it, which know no other than this.
    return decode_text(content, name, "windows-1252" if encoding in _LATIN else encoding)


class _Piece(NamedTuple):
    """A piece of the text. name: of a tag, in small letters. is_whole: it is an element with all that is in it."""

    kind: Literal["text", "open", "close", "alone", "divider"]
    content: str
    name: str = ""
    is_whole: bool = False


def _pieces(text: str) -> Iterator[_Piece]:
    """Yield the pieces of a text; together they are the text."""
    place = 0
    while match := MARKUP.search(text, place):
        if match.start() > place:
            yield _Piece("text", text[place : match.start()])
        name = (match["name"] or "").lower()
        end = match.end()
        if not name:
            yield _Piece("alone", match[0], is_whole=match[0].startswith("<![CDATA["))
        elif match["close"]:
            yield _Piece("divider" if name in DIVIDING else "close", match[0], name)
        elif name in _RAW or name in _CODE or _NOT_TRANSLATED.search(match[0]):
            is_alone = name in VOID or match[0].endswith("/>")
            end = end if is_alone else _end_of_element(text, match)
            yield _Piece("divider" if name in DIVIDING else "alone", text[match.start() : end], name, is_whole=True)
        elif name in DIVIDING:
            yield _Piece("divider", match[0], name)
        else:
            yield _Piece("alone" if name in VOID or match[0].endswith("/>") else "open", match[0], name)
        place = end
    if place < len(text):
        yield _Piece("text", text[place:])


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
