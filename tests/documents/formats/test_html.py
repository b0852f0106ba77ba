"""HTML: tags stay, each once, around the words that come from those they were around; text is escaped."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.documents.document import Document, DocumentOptions
from mtmoe.documents.formats.html import read
from mtmoe.documents.tokens import LineTranslation
from mtmoe.errors import UserError
from tests.documents.made_up_translations import as_it_is, nothing, translated, turned_round, without_links


def document(text: str, **options: object) -> Document:
    return read(text.encode(), "page.html", DocumentOptions("en", "fr", **options))  # type: ignore[arg-type]


def test_inline_tags_go_along_and_other_tags_divide() -> None:
    page = document('<h1>Title</h1>\n<p class="x">A <a href="b?c=1&amp;d">red</a> car &amp; more</p><!-- no -->')
    assert page.lines == ["Title", "A red car & more"]
    links = ((0, 0), (2, 1), (1, 2), (3, 3), (4, 4))
    translations = [LineTranslation("Titre"), LineTranslation("Une voiture rouge & plus <", links)]
    assert page.second_lines(translations) == []
    assert page.content(translations).decode() == (
        '<h1>Titre</h1>\n<p class="x">Une voiture <a href="b?c=1&amp;d">rouge</a> &amp; plus &lt;</p><!-- no -->'
    )


def test_a_text_is_translated_in_sentences_and_its_tags_may_be_around_several() -> None:
    page = document("<p>One. <i>Two! Three</i> is.</p>")
    assert page.lines == ["One.", "Two!", "Three is."]
    assert translated(page, turned_round) == b"<p>ONE. <i>TWO! IS. THREE</i></p>"


@pytest.mark.parametrize("links", [(), ((0, 0), (2, 0))])
def test_where_nothing_comes_from_the_words_of_a_pair_the_text_is_translated_in_pieces(
    links: tuple[tuple[int, int], ...],
) -> None:
    page = document("A <b>red</b> car")
    found = [LineTranslation("Voiture", links)]
    assert page.second_lines(found) == ["A", "red", "car"]
    pieces = [LineTranslation(text) for text in ("Une", "rouge", "voiture")]
    assert page.content(found, pieces) == b"Une <b>rouge</b> voiture"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("un<b>believ</b>able <i>x</i>", "<i>X</i> <b>UNBELIEVABLE</b>"),
        ("I <b>(really)</b> do.", "DO. <b>(REALLY)</b> I"),
        ("I (<b>really</b>) do", "DO (<b>REALLY</b>) I"),
        ("Hello <b>world</b>.", "<b>WORLD</b>. HELLO"),
        ("Hello <b>world.</b>", "<b>WORLD.</b> HELLO"),
        ("See <code>a = b</code>.", "SEE <code>a = b</code>."),
        ("Run <code>x</code> now", "NOW <code>x</code> RUN"),
        ("a<img src=x> b", "B A<img src=x>"),
        ("A car<sup>1</sup> is", "IS CAR<sup>1</sup> A"),
        ("Drink H<sub>2</sub>O now", "NOW H<sub>2</sub>O DRINK"),
        ("<b><i>all of it</i></b>", "<b><i>IT OF ALL</i></b>"),
    ],
)
def test_tags_stand_beside_whole_words_as_they_stood_in_the_source(source: str, expected: str) -> None:
    assert translated(document(source), turned_round).decode() == expected


def test_languages_without_spaces_are_translated_between_tags() -> None:
    page = read(b"<p>A <b>red</b> car.</p>", "x", DocumentOptions("en", "ja"))
    found = [LineTranslation("赤い車。", ((0, 0),))]
    assert page.second_lines(found) == ["A", "red", "car."]
    pieces = [LineTranslation(text) for text in ("一", "赤い", "車。")]
    assert page.content(found, pieces).decode() == "<p>一 <b>赤い</b> 車。</p>"


def test_what_is_not_to_be_translated_stays() -> None:
    text = '<script>if (a < b) c("<p>")</script><pre>x <b>y</b>\n z</pre><style>p{}</style><p>1 &nbsp; 2</p>'
    assert document(text).lines == []
    assert translated(document(text), turned_round).decode() == text
    named = document('I like <span class="notranslate">Moby <span>Dick</span></span> a lot')
    assert named.lines == ["I like a lot"]
    assert b'<span class="notranslate">Moby <span>Dick</span></span>' in translated(named, as_it_is)


def test_what_stands_between_signs_alone_stays_there() -> None:
    text = (
        "They are: <code>a</code>, <code>b</code>, <code>c</code>. See (<img src=x>). "
        "Git (<code>d</code>, <code>e</code>) and <code>f</code>(1)/<code>g</code>(1)."
    )
    assert translated(document(text), as_it_is).decode() == text


def test_texts_of_attributes_are_a_part_of_their_own() -> None:
    text = '<p title="A &quot;b&quot;">c <img alt=\'A dog\' src="A dog"></p>'
    assert document(text).lines == ['A "b"', "A dog", "c"]
    assert translated(document(text), turned_round).decode() == (
        '<p title="&quot;B&quot; A">C <img alt=\'DOG A\' src="A dog"></p>'
    )
    assert document(text, parts=()).lines == ["c"]


def test_encodings_that_a_page_names_are_kept() -> None:
    page = '<meta charset="iso-8859-1"><p>é</p>'.encode("latin-1")
    found = read(page, "x", DocumentOptions())
    assert found.content([LineTranslation("ü €ж")]) == '<meta charset="iso-8859-1"><p>ü €&#1078;</p>'.encode("cp1252")
    with pytest.raises(UserError, match=r"x\.html:2: is not utf-8"):
        read(b"<p>a</p>\n\xff", "x.html", DocumentOptions())


TAGS = ["<b>", "</b>", "<i x='1>2'>", "</i>", "<br>", "<p>", "</p>", "<x1/>", "<!-- c -->", "&amp;", "&lt;1&gt;", "a b"]
TAGS += [" ", "\n", "z.", "<code>", "</code>", "B"]


def tags_of(text: str) -> list[str]:
    return re.findall(r"<!--.*?-->|</?\w[^<>']*(?:'[^']*')?/?>", text)


@given(st.lists(st.sampled_from(TAGS), max_size=15))
def test_of_any_text_all_tags_stay(parts: list[str]) -> None:
    text = "".join(parts)
    for translate in (as_it_is, turned_round, without_links, nothing):
        joined = translated(document(text), translate).decode()
        assert sorted(tags_of(joined)) == sorted(tags_of(text))
        if translate is as_it_is:
            assert "".join(html.unescape(joined).split()).count("a") == "".join(html.unescape(text).split()).count("a")


def test_hostile_text_takes_no_long_time() -> None:
    hostile = ("<a " * 20_000, "<!--" * 20_000, '<a "' * 15_000, "<script>" * 8_000, "<b>" * 7_000, "&" * 20_000)
    for text in (*hostile, "<b>" * 7_000 + "x" + "</b>" * 7_000, "<img>a " * 7_000, "<b>a</b> " * 5_000):
        translated(document(text), without_links)
