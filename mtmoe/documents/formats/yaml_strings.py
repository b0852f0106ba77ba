"""YAML: its strings are translated; keys, comments and all else stay, and so does how a string is quoted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import yaml

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tagged_strings import marked_string
from mtmoe.errors import UserError

_STRING = "tag:yaml.org,2002:str"
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_MOST_CHARACTERS = 1 << 25


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a file, of one document or several.

    Raises:
        UserError: it is no YAML.
    """
    decoded = decode_text(content, name)
    text = decoded.text
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"{name}: has {len(text):,} characters, and {_MOST_CHARACTERS:,} are the most", fix="divide it")
    skeleton = Skeleton(options)
    parts: list[str] = []
    place = 0
    try:
        for begin, end, value, style in _strings(text):
            marked = _marked(text[begin:end], value, style, skeleton)
            parts += [text[place:begin], marked]
            place = end
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{name}{line}: is no YAML: {error.problem}", fix="repair it") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{name}: is no YAML: {str(error).splitlines()[0]}", fix="repair it") from None
    whole = "".join([*parts, text[place:]])
    return Document(skeleton, lambda fill: decoded.encoded(fill(whole)))


def _strings(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield the strings that are no keys: where they are written, what they say, and how they are quoted."""
    tokens = (token for token in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(token, yaml.ScalarToken))
    resolver = yaml.resolver.Resolver()
    mappings: list[list[bool]] = []  # of the collections around: whether it is a mapping, and a key comes next
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            mappings.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        is_key = bool(mappings) and all(mappings[-1])
        if mappings:
            mappings[-1][1] = not mappings[-1][1]
        if isinstance(event, yaml.CollectionStartEvent):
            mappings.append([isinstance(event, yaml.MappingStartEvent), True])
        if not isinstance(event, yaml.ScalarEvent):
            continue
        if event.style is None and not event.value:
            continue  # nothing is written
        token = next(tokens)
        tag = event.tag or resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        if not is_key and tag in (_STRING, "!"):
            yield token.start_mark.index, token.end_mark.index, event.value, event.style or ""


def _marked(raw: str, value: str, style: str, skeleton: Skeleton) -> str:
    if style in ("|", ">"):
        return _marked_block(raw, skeleton, is_folded=style == ">")
    is_single = style == "'" and "\n" not in value
    escaped: Callable[[str], str] = _in_single_quotes if is_single else _in_double_quotes
    before = len(skeleton.segments)
    marked = marked_string(value, skeleton, escaped)
    if len(skeleton.segments) == before:
        return raw
    # A plain string gets quotation marks, for its translation may say something to YAML.
    return f"'{marked}'" if is_single else f'"{marked}"'


def _in_single_quotes(text: str) -> str:
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text).replace("'", "''")


def _in_double_quotes(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _marked_block(raw: str, skeleton: Skeleton, *, is_folded: bool) -> str:
    """Return a block of lines: each is translated; folded ones together, as far as they are one line."""
    header, *lines = _LINES.findall(raw)
    parts = [header]
    waiting: list[str] = []
    indent = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)

    def flush() -> None:
        if waiting:
            space = waiting[0][: len(waiting[0]) - len(waiting[0].lstrip(" "))]
            end = waiting[-1][len(waiting[-1].rstrip("\r\n")) :]
            before = len(skeleton.segments)
            mark = marked_string(" ".join(line.strip() for line in waiting), skeleton, _in_block)
            parts.append(f"{space}{mark}{end}" if len(skeleton.segments) > before else "".join(waiting))
            waiting.clear()

    for line in lines:
        deeper = len(line) - len(line.lstrip(" ")) > indent
        if not line.strip():
            flush()
            parts.append(line)
            continue
        if not is_folded or deeper:
            flush()
        waiting.append(line)
        if not is_folded or deeper:
            flush()
    flush()
    return "".join(parts)


def _in_block(text: str) -> str:
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text)
