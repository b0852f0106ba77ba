"""Generated fragments with nested inline markup, and what is wrong with a translation of them, by a second reader."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any, NamedTuple

from lxml import etree

from mtmoe.documents.document import DocumentOptions
from mtmoe.documents.registry import DOCUMENT_FORMATS
from mtmoe.documents.translate_documents import translated_content
from mtmoe.documents.wanted_documents import WantedOfDocuments
from tests.documents.made_up_translations import TRANSLATIONS, Translate, as_it_is, with_signs

_TEXT = "the red car isn't there. Where? A dog & cat, (or two) « no » 42 naïve e.g. x<y 3.5 well-known U.S. Yes! — été"
WORDS = _TEXT.split()
OPTIONS = DocumentOptions("en", "fr")


class Fragment(NamedTuple):
    """A document, and what is to be found in its translation."""

    format: str
    content: bytes
    tags: Counter[str]


class Draws:
    """Draws what a fragment is made of."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.tags: Counter[str] = Counter()
        self._number = 0

    def number(self) -> int:
        """Return a number that no other tag has."""
        self._number += 1
        return self._number

    def words(self, most: int = 4) -> str:
        """Return some words, with and without white space around."""
        text = " ".join(self.random.choices(WORDS, k=self.random.randint(0, most)))
        return self.random.choice(("", " ", " ", "\n")) + text + self.random.choice(("", " ", " "))

    def is_true(self, probability: float = 0.5) -> bool:
        return self.random.random() < probability


def _is_within_word(before: str, behind: str) -> bool:
    """Return whether a word goes on between two characters; a number beside letters is a mark, as of a footnote."""
    return before.isalnum() and behind.isalnum() and before.isalpha() == behind.isalpha()


# ---------------------------------------------------------------------------------------------------------- HTML


def html_fragment(seed: str) -> Fragment:
    """Return a page of a few blocks."""
    draws = Draws(seed)
    blocks = [_html_block(draws) for _ in range(draws.random.randint(1, 3))]
    return Fragment("html", "\n".join(blocks).encode(), draws.tags)


def _html_block(draws: Draws) -> str:
    name = draws.random.choice(("p", "li", "td", "h2", "div"))
    extra = draws.random.choice(("", "", "<script>if (a<b && c) d('<i>')</script>", "<style>p > b {}</style>", "<br>"))
    return f'<{name} class="a>b">{_html_inline(draws, 3)}{extra}{_html_inline(draws, 1)}</{name}>'


def _html_inline(draws: Draws, depth: int) -> str:
    parts = []
    for _ in range(draws.random.randint(1, 4)):
        parts.append(draws.words().replace("&", "&amp;").replace("<", "&lt;"))
        kind = draws.random.random()
        if kind < 0.35 and depth:
            number = draws.number()
            name = draws.random.choice(("b", "i", "span", "a", "em", "x-y"))
            draws.tags[f"{name}{number}"] += 1
            parts.append(f"<{name} id='{number}' title=\"1>2\">{_html_inline(draws, depth - 1)}</{name}>")
        elif kind < 0.45:
            number = draws.number()
            draws.tags[f"img{number}"] += 1
            parts.append(f'<img id="{number}" src="x?a=1&amp;b=2">')
        elif kind < 0.5:
            number = draws.number()
            draws.tags[f"code{number}"] += 1
            parts.append(f"<code id={number}>x  =&lt; {number}</code>")
        elif kind < 0.55:
            draws.tags["comment"] += 1
            parts.append("<!-- a <b> -->")
    return "".join(parts)


class _HtmlReader(HTMLParser):
    """Notes the tags, how they are nested, where they stand in words, and what is in elements that are no text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.stack: list[str] = []
        self.problems: list[str] = []
        self.skeleton: list[str] = []
        self.owners: list[tuple[str, tuple[str, ...]]] = []
        self._last = " "
        self._tag_since = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        number = dict(attrs).get("id")
        if number:
            self.tags[f"{tag}{number}"] += 1
            self._tag_since = True
        else:
            self._divide(self.get_starttag_text() or "")
        if tag not in ("img", "br"):
            self.stack.append(f"{tag}{number or ''}")

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or re.sub(r"\d+$", "", self.stack[-1]) != re.sub(r"\d+$", "", tag):
            self.problems.append(f"</{tag}> in {self.stack}")
            return
        if self.stack.pop()[-1].isdecimal() and tag != "h2":
            self._tag_since = True
        else:
            self._divide(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.tags["comment"] += 1

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1].startswith(("script", "style", "code")):
            if not self.stack[-1].startswith("code"):
                self.skeleton.append(data)
            self._last = " "
            return
        if self._tag_since and _is_within_word(self._last, data[:1]):
            self.problems.append(f"a tag within a word: {self._last}|{data[:9]}")
        self._tag_since = False
        self._last = data[-1:] or self._last
        self.owners += [(word, tuple(each for each in self.stack if each[-1].isdecimal())) for word in data.split()]

    def _divide(self, tag: str) -> None:
        self.skeleton.append(tag)
        self._last, self._tag_since = " ", False


def _read_html(content: bytes) -> _HtmlReader:
    reader = _HtmlReader()
    reader.feed(content.decode())
    reader.close()
    if reader.stack:
        reader.problems.append(f"not closed: {reader.stack}")
    return reader


def html_problems(fragment: Fragment, output: bytes, translate: Translate) -> Iterator[str]:
    """Yield what is wrong with a translated page."""
    before, after = _read_html(fragment.content), _read_html(output)
    yield from after.problems
    if after.tags != fragment.tags:
        yield f"tags {after.tags - fragment.tags} too many, {fragment.tags - after.tags} lost"
    if before.skeleton != after.skeleton:
        yield "what divides texts is another"
    for code in re.findall(rb"<code.*?</code>", fragment.content):
        if code not in output:
            yield f"{code!r} is changed"
    if translate is as_it_is and _text(before) != _text(after):
        yield f"another text: {_text(before)} / {_text(after)}"


def _text(reader: _HtmlReader) -> str:
    return "".join(word for word, _ in reader.owners)


# --------------------------------------------------------------------------------------------------------- XLIFF


def xliff_fragment(seed: str) -> Fragment:
    """Return a file of a few units, in one of the versions."""
    draws = Draws(seed)
    is_second = draws.is_true()
    units = []
    for number in range(draws.random.randint(1, 3)):
        source = f"<source>{_xliff_inline(draws, 3, is_second)}</source>"
        target = draws.random.choice(("", "", "<target/>", "<target></target>"))
        if is_second:
            units.append(f'<unit id="u{number}"><segment>{source}{target}</segment></unit>')
        else:
            units.append(
                f'<trans-unit id="{number}">{source}{target}<note>A <b</note></trans-unit>'.replace("<b<", "&lt;b<")
            )
    if is_second:
        text = (
            '<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" srcLang="en" trgLang="fr">'
            f'<file id="f">{"".join(units)}</file></xliff>'
        )
    else:
        text = (
            "<?xml version='1.0' encoding='UTF-8'?>\n<xliff version='1.2' "
            "xmlns='urn:oasis:names:tc:xliff:document:1.2'><file original='a' source-language='en' "
            f"target-language='fr' datatype='plaintext'><body>\n{''.join(units)}\n</body></file></xliff>\n"
        )
    return Fragment("xliff", text.encode(), draws.tags)


def _xliff_inline(draws: Draws, depth: int, is_second: bool) -> str:
    parts = []
    for _ in range(draws.random.randint(1, 4)):
        parts.append(draws.words().replace("&", "&amp;").replace("<", "&lt;"))
        kind, number = draws.random.random(), draws.number()
        pair, alone = ("pc", "ph") if is_second else ("g", "x")
        if kind < 0.25 and depth:
            draws.tags[f"{pair}{number}"] += 1
            parts.append(f'<{pair} id="{number}">{_xliff_inline(draws, depth - 1, is_second)}</{pair}>')
        elif kind < 0.35 and depth:
            opening, closing = ("sc", "ec") if is_second else ("bpt", "ept")
            draws.tags[f"{opening}{number}"] += 1
            draws.tags[f"{closing}{number}"] += 1
            inner = _xliff_inline(draws, depth - 1, is_second)
            if is_second:
                parts.append(f'<sc id="{number}"/>{inner}<ec startRef="{number}"/>')
            else:
                parts.append(f'<bpt id="{number}">&lt;b></bpt>{inner}<ept id="{number}">&lt;/b></ept>')
        elif kind < 0.5:
            draws.tags[f"{alone}{number}"] += 1
            parts.append(f'<{alone} id="{number}" />')
        elif kind < 0.55:
            draws.tags[f"mrk{number}"] += 1
            inner = draws.words().replace("&", "&amp;").replace("<", "&lt;")
            kind_of = 'translate="no"' if is_second else 'mtype="protected"'
            parts.append(f'<mrk id="{number}" {kind_of}>{inner}</mrk>')
    return "".join(parts)


def _local(element: Any) -> str:
    return etree.QName(element).localname


_TARGET = re.compile(rb"<target(?: [^>]*)?(?:/>|>.*?</target>)", re.DOTALL)


def xliff_problems(fragment: Fragment, output: bytes, translate: Translate) -> Iterator[str]:
    """Yield what is wrong with a translated XLIFF."""
    before, after = etree.fromstring(fragment.content), etree.fromstring(output)
    if _TARGET.sub(b"", output) != _TARGET.sub(b"", fragment.content):
        yield "more than the targets is changed"
    sources = [element for element in before.iter() if _local(element) == "source"]
    for source, unit in zip(sources, [e.getparent() for e in after.iter() if _local(e) == "source"], strict=True):
        targets = [element for element in unit if _local(element) == "target"]
        has_text = any(map(str.isalpha, _told(source)))
        if len(targets) > 1 or (has_text and not targets):
            yield f"{len(targets)} targets"
        for target in targets if has_text else ():
            if _inline_of(target) != _inline_of(source):
                yield f"tags {_inline_of(source)} became {_inline_of(target)}"
            yield from _opened_and_closed(target)
            yield from _within_words(target)


def _told(source: Any) -> str:
    """Return the text that is translated of a source."""
    kept = ("bpt", "ept", "ph")
    text = "" if _local(source) in kept or source.get("mtype") or source.get("translate") else source.text or ""
    return text + "".join(_told(child) + (child.tail or "") for child in source) if _local(source) not in kept else ""


def _inline_of(element: Any) -> Counter[str]:
    return Counter(
        f"{_local(child)}{child.get('id') or child.get('startRef')}" for child in element.iter() if child is not element
    )


def _opened_and_closed(target: Any) -> Iterator[str]:
    opened: list[str] = []
    for child in target.iter():
        number = child.get("id") or child.get("startRef")
        if _local(child) in ("bpt", "sc"):
            opened.append(number)
        elif _local(child) in ("ept", "ec") and (not opened or opened.pop() != number):
            yield f"{number} is closed before it is opened"


def _within_words(target: Any) -> Iterator[str]:
    last, tag_since = " ", False
    for event, element in etree.iterwalk(target, events=("start", "end")):
        kept = _local(element) in ("bpt", "ept", "ph", "x") or element.get("mtype") or element.get("translate")
        text = element.text if event == "start" and not kept else element.tail if event == "end" else ""
        if element is not target:
            tag_since = True
        if kept and event == "start" and (element.text or "").strip():
            last = " "
        if text:
            if tag_since and _is_within_word(last, text[0]) and element is not target:
                yield f"a tag within a word: {last}|{text[:9]}"
            last, tag_since = text[-1], False


# ---------------------------------------------------------------------------------------------------------- docx

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override '
    'PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.'
    'document.main+xml"/></Types>'
)


def docx_fragment(seed: str) -> Fragment:
    """Return a document of a few paragraphs, in a container with another member."""
    draws = Draws(seed)
    paragraphs = [
        f'<w:p><w:pPr><w:jc w:val="left"/></w:pPr>{_docx_inline(draws, 2)}</w:p>'
        for _ in range(draws.random.randint(1, 3))
    ]
    xml = f'<w:document xmlns:w="{W}" xmlns:r="urn:r"><w:body>\n{"".join(paragraphs)}<w:sectPr/></w:body></w:document>'
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as container:
        container.writestr("[Content_Types].xml", _TYPES)
        container.writestr("word/document.xml", xml)
        container.writestr("word/media/a.bin", bytes(range(256)))
    return Fragment("docx", output.getvalue(), draws.tags)


def _docx_inline(draws: Draws, depth: int) -> str:
    parts = []
    for _ in range(draws.random.randint(1, 5)):
        kind, number = draws.random.random(), draws.number()
        text = draws.words().replace("&", "&amp;").replace("<", "&lt;")
        if kind < 0.45:
            parts.append(f'<w:r><w:rPr><w:sz w:val="20"/></w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>')
        elif kind < 0.65:
            draws.tags[f"color{number}"] += 1
            color = f'<w:rPr><w:color w:val="{number}"/></w:rPr>'
            parts.append(f'<w:r w:rsidR="1">{color}<w:t xml:space="preserve">{text}</w:t></w:r>')
        elif kind < 0.75 and depth:
            draws.tags[f"hyperlink{number}"] += 1
            parts.append(f'<w:hyperlink r:id="{number}">{_docx_inline(draws, depth - 1)}</w:hyperlink>')
        elif kind < 0.82 and depth:
            draws.tags[f"bookmarkStart{number}"] += 1
            draws.tags[f"bookmarkEnd{number}"] += 1
            inner = _docx_inline(draws, depth - 1)
            parts.append(f'<w:bookmarkStart w:id="{number}" w:name="b"/>{inner}<w:bookmarkEnd w:id="{number}"/>')
        elif kind < 0.88:
            draws.tags[f"footnoteReference{number}"] += 1
            parts.append(f'<w:r><w:rPr><w:i/></w:rPr><w:footnoteReference w:id="{number}"/></w:r>')
        elif kind < 0.92:
            draws.tags["tab"] += 1
            parts.append("<w:r><w:tab/></w:r>")
        elif kind < 0.96:
            draws.tags["fldCharbegin"] += 1
            draws.tags["fldCharend"] += 1
            parts.append(
                '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>PAGE</w:instrText></w:r>'
                '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
            )
        else:
            parts.append('<w:proofErr w:type="spellStart"/>')
    return "".join(parts)


def docx_problems(fragment: Fragment, output: bytes, translate: Translate) -> Iterator[str]:
    """Yield what is wrong with a translated document."""
    with zipfile.ZipFile(io.BytesIO(output)) as after, zipfile.ZipFile(io.BytesIO(fragment.content)) as before:
        if after.testzip() or after.namelist() != before.namelist():
            yield "the container is damaged"
        if after.read("word/media/a.bin") != bytes(range(256)):
            yield "another member is changed"
        root = etree.fromstring(after.read("word/document.xml"))
        source = etree.fromstring(before.read("word/document.xml"))
    for old, new in zip(source.iter(f"{{{W}}}p"), root.iter(f"{{{W}}}p"), strict=True):
        wanted, found = _docx_tags(old), _docx_tags(new)
        different = (wanted - found) + (found - wanted)
        # That of most of the text is no tag; as many runs have it as there is text between others.
        if len(different) > 1 or not all(tag.startswith("color") for tag in different):
            yield f"tags {found - wanted} too many, {wanted - found} lost"
    for text in root.iter(f"{{{W}}}t"):
        if _local(text.getparent()) != "r":
            yield "text outside of a run"
    for run in root.iter(f"{{{W}}}r"):
        if _local(run.getparent()) not in ("p", "hyperlink"):
            yield f"a run within {_local(run.getparent())}"
    opened: list[str] = []
    for mark in root.iter(f"{{{W}}}bookmarkStart", f"{{{W}}}bookmarkEnd"):
        number = mark.get(f"{{{W}}}id")
        if _local(mark) == "bookmarkStart":
            opened.append(number)
        elif number not in opened:
            yield f"bookmark {number} ends before it begins"
    for paragraph in root.iter(f"{{{W}}}p"):
        yield from _docx_words(paragraph)
    if translate is as_it_is and _docx_text(root) != _docx_text(source):
        yield f"another text: {_docx_text(source)} / {_docx_text(root)}"


def _docx_tags(root: Any) -> Counter[str]:
    tags: Counter[str] = Counter()
    for element in root.iter():
        name = _local(element)
        if name in ("color", "hyperlink", "bookmarkStart", "bookmarkEnd", "footnoteReference", "tab", "fldChar"):
            value = next(iter(element.attrib.values()), "")
            tags[f"{name}{value}"] += 1
    return tags


def _docx_text(root: Any) -> str:
    return "".join("".join(text.text or "" for text in root.iter(f"{{{W}}}t")).split())


def _docx_words(paragraph: Any) -> Iterator[str]:
    last, last_format = " ", ""
    for run in paragraph.iter(f"{{{W}}}r"):
        text = run.find(f"{{{W}}}t")
        if text is None:
            last = " "
            continue
        color = run.find(f"{{{W}}}rPr/{{{W}}}color")
        format = "" if color is None else color.get(f"{{{W}}}val")
        content = text.text or ""
        if content and format != last_format and _is_within_word(last, content[0]):
            yield f"a run ends within a word: {last}|{content[:9]}"
        if content:
            last, last_format = content[-1], format


Problems = Callable[[Fragment, bytes, Translate], Iterator[str]]
KINDS: dict[str, tuple[Callable[[str], Fragment], Problems]] = {
    "html": (html_fragment, html_problems),
    "xliff": (xliff_fragment, xliff_problems),
    "docx": (docx_fragment, docx_problems),
}


def problems_of(kind: str, seed: str) -> Iterator[str]:
    """Yield what is wrong with the translations of a generated fragment."""
    generate, check = KINDS[kind]
    fragment = generate(seed)
    for translate in TRANSLATIONS:
        if translate is with_signs and kind == "html":
            continue  # its reader would not tell the signs from tags
        output = translated_content(
            fragment.content,
            "x",
            DOCUMENT_FORMATS[kind],
            lambda lines, t=translate: list(map(t, lines)),
            WantedOfDocuments(OPTIONS),
        )
        for problem in check(fragment, output, translate):
            yield f"{kind} {seed}, {translate.__name__}: {problem}"
