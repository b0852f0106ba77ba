"""Subtitles: SubRip (SRT) and WebVTT. A cue is translated as one text and has as many lines as before; lines that begin
with a dash, of several speakers, are translated by themselves."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from mtmoe.documents.decoding import decode_text
from mtmoe.documents.document import Document, DocumentOptions, Skeleton
from mtmoe.documents.tokens import Token
from mtmoe.errors import UserError

_TIMES = re.compile(r"\A\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}")
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z]*)[^<>]*>|\{\\[^{}]*\}")
_DASH = re.compile(r"\A\s*[-\u2013\u2014]\s*")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_BREAKS = "\1", "\2"
"""Around a cue and the number of its lines, until it is divided into these."""
_CUE = re.compile("\1([0-9]+)(\r?) ([^\1\2]*)\2")


def read(content: bytes, name: str, options: DocumentOptions) -> Document:
    """Read subtitles.

    Raises:
        UserError: there is no cue with times in the file, or it is of another encoding than UTF-8.
    """
    decoded = decode_text(content, name)
    text = decoded.text
    if "\1" in text or "\2" in text:
        raise UserError(f"{name}: has control characters, so that it is no text", fix="save it once more")
    skeleton = Skeleton(options)
    is_vtt = text.startswith("WEBVTT")
    parts: list[str] = []
    lines = _LINES.findall(text)
    place = num_cues = 0
    while place < len(lines):
        parts.append(lines[place])
        place += 1
        if not _TIMES.match(parts[-1]):
            continue
        num_cues += 1
        end = place
        while end < len(lines) and lines[end].strip():
            end += 1
        parts.append(_cue(lines[place:end], skeleton, is_vtt=is_vtt))
        place = end
    if not num_cues:
        raise UserError(
            f"{name}: has no line of times (00:00:01,000 --> 00:00:02,000)", fix="name its format with --format"
        )
    marked = "".join(parts)
    return Document(skeleton, lambda fill: decoded.encoded(_CUE.sub(_in_lines, fill(marked))))


def _cue(lines: Sequence[str], skeleton: Skeleton, *, is_vtt: bool) -> str:
    if not lines:
        return ""
    ends = [line[len(line.rstrip("\r\n")) :] for line in lines]
    texts = [line.rstrip("\r\n") for line in lines]
    escaped = _escaped_vtt if is_vtt else _escaped_srt
    if sum(bool(_DASH.match(text)) for text in texts) > 1:
        return "".join(_of_speaker(text, skeleton, is_vtt=is_vtt) + end for text, end in zip(texts, ends, strict=True))
    before = len(skeleton.segments)
    mark = skeleton.mark(list(_tokens("\n".join(texts), is_vtt=is_vtt)), escaped)
    if len(skeleton.segments) == before:
        return "".join(lines)
    carriage = "\r" if "\r" in ends[0] else ""
    return f"{_BREAKS[0]}{len(lines)}{carriage} {mark}{_BREAKS[1]}{ends[-1]}"


def _of_speaker(text: str, skeleton: Skeleton, *, is_vtt: bool) -> str:
    dash = _DASH.match(text)
    begin = dash.end() if dash else 0
    escaped = _escaped_vtt if is_vtt else _escaped_srt
    return text[:begin] + skeleton.mark(list(_tokens(text[begin:], is_vtt=is_vtt)), escaped)


def _tokens(text: str, *, is_vtt: bool) -> Iterator[Token]:
    place = 0
    for match in [*_TAG.finditer(text), None]:
        end = len(text) if match is None else match.start()
        if end > place:
            raw = text[place:end]
            yield Token("text", html.unescape(raw) if is_vtt else raw, raw=raw)
        if match is None:
            return
        name = (match["name"] or "").lower()
        kind = "alone" if not name else "close" if match["close"] else "open"
        yield Token(kind, match[0], name)  # type: ignore[arg-type]
        place = match.end()


def _escaped_vtt(text: str) -> str:
    return html.escape(_escaped_srt(text), quote=False)


def _escaped_srt(text: str) -> str:
    """Return a text that does not end its cue, nor begin another."""
    return text.replace("-->", "->").replace("\1", " ").replace("\2", " ")


def _in_lines(match: re.Match[str]) -> str:
    """Return a cue in lines of about the same length; tags do not count, and are not divided."""
    wanted, text = int(match[1]), " ".join(match[3].split("\n"))
    words = re.findall(r"(?:<[^<>]*>|\{\\[^{}]*\}|\S)+", text)
    total = sum(len(_TAG.sub("", word)) + 1 for word in words)
    lines: list[list[str]] = [[]]
    length = 0
    for word in words:
        size = len(_TAG.sub("", word)) + 1
        if len(lines) < wanted and lines[-1] and length + size / 2 > total * len(lines) / wanted:
            lines.append([])
        lines[-1].append(word)
        length += size
    return f"{match[2]}\n".join(" ".join(line) for line in lines)
