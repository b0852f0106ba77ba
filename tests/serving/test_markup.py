"""Markup: tags stay, each once, around what they were around; text is escaped."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.serving.markup import Markup


def test_inline_tags_go_along_and_other_tags_divide() -> None:
    markup = Markup('<h1>Title</h1>\n<p class="x">A <a href="b?c=1&amp;d">red</a> car &amp; more</p><!-- no -->')
    assert markup.lines == ["Title", "A <1>red</1> car & more"]
    translations = ["Titre", "Une voiture <1>rouge</1> & plus <"]
    assert markup.second_lines(translations) == []
    assert markup.joined(translations) == (
        '<h1>Titre</h1>\n<p class="x">Une voiture <a href="b?c=1&amp;d">rouge</a> &amp; plus &lt;</p><!-- no -->'
    )


@pytest.mark.parametrize(
    "translation", ["Rouge", "</1>rouge<1>", "<1>rouge</1></1>", "<1><1>rouge</1>", "<1>rouge</1><2/>", "<1>rouge"]
)
def test_a_sentence_whose_tags_are_lost_is_translated_in_pieces(translation: str) -> None:
    markup = Markup("A <b>red</b> car")
    assert markup.second_lines([translation]) == ["A", "red", "car"]
    assert markup.joined([translation], ["Une", "rouge", "voiture"]) == "Une <b>rouge</b> voiture"


def test_text_that_looks_like_a_numbered_tag_is_text() -> None:
    markup = Markup("<i>a</i> &lt;1&gt; b")
    assert markup.second_lines(["<1>x</1> <1> y"]) == ["a", "<1> b"]
    assert markup.joined(["..."], ["x", "<1> y"]) == "<i>x</i> &lt;1&gt; y"


def test_what_is_not_to_be_translated_stays() -> None:
    text = '<script>if (a < b) c("<p>")</script><pre translate="no">x <b>y</b></pre><style>p{}</style>'
    assert Markup(text).lines == []
    assert Markup(text).joined([]) == text
    named = Markup('I like <span class="notranslate">Moby <span>Dick</span></span> a lot')
    assert named.lines == ["I like <1/> a lot"]
    assert named.joined(["J'aime <1/>"]) == 'J\'aime <span class="notranslate">Moby <span>Dick</span></span>'


def test_tags_without_partners_and_broken_markup_stay() -> None:
    markup = Markup("a </b> c <i> d <")
    assert markup.lines == ["a <1/> c <2/> d <"]
    assert markup.joined(["<2/> x <1/>"]) == "<i> x </b>"


TAGS = [
    "<b>",
    "</b>",
    "<i x='1>2'>",
    "</i>",
    "<br>",
    "<p>",
    "</p>",
    "<x1/>",
    "<!-- c -->",
    "&amp;",
    "&lt;1&gt;",
    "a b",
    " ",
    "\n",
]


def tags_of(text: str) -> list[str]:
    return re.findall(r"<!--.*?-->|</?\w[^<>']*(?:'[^']*')?/?>", text)


@given(st.lists(st.sampled_from(TAGS), max_size=15), st.booleans())
def test_of_any_text_all_tags_stay_in_order(parts: list[str], loses_tags: bool) -> None:
    text = "".join(parts)
    markup = Markup(text)
    translations = ["lost" if loses_tags else line for line in markup.lines]
    joined = markup.joined(translations, markup.second_lines(translations))
    assert tags_of(joined) == tags_of(text)
    if not loses_tags:
        assert html.unescape(joined).split() == html.unescape(text).split()


def test_hostile_text_takes_no_long_time() -> None:
    for text in ("<a " * 20_000, "<!--" * 20_000, '<a "' * 15_000, "<script>" * 8_000, "<b>" * 7_000, "&" * 20_000):
        Markup(text).joined([""] * len(Markup(text).lines), ["x"] * 8000)
