"""Placeholders, kind by kind: the usual forms, what only looks like them, and lines made to take long."""

from __future__ import annotations

import time

import pytest

from mtmoe.config.placeholder_patterns import PATTERNS, PlaceholderPattern, TookTooLong, placeholder_pattern
from mtmoe.config.settings import Decoding

ALONE = {
    "urls": [
        "https://en.wikipedia.org/wiki/Bank_(geography)",
        "https://x.org/?q=",
        "www.example.org",
        "WWW.Example.org/a",
        "http://localhost:8080/a/b/",
        "HTTPS://EXAMPLE.ORG/A",
        "ftp://ftp.example.org/pub",
        "https://user:pass@host.org/x",
        "https://a.de/x_(y_(z))",
        "https://a.de/?a[]=1&b=(2)&c",
        "https://[2001:db8::1]:80/x",
        "https://a.de/a,b;c*d~e!f'g.html",
        "https://a.de/%C3%A9#t-1",
        "https://zh.wikipedia.org/wiki/中国",
        "https://a.de/{id}/x",
        "https://a.de/a-",
        "https://a.de/@me+$1",
        "https://xn--bcher-kva.example",
        "www.a.co.uk?x=1",
    ],
    "emails": [
        "a.b+c@d-e.fr",
        "info@example.co.uk",
        "x_y%z@sub.domain.org",
        "élise@exemple.fr",
        "a@b.museum",
        "1@2.de",
        "o-o@a--b.de",
    ],
    "tags": [
        "<b>",
        "</b>",
        "<br/>",
        "<br />",
        "<0>",
        "</0>",
        "<1/>",
        '<a href="x>y">',
        "<a href='http://x.y/?a=1&b=2' target=_blank>",
        "<g id='1'>",
        '<x id="1"/>',
        '<bpt i="1" x="2">',
        "<h1>",
        "<xliff:g>",
        "<my-tag>",
        "<input disabled>",
        "<input type=checkbox checked required/>",
        '<el @click="f(1 > 0)" :b="c" v-if = "d">',
        "<p data-x>",
        "<!-- a comment -->",
        "</p >",
        "<a\u0020href=''>",
    ],
    "braces": [
        "{}",
        "{0}",
        "{name}",
        "{{ name }}",
        "{{name}}",
        "{{ user.name | upper }}",
        "{{{raw}}}",
        "{0:.2f}",
        "{name!r}",
        "{name!r:>10}",
        "{a[0].b}",
        "{x:{width}.{digits}}",
        "{date:%d %B %Y}",
        "{n, number}",
        "{d, date, short}",
        "${name}",
        "%{name}",
        "#{name}",
        "{% if x %}",
        "{user_name}",
        "{{#each items}}",
        "{名前}",
    ],
    "printf": [
        "%s",
        "%d",
        "%i",
        "%u",
        "%c",
        "%f",
        "%x",
        "%X",
        "%p",
        "%@",
        "%%",
        "%ld",
        "%lu",
        "%li",
        "%lld",
        "%llu",
        "%hhd",
        "%zu",
        "%1$s",
        "%2$@",
        "%1$.2f",
        "%12$d",
        "%-5.2f",
        "%05d",
        "%+d",
        "%#x",
        "%'d",
        "%*d",
        "%-*s",
        "%.3s",
        "%.*f",
        "%08.3lf",
        "%(name)s",
        "%(a.b)d",
        "%(price).2f",
        "%I64d",
    ],
    "numbers": ["1", "12", "3.5", "1,000.50", "12:30", "1.2.3", "٣"],
    "emoji": ["😀", "👍🏽", "❤️", "☀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🤷🏻‍♀️", "🇫🇷", "1️⃣", "#⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "©️", "✉", "⭐", "🏽"],
    "formatted-numbers": ["3.5", "1,000.50", "12:30", "1.2.3", "2024-05-01", "192.168.0.1", "1'000", "3/4"],
}

INSIDE = [
    ("urls", "See (https://example.org/a_(b)). It is good.", ["https://example.org/a_(b)"]),
    ("urls", "(https://a.de), [https://b.de]; <https://c.de/>! 'https://d.de/e'", "https://a.de https://b.de "
     "https://c.de/ https://d.de/e"),
    ("urls", "[text](https://a.de/b) and **https://c.de** `https://d.de`", "https://a.de/b https://c.de https://d.de"),
    ("urls", "Why https://a.de/b? Or https://c.de/d: https://e.de/f... “https://g.de/h”", "https://a.de/b "
     "https://c.de/d https://e.de/f https://g.de/h"),
    ("urls", "&quot;https://a.de/b&quot; https://a.de/?x=1&amp;y=2", "https://a.de/b https://a.de/?x=1&amp;y=2"),
    ("urls", "请看https://a.de/b。谢谢（https://c.de/d）", "https://a.de/b https://c.de/d"),
    ("urls", "a|https://a.de/(b c", "https://a.de/"),
    ("urls", "example.org http:// https://. www. wwww.a.de xwww.a.de http:/a.de me@www.a.de", ""),
    ("emails", "To a@b.de, <c@d.fr>; (e@f.org). ...g@h.it -i@j.es mailto:k@l.pt", "a@b.de c@d.fr e@f.org g@h.it "
     "i@j.es k@l.pt"),
    ("emails", "a@b @c.de d@ e @f.g h@.i j@k. l@-m.de", ""),
    ("tags", "if a<b and c>d, 1<2, x < y > z, <b and c>, <>, < b>, <b, </>, <3, a <- b ->, <a@b.de>", ""),
    ("tags", "<https://a.de> <file name> <a =b> <a b=\"c> <your name here>", ""),
    ("tags", "<0>a</0> if a<b and c>d <b>x</b>", "<0> </0> <b> </b>"),
    ("tags", "<b>a</b><i>c</i>", "<b> </b> <i> </i>"),
    ("braces", "{a}{b} { name } {two words} {n, plural, one {# item} other {#}} } {", ["{a}", "{b}", "{#}"]),
    ("braces", "{{{a}}} {{b} {c}} ${d}e", ["{{{a}}}", "{b}", "{c}", "${d}"]),
    ("printf", "5% of, 100% sure, 100%sure, 50%discount, 10%-20%, 3 %, 20%., %age, 10%.", ""),
    ("printf", "%dx%d, %ds, %dMB, %ss, %1$sx, %.1fkm, %s_%s, %.0f%%", "%d %d %d %d %s %1$s %.1f %s %s %.0f %%"),
    ("printf", "共%d个，%s님", "%d %s"),
    ("numbers", "a1 1a 12, 3.5 1,000. x_1 (7)", "12 3.5 1,000 7"),
    ("emoji", "Hi😀! 👍🏽🇫🇷🇩🇪 2️⃣, ❤️.", "😀 👍🏽 🇫🇷 🇩🇪 2️⃣ ❤️"),
    ("emoji", "© ® ™ ↔ 1 # * a → é 中 \u200d", ""),
    ("formatted-numbers", "a1.5 1.5a 12, 3.5, 1,000. x_1.2 (7) 12:30! v1.2 1-2 a-1-2 5 3.", "3.5 1,000 12:30 1-2"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in ALONE.items() for text in texts])
def test_the_usual_forms_of_each_kind_are_found_whole(kind, text):
    pattern = placeholder_pattern([kind])
    before, behind = ("", ".") if text[-1].isdigit() or kind != "urls" else ("(", ").")
    for line in (text, f"See {text} here", f"See {before}{text}{behind}", f"{text}, and {text}"):
        assert pattern.findall(line) == [text] * line.count(text)


@pytest.mark.parametrize(("kind", "text", "found"), INSIDE)
def test_nothing_around_them_and_nothing_that_only_looks_like_them_is_found(kind, text, found):
    assert placeholder_pattern([kind]).findall(text) == (found.split() if isinstance(found, str) else found)


def test_every_kind_was_tried_on_both():
    assert set(ALONE) == {kind for kind, *_ in INSIDE} == set(PATTERNS)


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        ("/(?i)item-[0-9]+/", "ITEM-1 Item-22 item", ["ITEM-1", "Item-22"]),
        (r"/\bACME\b/", "ACME ACMEs", ["ACME"]),
        (r"/(?<=#)\d+/", "#12 13", ["12"]),
        ("/(?x) a  b # comment\n/", "ab a b", ["ab"]),
        ("/a|/{2}/", "a // b", ["a", "//"]),
    ],
)
def test_an_expression_of_a_user_may_set_flags_and_look_around(expression, text, found):
    assert placeholder_pattern([expression, "numbers"]).findall(text)[: len(found)] == found


@pytest.mark.parametrize("expression", [r"/\b/", "/x?/", "/a*|b/", "/(?=x)/", "/^/", "/$/", "/(?:)/", "/x{0,3}/"])
def test_an_expression_that_can_match_nothing_is_an_error_that_says_so(expression):
    with pytest.raises(ValueError, match="matches the empty text"):
        Decoding(placeholders=(expression,))


@pytest.mark.parametrize("expression", ["/(/", "/a{99999999999}/", "/a**/", "/[/", r"/\p/", "/(?P<a/", "/x(?i)/"])
def test_what_is_no_expression_is_an_error_that_says_why(expression):
    with pytest.raises(ValueError, match="is no regular expression: "):
        Decoding(placeholders=(expression,))


def test_an_expression_that_takes_too_long_is_given_up_and_named():
    slow = PlaceholderPattern({"numbers": PATTERNS["numbers"], "/slow/": "(?:a|aa)+$"}, seconds=0.2)
    begin = time.process_time()
    with pytest.raises(TookTooLong, match=r"^/slow/$"):
        slow.findall("1 " + "a" * 60 + "!")
    assert time.process_time() - begin < 5
    assert slow.findall("1 aa") == ["1", "aa"]


def test_an_address_that_follows_a_full_stop_is_one():
    assert [m[0] for m in placeholder_pattern(["urls"]).finditer("It is good.https://example.org/a_(b)")] == [
        "https://example.org/a_(b)"
    ]
