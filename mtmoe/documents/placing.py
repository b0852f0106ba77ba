"""Placing of tags in a translation, by word alignment.

A pair goes around the translations of the words that it was around: of all runs of words, around the one with the most
of these beyond others. An item goes into the gap with the fewest words on the wrong side. Pairs stay well nested, and
a tag never stands inside a word. Where nothing in the translation comes from the words of a pair, there is no place for
it, and the text is to be translated in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mtmoe.documents.tag_tree import Item, Pair, TaggedText, Word, words_of

Pieces = list[tuple[str, bool]]
"""Parts of a text in order, and whether each is markup."""


class _Placed(NamedTuple):
    """A node at places of the target text; of an item both are the same."""

    begin: int
    end: int
    before: str
    behind: str
    inner: tuple[_Placed, ...] = ()


class _Scope(NamedTuple):
    """The words of the target, and the places in its text, that a node may have."""

    first: int
    behind: int
    begin: int
    end: int


class _Target:
    """A translation: its words, and the word of the source that each comes from, if any."""

    def __init__(self, text: str, words: Sequence[Word], sources: Mapping[int, int], num_source_words: int) -> None:
        self.text, self.words, self.num_source_words = text, words, num_source_words
        self.sources = [sources.get(place) for place in range(len(words))]

    @property
    def scope(self) -> _Scope:
        """Return all of it."""
        return _Scope(0, len(self.words), 0, len(self.text))

    def placed(self, nodes: Sequence[Pair | Item], scope: _Scope, own: range) -> tuple[_Placed, ...] | None:
        """Return where nodes are to be; None if one has no place.

        Args:
            own: source words of what is around the nodes.
        """
        pairs = [node for node in nodes if isinstance(node, Pair)]
        spans: dict[int, tuple[int, int]] = {}
        for pair in sorted(pairs, key=lambda pair: -sum(self._is_of(word, pair, scope) for word in range(*scope[:2]))):
            span = self._span(pair, scope, list(spans.values()), own)
            if span is None:
                return None
            spans[id(pair)] = span
        found: list[_Placed] = []
        ranges: list[tuple[int, int, int, int]] = []  # words and places of the pairs
        for pair in pairs:
            first, behind = spans[id(pair)]
            begin, end = self._edges(pair, first, behind, scope)
            inner = self.placed(pair.inner, _Scope(first, behind, begin, end), range(pair.first, pair.behind))
            if inner is None:
                return None
            ranges.append((first, behind, begin, end))
            found.append(_Placed(begin, end, pair.opening, pair.closing, inner))
        of_pairs = iter(found)
        least = scope.first
        result: list[_Placed] = []
        for node in nodes:
            if isinstance(node, Pair):
                result.append(next(of_pairs))
                continue
            gap = self._gap(node, scope, ranges, least if node.is_half else scope.first)
            least = gap if node.is_half else least
            result.append(self._placed_item(node, gap, scope, ranges))
        return tuple(result)

    def _is_of(self, word: int, pair: Pair, scope: _Scope) -> bool:
        source = self.sources[word]
        return scope.first <= word < scope.behind and source is not None and pair.first <= source < pair.behind

    def _span(self, pair: Pair, scope: _Scope, taken: Sequence[tuple[int, int]], own: range) -> tuple[int, int] | None:
        """Return the run of words that a pair goes around."""
        if (pair.first, pair.behind) == (own.start, own.stop) and scope.first < scope.behind and not taken:
            return scope.first, scope.behind
        best: tuple[int, int] | None = None
        best_worth = worth = 0
        start: int | None = None
        for word in range(scope.first, scope.behind):
            if any(first <= word < behind for first, behind in taken):
                start = None
                continue
            if self._is_of(word, pair, scope):
                if start is None or worth < 0:
                    start, worth = word, 0
                worth += 1
                if worth > best_worth or (best is not None and worth == best_worth and start == best[0]):
                    best, best_worth = (start, word + 1), worth
            elif self.sources[word] is not None:
                worth -= 1
        if best is None:
            return None
        first, behind = best
        if pair.with_suffix and behind < scope.behind and self._is_sign_of(behind, pair):
            behind += not any(first <= behind < last for first, last in taken)
        if pair.with_prefix and first > scope.first and self._is_sign_of(first - 1, pair):
            first -= not any(begin <= first - 1 < last for begin, last in taken)
        return first, behind

    def _is_sign_of(self, word: int, pair: Pair) -> bool:
        """Return whether a word is punctuation that may belong to a pair beside it."""
        source = self.sources[word]
        return self.words[word].is_punctuation and (source is None or pair.first <= source < pair.behind)

    def _edges(self, pair: Pair, first: int, behind: int, scope: _Scope) -> tuple[int, int]:
        """Return the places of a pair around words: what is around all of its scope has the punctuation, too."""
        before, last = self.words[first], self.words[behind - 1]
        begin = before.begin if pair.with_prefix or before.is_punctuation else before.core_begin
        end = last.end if pair.with_suffix or last.is_punctuation else last.core_end
        while begin > before.begin and self.text[begin - 1] in pair.prefix:
            begin -= 1
        while end < last.end and self.text[end] in pair.suffix:
            end += 1
        if pair.begin == 0 and pair.behind == self.num_source_words and first == 0 and behind == len(self.words):
            begin, end = 0, len(self.text)
        begin, end = max(begin, scope.begin), min(end, scope.end)
        return begin, max(begin, end)

    def _gap(self, item: Item, scope: _Scope, ranges: Sequence[tuple[int, int, int, int]], least: int) -> int:
        """Return before which word of the target an item goes."""
        allowed = [
            gap
            for gap in range(max(scope.first, least), scope.behind + 1)
            if not any(first < gap < behind for first, behind, _, _ in ranges)
        ]
        if not allowed:
            return scope.behind
        behind_it = [source is not None and source >= item.gap for source in self.sources[scope.first : scope.behind]]
        before_it = [source is not None and source < item.gap for source in self.sources[scope.first : scope.behind]]
        wrong = [sum(before_it)]  # words that are behind the gap and should be before it, and the other way round
        for is_behind, is_before in zip(behind_it, before_it, strict=True):
            wrong.append(wrong[-1] + is_behind - is_before)

        def cost(gap: int) -> tuple[int, int, int]:
            left = self.sources[gap - 1] if gap > scope.first else None
            right = self.sources[gap] if gap < scope.behind else None
            is_after, is_before = left == item.gap - 1 and left is not None, right == item.gap and right is not None
            if item.joined_left != item.joined_right:  # it belongs to that word, wherever that goes
                belongs = is_after if item.joined_left else is_before
            else:
                belongs = {left, right} == {item.gap - 1, item.gap}
            return -belongs, wrong[gap - scope.first], -(is_after + is_before)

        if item.gap == 0 and scope.first in allowed and scope.first == 0:
            return scope.first
        if item.gap >= self.num_source_words and scope.behind in allowed and scope.behind == len(self.words):
            return scope.behind
        return min(allowed, key=cost)

    def _within_same_word(self, item: Item, scope: _Scope) -> int | None:
        """Return the place within a word that is as in the source, where the item stands within its punctuation."""
        if item.host < 0:
            return None
        for place in range(scope.first, scope.behind):
            word = self.words[place]
            if self.sources[place] == item.host and self.text[word.begin : word.end] == item.host_text:
                return word.begin + item.host_offset
        return None

    def _behind_signs(self, word: Word, item: Item) -> int:
        """Return the place behind a word for an item: behind as much of its punctuation as in the source."""
        if word.is_punctuation:
            return word.end
        if self.text.startswith(item.signs, word.core_end, word.end):
            return word.core_end + len(item.signs)
        return word.end if item.behind_sign else word.core_end

    def _placed_item(self, item: Item, gap: int, scope: _Scope, ranges: Sequence[tuple[int, int, int, int]]) -> _Placed:
        before = self.words[gap - 1] if gap > scope.first else None
        behind = self.words[gap] if gap < scope.behind else None
        space_before = space_behind = ""
        if (within := self._within_same_word(item, scope)) is not None:
            place, space_before = within, "" if item.joined_left else " "
        elif item.lead and behind and self.text.startswith(item.lead, behind.begin, behind.end):
            place = behind.begin + len(item.lead)
        elif item.joined_left and before:
            place = self._behind_signs(before, item)
            space_before = " " if self.text[place - 1 : place].isdecimal() else ""  # 42 and a mark 1 are not 421
        elif item.joined_right and not item.before_sign and behind:
            place = behind.core_begin if item.lead and not behind.is_punctuation else behind.begin
        elif item.before_sign and before:
            place, space_before = self._behind_signs(before, item), " "
        elif behind:
            place, space_behind = behind.begin, "" if item.joined_right and not item.before_sign else " "
        elif before:
            place, space_before = before.end, "" if item.joined_left else " "
        else:
            place = scope.begin
        for first, _, begin, end in ranges:
            if begin < place < end:
                place = begin if gap <= first else end
        place = min(max(place, scope.begin), scope.end)
        return _Placed(place, place, space_before + item.content + space_behind, "")


def _pieces(text: str, nodes: Sequence[_Placed], begin: int, end: int) -> Pieces:
    pieces: Pieces = []
    place = begin
    order = sorted(range(len(nodes)), key=lambda number: (nodes[number].begin, nodes[number].end, number))
    for node in (nodes[number] for number in order):
        pieces += [(text[place : node.begin], False), (node.before, True)]
        pieces += _pieces(text, node.inner, node.begin, node.end)
        pieces.append((node.behind, True))
        place = node.end
    return [*pieces, (text[place:end], False)]


def placed_by_alignment(tagged: TaggedText, text: str, sources: Mapping[int, int]) -> Pieces | None:
    """Return a translation with the tags of its source in their places; None where a pair has none.

    Args:
        text: the translation.
        sources: of the words of the translation, those of the source that they come from.
    """
    words = words_of(text)
    # Punctuation comes from punctuation, whatever else it attended to.
    sure = {
        word: source
        for word, source in sources.items()
        if word < len(words) and words[word].is_punctuation <= tagged.words[source].is_punctuation
    }
    target = _Target(text, words, sure, len(tagged.words))
    placed = target.placed(tagged.nodes, target.scope, range(len(tagged.words)))
    return None if placed is None else _pieces(text, placed, 0, len(text))


def placed_in_source(tagged: TaggedText, *, words_apart: bool = True) -> Pieces:
    """Return the source with its tags: each beside whole words, or where it was if words are not apart."""
    if words_apart and not tagged.is_vast:
        pieces = placed_by_alignment(tagged, tagged.text, {place: place for place in range(len(tagged.words))})
        if pieces is not None:
            return pieces
    return _pieces(tagged.text, [_as_it_was(node) for node in tagged.nodes], 0, len(tagged.text))


def _as_it_was(node: Pair | Item) -> _Placed:
    if isinstance(node, Item):
        stands_alone = not (node.joined_left or node.joined_right)
        before = " " if node.before_sign and not node.joined_left and node.gap else ""
        return _Placed(node.place, node.place, before + node.content + " " * (stands_alone and not before), "")
    return _Placed(node.begin, node.end, node.opening, node.closing, tuple(map(_as_it_was, node.inner)))


def written(pieces: Pieces, escaped: Callable[[str], str]) -> str:
    """Return the parts as one text; those that are no markup are escaped."""
    return "".join(content if is_markup else escaped(content) for content, is_markup in pieces)
