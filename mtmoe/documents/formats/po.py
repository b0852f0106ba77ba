"""PO and POT files of gettext: messages without a translation get one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tagged_strings import marked_string
from mtmoe.errors import UserError

_CHARSET = re.compile(rb"Content-Type:[^\n]*?charset=([A-Za-z0-9_.:-]+)")
_FIELD = re.compile(
    r'(?P<key>msgctxt|msgid_plural|msgid|msgstr(?:\[(?P<number>\d+)\])?)\s*(?P<first>"(?:[^"\\]|\\.)*")\s*\Z'
)
_GOES_ON = re.compile(r'\A\s*("(?:[^"\\]|\\.)*")\s*\Z')
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_SIGNS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_WRITTEN = {**{sign: f"\\{letter}" for letter, sign in _SIGNS.items()}, '"': '\\"', "\\": "\\\\"}
_TO_ESCAPE = re.compile('[\n\t\r\a\b\f\v"\\\\]')
_NUM_PLURALS = re.compile(r"nplurals\s*=\s*(\d+)")
_MOST_PLURALS = 10


class _Field(NamedTuple):
    """A field of a message: the lines from ``begin`` up to ``end``, and what it says."""

    key: str
    begin: int
    end: int
    text: str


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read a file.

    Raises:
        UserError: it is damaged, or of another encoding than it says.
    """
    charset = _CHARSET.search(content[:20_000])
    declared = charset[1].decode("ascii").lower() if charset else "utf-8"
    decoded = decode_text(content, name, "utf-8" if declared == "charset" else declared)
    lines = re.findall(r"[^\n]*\n|[^\n]+", decoded.text)
    skeleton = Skeleton(options)
    changed: dict[int, tuple[int, str]] = {}  # from the first line of a field: the line behind it, what it becomes
    num_plurals = 2
    for message in _messages(lines, name):
        fields = {field.key: field for field in message}
        source = fields.get("msgid")
        if source is None or not any(key.startswith("msgstr") for key in fields):
            first = message[0].begin + 1
            raise UserError(f"{name}:{first}: a message needs msgid and msgstr", fix="check it with msgfmt -c")
        if not source.text:  # the header
            told = _NUM_PLURALS.search(fields["msgstr"].text) if "msgstr" in fields else None
            num_plurals = min(int(told[1]), _MOST_PLURALS) if told else num_plurals
            continue
        targets = [field for field in message if field.key.startswith("msgstr")]
        if any(field.text for field in targets) and not options.retranslate:
            skeleton.num_kept += 1
            continue
        _translate(source, fields.get("msgid_plural"), targets, num_plurals, lines, skeleton, changed)
    marked = "".join(_with_changes(lines, changed))
    return Document(skeleton, lambda fill: decoded.encoded(fill(marked)))


def _translate(
    source: _Field,
    plural: _Field | None,
    targets: list[_Field],
    num_plurals: int,
    lines: list[str],
    skeleton: Skeleton,
    changed: dict[int, tuple[int, str]],
) -> None:
    end = "\r\n" if lines[source.begin].endswith("\r\n") else "\n"
    if plural is None:
        texts = {"msgstr": source.text}
    else:
        numbers = [f"msgstr[{number}]" for number in range(num_plurals)]
        texts = {
            key: source.text if place == 0 and num_plurals > 1 else plural.text for place, key in enumerate(numbers)
        }
    before = len(skeleton.segments)
    written = "".join(f'{key} "{marked_string(text, skeleton, _escaped)}"{end}' for key, text in texts.items())
    if len(skeleton.segments) == before:
        return
    first, last = targets[0], targets[-1]
    if not lines[last.end - 1].endswith("\n"):
        written = written.removesuffix(end)
    changed[first.begin] = (last.end, written)


def _with_changes(lines: list[str], changed: dict[int, tuple[int, str]]) -> Iterator[str]:
    place = 0
    while place < len(lines):
        if place in changed:
            place, text = changed[place]
            yield text
        else:
            yield lines[place]
            place += 1


def _messages(lines: list[str], name: str) -> Iterator[list[_Field]]:
    """Yield the fields of each message; of those that are commented out nothing.

    Raises:
        UserError: a line is none of the format.
    """
    message: list[_Field] = []
    for number, line in enumerate(lines):
        if line.lstrip().startswith("#") or not line.strip():
            if message and any(field.key.startswith("msgstr") for field in message):
                yield message
                message = []
            continue
        match = _FIELD.match(line.strip())
        if match:
            key = match["key"]
            is_next = key in ("msgctxt", "msgid") and any(field.key.startswith("msgstr") for field in message)
            if is_next:
                yield message
                message = []
            message.append(_Field(key, number, number + 1, _unescaped(match["first"])))
            continue
        goes_on = _GOES_ON.match(line)
        if goes_on is None or not message:
            raise UserError(
                f"{name}:{number + 1}: is no line of a PO file: {line.strip()[:40]!r}", fix="check it with msgfmt -c"
            )
        message[-1] = message[-1]._replace(end=number + 1, text=message[-1].text + _unescaped(goes_on[1]))
    if message:
        yield message


def _unescaped(quoted: str) -> str:
    def sign(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 8))
        return chr(int(match[2], 16)) if match[2] else _SIGNS.get(match[3], match[3])

    return _ESCAPE.sub(sign, quoted[1:-1])


def _escaped(text: str) -> str:
    return _TO_ESCAPE.sub(lambda match: _WRITTEN[match[0]], text)
