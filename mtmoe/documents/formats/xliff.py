"""XLIFF 1.2 and 2: the source of each unit is translated into its target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tokens import Token
from mtmoe.documents.xml_tree import XML_NAMESPACE, Element, Text, XmlDocument, escaped, escaped_in_attribute, parse_xml
from mtmoe.errors import UserError
from mtmoe.languages import covers

_SPACE = f"{XML_NAMESPACE} space"


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a file of either version.

    Raises:
        UserError: it is no XLIFF, or not from and into the languages of the options.
    """
    xml = parse_xml(content, name)
    root = xml.root
    if root.name != "xliff":
        raise UserError(f"{name}: is no XLIFF: its first element is <{root.name}>", fix="name its format with --format")
    is_second = root.attributes.get("version", "").startswith("2")
    units = _Units(Skeleton(options), name, is_second=is_second)
    return units.document(xml)


def inline_tokens(nodes: Sequence[Element | Text], classify: Callable[[Element], list[Token] | None]) -> list[Token]:
    """Return the tokens of a text with inline elements.

    Args:
        classify: returns the tokens of an element; None: its tags are a pair, around what is in it.
    """
    tokens: list[Token] = []
    for node in nodes:
        if isinstance(node, Text):
            tokens.append(Token("text", node.text, raw=node.raw) if node.text else Token("alone", node.raw))
            continue
        own = classify(node)
        if own is not None:
            tokens += own
        elif not node.children:
            tokens.append(Token("alone", node.raw, node.name))
        else:
            tokens.append(Token("open", node.opening, node.name))
            tokens += inline_tokens(node.children, classify)
            tokens.append(Token("close", node.closing, node.name))
    return tokens


class _Units:
    """Puts the file together again, with marks in its targets."""

    def __init__(self, skeleton: Skeleton, name: str, *, is_second: bool) -> None:
        self._skeleton, self._name, self._is_second = skeleton, name, is_second
        self._options = skeleton.options

    def document(self, xml: XmlDocument) -> Document:
        marked = xml.before + self._marked(xml.root, is_translated=True) + xml.behind
        return Document(self._skeleton, lambda fill: xml.encoded(fill(marked)))

    def _marked(self, element: Element, *, is_translated: bool) -> str:
        told = element.attributes.get("translate")
        is_translated = told == "yes" if told else is_translated
        unit = "segment" if self._is_second else "trans-unit"
        if element.name == unit and element.first("source") is not None:
            return self._unit(element) if is_translated else element.raw
        opening = element.opening
        holder, source, target = (
            ("xliff", "srcLang", "trgLang") if self._is_second else ("file", "source-language", "target-language")
        )
        if element.name == holder:
            opening = self._with_target_language(element, source, target)
        inner = (
            child.raw if isinstance(child, Text) else self._marked(child, is_translated=is_translated)
            for child in element.children
        )
        return opening + "".join(inner) + element.closing

    def _with_target_language(self, element: Element, source: str, target: str) -> str:
        """Return the opening tag; it names the language of the targets, which a file that has any must."""
        for key, wanted in ((source, self._options.source), (target, self._options.target)):
            found = element.attributes.get(key, "")
            if found and wanted and not (covers(wanted, found) or covers(found, wanted)):
                raise UserError(
                    f"{self._name}: its {key} is {found!r}, but the run translates {self._options.source} to "
                    f"{self._options.target}",
                    fix="use a run of these languages",
                )
        if target in element.attributes or not self._options.target:
            return element.opening
        end = -2 if element.opening.endswith("/>") else -1
        language = escaped_in_attribute(self._options.target)
        return f'{element.opening[:end].rstrip()} {target}="{language}"{element.opening[end:]}'

    def _unit(self, unit: Element) -> str:
        source, target = unit.first("source"), unit.first("target")
        divided = None if self._is_second else unit.first("seg-source")
        assert source is not None
        if target is not None and target.text.strip() and not self._options.retranslate:
            self._skeleton.num_kept += 1
            return unit.raw
        text = self._target(divided or source)
        if text is None:
            return unit.raw
        last = divided or source
        parts: list[str] = [unit.opening]
        for child in unit.children:
            if child is target:
                assert target is not None
                opening = target.opening.removesuffix("/>").rstrip() + ">" if not target.closing else target.opening
                parts.append(opening + text + (target.closing or self._closing(target)))
                continue
            parts.append(child.raw)
            if child is last and target is None:
                parts.append(f"{self._opening(source)}{text}{self._closing(source)}")
        return "".join([*parts, unit.closing])

    def _opening(self, source: Element) -> str:
        name = source.opening[1:].partition(">")[0].split()[0]
        space = f' xml:space="{source.attributes[_SPACE]}"' if _SPACE in source.attributes else ""
        return f"<{name.removesuffix('source')}target{space}>"

    def _closing(self, element: Element) -> str:
        """Return the closing tag of the target; with the prefix of its namespace, where there is one."""
        name = element.opening[1:].rstrip("/>").split()[0]
        return f"</{name.removesuffix('source').removesuffix('target')}target>"

    def _target(self, source: Element) -> str | None:
        """Return what the target has for a source; None if that has no text."""
        tokens = inline_tokens(source.children, self._classified)
        before = len(self._skeleton.segments)
        parts: list[str] = []
        waiting: list[Token] = []
        for token in tokens:
            if token.name == "divider":
                parts += [self._skeleton.mark(waiting, escaped), token.content]
                waiting = []
            else:
                waiting.append(token)
        parts.append(self._skeleton.mark(waiting, escaped))
        return "".join(parts) if len(self._skeleton.segments) > before else None

    def _classified(self, element: Element) -> list[Token] | None:
        name, attributes = element.name, element.attributes
        if name == "mrk":
            if attributes.get("mtype") == "seg":
                inner = inline_tokens(element.children, self._classified)
                return [Token("alone", element.opening, "divider"), *inner, Token("alone", element.closing, "divider")]
            if attributes.get("mtype") == "protected" or attributes.get("translate") == "no":
                return [Token("alone", element.raw, name, is_shown=True)]
            return None
        if name in ("g", "pc", "hi"):
            return None
        if self._is_second:
            link = attributes.get("startRef")
            kinds = {"sc": "open", "ec": "close", "sm": "open", "em": "close"}
        else:
            link = attributes.get("rid")
            kinds = {"bpt": "open", "ept": "close", "bx": "open", "ex": "close"}
        kind = kinds.get(name)
        if kind == "open":
            return [Token("open", element.raw, f"code {link or attributes.get('id')}")]
        if kind == "close":
            return [Token("close", element.raw, f"code {link or attributes.get('id')}")]
        return [Token("alone", element.raw, name, is_shown=name in ("x", "ph"))]
