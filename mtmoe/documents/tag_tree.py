"""Tag tree: a text in normal form, and its tags as pairs around words and items between them.

A tag never stands inside a word: a pair that begins or ends in one is around the whole of it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mtmoe.documents.tokens import Token, partners

CLOSING = ".,;:!?…%)]}»”’。，、；：！？）」』】"
_MOST_TOKENS_TIMES_WORDS = 200_000
"""Of a text: a paragraph of 500 words and 400 tags."""
_WORD = re.compile(r"\S+")
_CORE = re.compile(r"\w(?:.*\w)?", re.DOTALL)


class Word(NamedTuple):
    """A word of a text: from ``begin`` to ``end``, without punctuation from ``core_begin`` to ``core_end``."""

    begin: int
    core_begin: int
    core_end: int
    end: int

    @property
    def is_punctuation(self) -> bool:
        """Return whether there is nothing else in it."""
        return self.core_begin == self.core_end


def words_of(text: str) -> list[Word]:
    """Return the words of a text: what white space divides."""
    words = []
    for match in _WORD.finditer(text):
        core = _CORE.search(text, *match.span())
        begin, end = core.span() if core else (match.end(), match.end())
        words.append(Word(match.start(), begin, end, match.end()))
    return words


class Item(NamedTuple):
    """Markup at one place of a text. gap: so many words stand before it.

    joined_left, joined_right: no white space there. signs: punctuation of the word before it that stands before it,
    too; behind_sign: all there is. before_sign: punctuation follows at once. lead: punctuation that the word behind it
    begins with, and that stands before it. is_half: it is a tag without its partner, and half tags keep their order.
    host, host_text, host_offset: the word within whose punctuation it stands, and where; -1 if it stands in none.
    """

    content: str
    place: int
    gap: int
    joined_left: bool
    joined_right: bool
    signs: str
    behind_sign: bool
    before_sign: bool
    lead: str
    is_half: bool
    host: int
    host_text: str
    host_offset: int


class Pair(NamedTuple):
    """An opening and a closing tag around the words from ``first`` up to ``behind``, and what is between them.

    prefix, suffix: punctuation of the first and of the last word that is between them, too; with_prefix, with_suffix:
    it is all that there is.
    """

    opening: str
    closing: str
    begin: int
    end: int
    first: int
    behind: int
    prefix: str
    suffix: str
    with_prefix: bool
    with_suffix: bool
    inner: tuple[Pair | Item, ...]


class TaggedText(NamedTuple):
    """A text in normal form, its words, and its tags as a tree. is_vast: to place all tags by their words would take
    too long, and in the tree no pair knows its words."""

    text: str
    words: Sequence[Word]
    nodes: tuple[Pair | Item, ...]
    is_vast: bool = False

    @property
    def has_inner_tags(self) -> bool:
        """Return whether there are tags whose place depends on the words."""
        return self.is_vast or any(_depends_on_words(node, len(self.words)) for node in self.nodes)


def _depends_on_words(node: Pair | Item, num_words: int) -> bool:
    if isinstance(node, Item):
        return True
    is_whole = (node.first, node.behind) == (0, num_words)
    return not is_whole or any(_depends_on_words(inner, num_words) for inner in node.inner)


def tagged_text(tokens: Sequence[Token]) -> TaggedText:
    """Return the text of tokens and their tags; white space is one space in it, and there is none at its ends."""
    reader = _Reader(tokens)
    raw = tuple(reader.nodes(0, len(tokens)))
    text = reader.text.rstrip()
    words = words_of(text)
    is_vast = len(tokens) * len(words) > _MOST_TOKENS_TIMES_WORDS
    free = () if is_vast else range(len(words))
    return TaggedText(text, words, tuple(_settled(raw, text, words, free, keep_pairs=is_vast)), is_vast)


class _Raw(NamedTuple):
    """A node whose words are not known yet."""

    opening: str
    closing: str | None
    begin: int
    end: int
    space_before: bool = False
    space_behind: bool = False
    inner: tuple[_Raw, ...] = ()
    is_half: bool = False


class _Reader:
    """Puts the text of tokens together, and notes where tags are in it."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.text = ""
        self._tokens = tokens
        self._partners = partners(tokens)
        self._following = [""] * (len(tokens) + 1)  # the first character of text behind each token
        for place in range(len(tokens) - 1, -1, -1):
            content = tokens[place].content if tokens[place].kind == "text" else ""
            self._following[place] = content[:1] or self._following[place + 1]

    def nodes(self, begin: int, end: int) -> Iterator[_Raw]:
        place = begin
        while place < end:
            token = self._tokens[place]
            closed = self._partners.get(place)
            if token.kind == "text":
                self._add(token.content)
            elif closed is None:
                yield self._item(token.content, token.is_shown, place + 1)._replace(is_half=token.kind != "alone")
            elif not any(each.kind == "text" and each.content.strip() for each in self._tokens[place:closed]):
                between = self._tokens[place : closed + 1]
                self._add("".join(each.content for each in between if each.kind == "text"))
                content = "".join(each.content for each in between if each.kind != "text")
                yield self._item(content, any(each.is_shown for each in between), closed + 1)
                place = closed
            else:
                start = len(self.text)
                inner = tuple(self.nodes(place + 1, closed))
                yield _Raw(token.content, self._tokens[closed].content, start, len(self.text), inner=inner)
                place = closed
            place += 1

    def _add(self, content: str) -> None:
        if content[:1].isspace() and self.text and not self.text.endswith(" "):
            self.text += " "
        words = " ".join(content.split())
        if words:
            self.text += words
            if content[-1].isspace():
                self.text += " "

    def _item(self, content: str, is_shown: bool, behind: int) -> _Raw:
        following = self._following[behind]
        space_before = not self.text or self.text.endswith(" ")
        space_behind = not following or following.isspace()
        if is_shown and self.text.endswith(" ") and following and following in CLOSING:
            self.text = self.text[:-1]
        elif is_shown and not space_before and self.text[-1].isalnum() and following.isalnum():
            self.text += " "
        return _Raw(content, None, len(self.text), len(self.text), space_before, space_behind)


def _settled(
    nodes: Sequence[_Raw], text: str, words: Sequence[Word], free: Sequence[int], *, keep_pairs: bool = False
) -> Iterator[Pair | Item]:
    """Yield the nodes with their words: each word is of one of them, that which has most of it.

    Args:
        free: words that are of the pair around the nodes.
        keep_pairs: pairs without words stay pairs, where they are.
    """
    owners: dict[int, int] = {}
    for number in free:
        word = words[number]
        begin, end = (word.begin, word.end) if word.is_punctuation else (word.core_begin, word.core_end)
        parts = [max(0, min(end, node.end) - max(begin, node.begin)) for node in nodes]
        largest = max(parts, default=0)
        if largest:
            owners[number] = parts.index(largest)
    of_node: list[list[int]] = [[] for _ in nodes]
    for number, owner in owners.items():
        of_node[owner].append(number)
    for node, own in zip(nodes, of_node, strict=True):
        if keep_pairs and node.closing is not None:
            inner = tuple(_settled(node.inner, text, words, (), keep_pairs=True))
            yield Pair(node.opening, node.closing, node.begin, node.end, 0, 0, "", "", False, False, inner)
            continue
        if not own:
            content = node.opening if node.closing is None else _flat(node)
            yield _item(content, node, text, words)
            continue
        first, last = words[own[0]], words[own[-1]]
        assert node.closing is not None
        yield Pair(
            node.opening,
            node.closing,
            node.begin,
            node.end,
            own[0],
            own[-1] + 1,
            text[max(first.begin, node.begin) : first.core_begin],
            text[last.core_end : min(last.end, node.end)],
            node.begin <= first.begin < first.core_begin,
            last.core_end < last.end <= node.end,
            tuple(_settled(node.inner, text, words, own)),
        )


def _flat(node: _Raw) -> str:
    return node.opening + "".join(map(_flat, node.inner)) + (node.closing or "")


def _item(content: str, node: _Raw, text: str, words: Sequence[Word]) -> Item:
    gap = bisect_left(words, node.begin, key=lambda word: word.end if word.is_punctuation else word.core_begin)
    if gap < len(words) and words[gap].is_punctuation and words[gap].end == node.begin:
        gap += 1
    before = words[gap - 1] if gap else None
    following = text[node.begin : node.begin + 1]
    is_pair = node.closing is not None
    joined_left = text[node.begin - 1 : node.begin] not in ("", " ") if is_pair else not node.space_before
    beside = [number for number in (gap - 1, gap) if 0 <= number < len(words)]
    hosts = [number for number in beside if words[number].begin < node.begin < words[number].end]
    host = hosts[0] if hosts and not text[node.begin - 1 : node.begin + 1].isalnum() else -1
    joined_right = following not in ("", " ") if is_pair else not node.space_behind
    return Item(
        content,
        node.begin,
        gap,
        joined_left,
        joined_right,
        "" if before is None else text[before.core_end : min(before.end, node.begin)],
        before is not None and before.core_end < before.end <= node.begin,
        bool(following) and following in CLOSING,
        "" if gap == len(words) else text[words[gap].begin : node.begin],
        node.is_half,
        host,
        text[words[host].begin : words[host].end] if host >= 0 else "",
        node.begin - words[host].begin if host >= 0 else 0,
    )
