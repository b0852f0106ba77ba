"""Items put back into translations: where, with which spaces, and against trying all ways."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtmoe.inference.text.item_insertion import Unmasked
from mtmoe.inference.text.masking import Span, masked
from mtmoe.inference.text.unmasking import Aligned, Spelt, ascending, spelt, unmasked
from tests.inference.text.test_masking import PATTERN, cut


def words(text: str) -> Spelt:
    """Subwords that are whole words, and signs behind them."""
    begins = [place for place, sign in enumerate(text) if sign != " " and (not place or text[place - 1] == " ")]
    ends = [text.find(" ", begin) if " " in text[begin:] else len(text) for begin in begins]
    return Spelt(text, np.array([(begin + end) / 2 for begin, end in zip(begins, ends, strict=True)]))


def put_back(line: str, translation: str, links: dict[int, int] | None = None, **options) -> str:
    """The translation with the items of a line; links: from words of the translation to those of the masked line, by
    default word by word."""
    rest = cut(line)
    source, target = words(rest.text), words(translation)
    attention_TS = np.full((len(target.middles), max(1, len(source.middles))), 1e-3)[:, : len(source.middles)]
    for place in range(len(target.middles)):
        attention_TS[place, (links or {}).get(place, min(place, len(source.middles) - 1))] = 1.0
    options = {"words_apart": True, **options}
    return unmasked(Aligned(source, target, attention_TS), len(rest.text), rest.items, **options).text


@pytest.mark.parametrize(
    ("line", "translation", "expected"),
    [
        ("Visit https://a.de now", "Visitez maintenant", "Visitez https://a.de maintenant"),
        ("See (https://a.de) there", "Voir là", "Voir https://a.de là"),  # the brackets have gone
        ("I love you 😀", "Je t'aime", "Je t'aime 😀"),
        ("I love you 😀.", "Je t'aime.", "Je t'aime 😀."),
        ("I love you. 😀", "Je t'aime.", "Je t'aime. 😀"),
        ("😀 I love you", "Je vous aime", "😀 Je vous aime"),
        ("Good😀", "Bien", "Bien😀"),
        ("Are you well {x}?", "Êtes vous bien ?", "Êtes vous bien {x} ?"),
        ("an <b>old</b> dog", "un vieux chien", "un <b>vieux</b> chien"),
        ("<p>an old dog</p>", "un vieux chien", "<p>un vieux chien</p>"),
        ("one<br/>two", "un deux", "un<br/> deux"),
        ("one {a} and {b}{c} two", "un et deux", "un {a} et {b}{c} deux"),
    ],
)
def test_items_stand_among_the_words_that_they_stood_among(line, translation, expected):
    assert put_back(line, translation) == expected


def test_a_pair_of_tags_goes_with_what_it_is_around():
    assert put_back("the <b>old</b> dog", "le chien vieux", {0: 0, 1: 2, 2: 1}) == "le chien <b>vieux</b>"
    assert (
        put_back("the <b>old dog</b> is", "ist der alte Hund", {0: 3, 1: 0, 2: 1, 3: 2}) == "ist der <b>alte Hund</b>"
    )


def test_a_given_beginning_stays_whole():
    assert put_back("{x} is here", "Voici bien est", begin=10) == "Voici bien {x} est"


def test_what_the_search_has_written_is_not_divided():
    assert put_back("one {x} two", "a {{ y }}", {0: 0, 1: 0, 2: 1, 3: 1}) == "a {{{x} y }}"
    assert put_back("one {x} two", "a {{ y }}", {0: 0, 1: 0, 2: 1, 3: 1}, kept_whole=["{{ y }}"]) == "a {x} {{ y }}"


def test_languages_without_spaces_take_an_item_between_any_two_signs():
    rest = cut("look 😀 book")
    source = words(rest.text)
    target = Spelt("看书", np.array([0.5, 1.5]))
    found = unmasked(Aligned(source, target, np.eye(2)), len(rest.text), rest.items, words_apart=False)
    assert found.text == "看 😀 书"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["▁", "ファイル", "を開く"], "ファイル {x} を開く"),
        (["▁フ", "ァイル", "を開く"], "ファイル {x} を開く"),
        (["▁看", "书"], "看 {x} 书"),
        (["▁เปิด", "แฟ้ม"], "เปิด {x} แฟ้ม"),
        (["▁ก", "ำแฟ"], "{x} กำแฟ"),
    ],
)
def test_an_item_is_not_put_into_a_word_that_has_no_spaces_around_it(ids, expected):
    """The attention would have it after the first sign."""
    rest = cut("one {x} two")
    target = spelt(range(4, 4 + len(ids)), ["<pad>", "<unk>", "<s>", "</s>", *ids])
    attention_TS = np.array([[0.9, 0.0], *[[0.0, 0.9]] * (len(ids) - 1)])
    if ids[0] == "▁" or ids[1] == "ァイル":
        attention_TS[1] = [0.4, 0.5]
    aligned = Aligned(words(rest.text), target, attention_TS)
    assert unmasked(aligned, len(rest.text), rest.items, words_apart=False).text == expected


def test_links_of_words_and_items_are_those_of_the_whole_texts():
    rest = cut("Visit {{ x }} now")
    source, target = words(rest.text), words("Visitez maintenant")
    found = unmasked(Aligned(source, target, np.eye(2)), len(rest.text), rest.items, words_apart=True)
    assert found.text == "Visitez {{ x }} maintenant"
    links = tuple((rest.word_numbers[i], j) for i, j in ((0, 0), (1, 1)))
    assert found.links(links, rest.items) == ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))


NAMES = {"{x}": "Tom", "{y}": "27"}


def put_for_names(line: str, translation: str) -> Unmasked:
    """The translation of a line in which names stand for some items."""
    found = list(PATTERN.finditer(line))
    rest = masked(line, [Span(*match.span(), False, NAMES.get(match[0], "")) for match in found])
    source, target = words(rest.text), words(translation)
    attention_TS = np.eye(len(target.middles), len(source.middles)) + 1e-3
    return unmasked(Aligned(source, target, attention_TS), len(rest.text), rest.items, words_apart=True)


@pytest.mark.parametrize(
    ("line", "translation", "expected"),
    [
        ("{x} is here.", "Tom est ici.", "{x} est ici."),
        ("{x} is here.", "Voici l'Tom.", "Voici l'{x}."),  # with the white space that the name has
        ("{x} has {y} dogs 😀.", "27 chiens a Tom.", "{y} chiens a {x} 😀."),
        ("{x} is 😀 here", "est Tom ici", "est {x} 😀 ici"),
        ("{x} is here", "Il est ici", "Il {x} est ici"),  # the name was lost
        ("{x} is here", "Tom, Tom et Tommy", "Tom {x}, Tom et Tommy"),  # which of them is not known
    ],
)
def test_items_stand_where_what_stood_for_them_is(line, translation, expected):
    assert put_for_names(line, translation).text == expected


def test_links_of_what_stood_for_an_item_are_the_items():
    found = put_for_names("{x} has {{ z }} here", "ici Tom a")
    assert found.text == "ici {x} {{ z }} a"
    assert found.new_words == (0, 1, 5)
    assert found.item_words == ((1,), (2, 3, 4))


PIECES = ["<pad>", "<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁a", "b", "▁é", "."]


def test_subwords_stand_in_the_middle_of_what_they_spell():
    ids = [PIECES.index(piece) for piece in ("▁a", "b", "▁", "<0xC3>", "<0xA9>", ".")]
    found = spelt(ids, PIECES)
    assert found.text == "ab é."
    assert found.middles.tolist() == [0.5, 1.5, 3.0, 3.25, 3.75, 4.5]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_way_that_is_taken_has_the_least_cost_of_all_that_keep_the_order(costs):
    costs_IG = np.array(costs, dtype=float)
    found = ascending(costs_IG)
    assert found == sorted(found)
    ways = [way for way in itertools.product(range(4), repeat=len(costs)) if list(way) == sorted(way)]
    least = min(sum(costs_IG[item, gap] for item, gap in enumerate(way)) for way in ways)
    assert sum(costs_IG[item, gap] for item, gap in enumerate(found)) == least


ITEMS = ["{x}", "😀", "<b>", "</b>", "https://a.de/b", "%s"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*ITEMS, "a", "b", ",", " "]), min_size=1, max_size=10),
    st.lists(st.sampled_from(["c", "d", "(", ".", " ", "'", "é"]), min_size=1, max_size=10),
    st.integers(0, 1000),
    st.booleans(),
)
def test_each_item_comes_out_once_and_in_order_whatever_the_attention(parts, translated, seed, apart):
    rest = cut(" ".join("".join(parts).split()))
    text = " ".join("".join(translated).split())
    if not (rest.items and text):
        return
    source, target = words(rest.text), words(text)
    shape = len(target.middles), len(source.middles)
    attention_TS = np.random.default_rng(seed).random(shape)
    found = unmasked(Aligned(source, target, attention_TS), len(rest.text), rest.items, words_apart=apart).text
    place = 0
    for item in rest.items:
        place = found.index(item.text, place) + len(item.text)
    without = found
    for item in rest.items:
        without = without.replace(item.text, " ", 1)
    assert without.replace(" ", "") == text.replace(" ", "")
