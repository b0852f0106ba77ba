"""Translation memories as they come: encodings, entities, elements inside of words, and what is wrong with a file."""

from __future__ import annotations

import gzip
import html.entities
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtmoe.data.raw.formats.tmx import read_tmx
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, SECOND_VARIANT, TOO_LONG, BadLine, Pair
from mtmoe.errors import UserError


def _memory(*segments: tuple[str, str], encoding: str = "UTF-8", doctype: str = "", target: str = "de") -> str:
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>{one}</seg></tuv><tuv xml:lang="{target}"><seg>{other}</seg></tuv></tu>\n'
        for one, other in segments
    )
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n{doctype}'
    return f'{head}<tmx version="1.4"><header/><body>\n{units}</body></tmx>\n'


def _read(
    folder: Path, content: str | bytes, target: str = "de", *, skip: bool = False
) -> tuple[list[Pair], list[BadLine]]:
    path = folder / "m.tmx"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    bad_lines: list[BadLine] = []
    return list(read_tmx(path, "en", target, bad_lines.append, skip=skip)), bad_lines


def _error(folder: Path, content: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        _read(folder, content)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- encodings

JAPANESE, CHINESE, GERMAN = "日本語の文です。", "中文句子。", "Grüße"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("Shift_JIS", JAPANESE),
        ("EUC-JP", JAPANESE),
        ("ISO-2022-JP", JAPANESE),
        ("x-sjis", JAPANESE),
        ("GB18030", CHINESE),
        ("GBK", CHINESE),
        ("Big5", "中文句子。"),
        ("EUC-KR", "한국어 문장"),
        ("windows-1252", "„Grüße“ – 5 €"),
        ("ISO-8859-15", "5 €"),
        ("KOI8-R", "Привет"),
        ("UTF-8", JAPANESE),
    ],
)
@pytest.mark.parametrize("many", [1, 4000])  # so that characters lie across the borders of what is read at a time
def test_a_memory_is_read_in_the_encoding_that_it_declares(encoding, text, many, tmp_path):
    content = _memory(*[("one", text)] * many, encoding=encoding)
    pairs, _ = _read(tmp_path, content.encode(encoding.removeprefix("x-")))
    assert pairs == [("one", text)] * many


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("with_mark", [True, False])
@pytest.mark.parametrize("declared", ["UTF-16", "UTF-8", "none", "ISO-10646-UCS-2"])
def test_what_the_first_bytes_say_counts_more_than_what_is_declared(encoding, with_mark, declared, tmp_path):
    content = _memory(("one 𝄞", JAPANESE), encoding=declared)
    if declared == "none":
        content = content.partition("\n")[2]
    mark = "\ufeff" if with_mark and encoding != "utf-8-sig" else ""
    assert _read(tmp_path, (mark + content).encode(encoding))[0] == [("one 𝄞", JAPANESE)]


@pytest.mark.parametrize("name", ["x-foo", "rot13", "hex", "base64", "idna", "unicode_escape", "undefined", "utf-7-x"])
def test_an_unknown_encoding_is_named(name, tmp_path):
    problem = _error(tmp_path, _memory(("a", "b"), encoding=name))
    assert f"m.tmx:1: is in the encoding {name!r}, which is not known" in problem
    assert "iconv" in problem


def test_bytes_that_are_not_of_the_encoding_are_an_error_with_their_line_or_left_out(tmp_path):
    content = _memory(("a", "b"), ("c", "~"), ("e", "f"), encoding="Shift_JIS").encode("ascii").replace(b"~", b"\x82")
    assert "m.tmx:4: not shift_jis: byte 0x82" in _error(tmp_path, content)
    pairs, bad_lines = _read(tmp_path, content, skip=True)
    assert pairs == [("a", "b"), ("e", "f")]
    assert [(bad.line, bad.problem) for bad in bad_lines] == [(4, INVALID_UTF8)]


# ----------------------------------------------------------------------------------------------------- entities


@pytest.mark.parametrize("doctype", ["", '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n', "<!DOCTYPE tmx>\n"])
def test_every_named_entity_of_html_is_what_it_means(doctype, tmp_path):
    entities = {name[:-1]: text for name, text in html.entities.html5.items() if name.endswith(";")}
    pairs, _ = _read(tmp_path, _memory(*((f"x&{name};", "y") for name in entities), doctype=doctype))
    assert [source for source, _ in pairs] == [f"x{text}" for text in entities.values()]


def test_markup_that_an_entity_spells_stays_text(tmp_path):
    pairs, _ = _read(tmp_path, _memory(("1 &lt; 2 &amp;&LT;b&nvlt;", "<![CDATA[caf&eacute; <b>]]>")))
    assert pairs == [("1 < 2 &<b" + html.entities.html5["nvlt;"], "caf&eacute; <b>")]


@pytest.mark.parametrize("doctype", ["", '<!DOCTYPE tmx SYSTEM "tmx14.dtd">'])
def test_an_unknown_entity_is_an_error_with_its_line_or_left_out(doctype, tmp_path):
    content = _memory(("a", "b"), ("c &foo;", "d"), doctype=doctype)
    assert "m.tmx:4: holds &foo;, which is no entity of XML or HTML" in _error(tmp_path, content)
    assert _read(tmp_path, content, skip=True)[0] == [("a", "b")]


@pytest.mark.parametrize(
    "subset",
    [
        '<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">',
        '<!ENTITY % p "x"><!ENTITY a "%p;">',
        '<!ENTITY % p SYSTEM "file:///etc/hostname">%p;',
        '<!ENTITY eacute "é">',
    ],
)
def test_whatever_declares_an_entity_is_refused(subset, tmp_path):
    assert "m.tmx:2: declares the entity " in _error(
        tmp_path, _memory(("&c;", "b"), doctype=f"<!DOCTYPE tmx [{subset}]>")
    )


# --------------------------------------------------------------------------------------------------- characters


@pytest.mark.parametrize("bad", ["\x01", "\x1f", "\ufffe", "&#1;", "&#x0;", "&#xD800;", "&#xFFFF;", "&#1114112;"])
def test_a_character_that_xml_has_not_is_an_error_with_its_line_or_left_out(bad, tmp_path):
    content = _memory(("a", "b"), ("c", f"d{bad}e"), ("f", "&#228;&#xFC;"))
    assert "m.tmx:4: holds a control character" in _error(tmp_path, content)
    pairs, bad_lines = _read(tmp_path, content, skip=True)
    assert pairs == [("a", "b"), ("f", "äü")]
    assert [bad.line for bad in bad_lines] == [4]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1), max_size=5))
def test_text_comes_out_as_it_went_in(tmp_path_factory, texts):
    escaped = [t.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&#62;") for t in texts]
    content = _memory(("x", "y"), *((text, text) for text in escaped))
    assert _read(tmp_path_factory.mktemp("tmx"), content)[0] == [("x", "y"), *((text, text) for text in texts)]


# ----------------------------------------------------------------------------------------------------- elements


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ('Go to<ph x="1">&lt;br/&gt;</ph>page', "Go to page"),
        ('page<x id="1"/>two', "page two"),
        ("Click<bpt i='1'>{\\b </bpt>here<ept i='1'>}</ept>now", "Click here now"),
        ("one<it pos='begin'>x</it>two<ut>y</ut>three", "one two three"),
        ("one<hi>two</hi>three", "one two three"),
        ("one <hi>two</hi>, three", "one two, three"),
        ("End.<ph/>Next", "End. Next"),
        ("www<ph/>.<ph/>example.org", "www.example.org"),
        ("one,<ph/>two", "one, two"),
        ("(<hi>one</hi>)", "(one)"),
        ("<ph/>one<ph/>", "one"),
        ("日本<hi>語</hi>です", "日本語です"),
        ("text<bpt><sub>a footnote</sub></bpt> goes on<ph>x<sub>y<hi>z</hi></sub>w</ph>.", "text goes on."),
        ("text<sub>a footnote</sub>goes on", "text goes on"),
    ],
)
def test_elements_end_words_and_bring_no_text_of_their_own(segment, text, tmp_path):
    assert _read(tmp_path, _memory((segment, "x")))[0] == [(text, "x")]


def test_a_second_variant_of_a_language_is_told_and_the_first_counts(tmp_path):
    german = '<tuv xml:lang="de-{}"><seg>{}</seg></tuv>'
    variants = german.format("AT", "b") + "\n" + german.format("CH", "c")
    content = f'<tmx><tu><tuv xml:lang="en"><seg>a</seg></tuv>{variants}</tu></tmx>'
    pairs, bad_lines = _read(tmp_path, content)
    assert pairs == [("a", "b")]
    assert bad_lines == [(str(tmp_path / "m.tmx"), 2, SECOND_VARIANT)]


# ----------------------------------------------------------------------------------------------------- messages


def test_a_missing_seg_is_told_as_what_it_is(tmp_path):
    content = '<tmx><body>\n<tu><tuv xml:lang="en-US">Hello</tuv><tuv xml:lang="de-DE">Hallo</tuv></tu></body></tmx>'
    assert "no unit has a segment in both 'en' and 'de'; the first: line 2: no <seg> of en and of de" in _error(
        tmp_path, content
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(_memory(("a", "b")).encode()), "m.tmx: holds .gz data, but its name does not end in .gz"),
        (b"PK\x03\x04rest of a zip", "m.tmx: holds .zip data"),
        ("<xliff><file/></xliff>", "m.tmx: is no translation memory: its first element is <xliff>"),
        ("", "m.tmx:1: not valid XML: no element found"),
        ("<tmx><!--" + "x" * 6_000_000, "m.tmx:1: a tag or comment begins here that has more than"),
    ],
)
def test_what_is_no_translation_memory_gets_the_true_reason(content, message, tmp_path):
    assert message in _error(tmp_path, content)


def test_an_endless_segment_is_left_out_in_bounded_memory(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from mtmoe.data.raw.formats.tmx import read_tmx\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "bad = []; pairs = list(read_tmx(Path(sys.argv[1]), 'en', 'de', bad.append))\n"
        "print(pairs, [b.problem for b in bad], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sep='|')"
    )
    unit = b'<tu><tuv xml:lang="en"><seg>%s</seg></tuv><tuv xml:lang="de"><seg>b</seg></tuv></tu>'
    content = b"<tmx>" + unit % (b"word " * 40_000_000) + unit % b"a" + b"</tmx>"
    (tmp_path / "long.tmx.gz").write_bytes(gzip.compress(content, 1))
    command = [sys.executable, "-c", code, str(tmp_path / "long.tmx.gz")]
    pairs, problems, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("|")
    assert pairs == "[Pair(source='a', target='b')]"
    assert problems == str([TOO_LONG])
    assert int(kilobytes) < 40_000
