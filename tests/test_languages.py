import subprocess
import sys

import pytest
from sacrebleu.metrics.bleu import BLEU

from mtmoe import languages
from mtmoe.errors import UserError
from mtmoe.languages import Direction, parse_direction


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("zh", "zh"),
        ("ZHO", "zh"),
        ("chi", "zh"),
        ("cmn", "zh"),
        ("zh_CN", "zh-CN"),
        ("cmn-hans-cn", "zh-Hans-CN"),
        ("yue", "yue"),
        ("jpn_Jpan", "ja-Jpan"),
        ("kor", "ko"),
        ("EN-us", "en-US"),
        ("iw", "he"),
        (" deu ", "de"),
        ("qaa", "qaa"),
        ("Klingon_speech", "klingon-speech"),
    ],
)
def test_codes_have_one_normal_form_however_they_are_written(code, normal):
    assert languages.normal_code(code) == normal


WITHOUT_SPACES = (
    "zh zh-CN zh_TW zho chi cmn yue wuu lzh nan cjy cdo jpn ja-JP ryu th tha TH_th lo lao km khm my mya bur bo tib "
    "bod dz dzo adx shn mnw khb tdd nod ii jv-Java und-Thai"
)


@pytest.mark.parametrize("code", WITHOUT_SPACES.split(" "))
def test_languages_without_spaces_are_known_by_the_script_they_are_written_in(code):
    assert not languages.has_spaces(code)
    assert languages.space_between_sentences(code) == ""


@pytest.mark.parametrize("code", ["en", "ko", "kor", "vi", "mn", "jv", "zh-Latn", "ja-Latn", "nan-Latn", "mul", "xx"])
def test_languages_with_spaces_have_them_between_sentences(code):
    assert languages.has_spaces(code)
    assert languages.space_between_sentences(code) == " "


@pytest.mark.parametrize("code", ["zh", "ja", "ko", "en", "de", "fr", "ru", "ar", "hi", "vi"])
def test_the_tokeniser_of_a_language_is_the_one_that_sacrebleu_takes_itself(code):
    expected = BLEU._TOKENIZER_MAP.get(code, BLEU.TOKENIZER_DEFAULT)
    assert languages.tokeniser_of(code) == expected
    assert languages.tokeniser_of(code.upper()) == expected


@pytest.mark.parametrize(
    ("code", "tokeniser"),
    [
        ("zh-Hant-TW", "zh"),
        ("yue", "zh"),
        ("cmn", "zh"),
        ("jpn", "ja-mecab"),
        ("kor_Hang", "ko-mecab"),
        ("th", "char"),
        ("khm", "char"),
        ("bo", "char"),
        ("zh-Latn", "13a"),
        ("ko-Latn", "13a"),
        ("", "13a"),
    ],
)
def test_the_tokeniser_follows_language_and_script(code, tokeniser):
    assert languages.tokeniser_of(code) == tokeniser


def test_every_tokeniser_is_one_of_sacrebleus():
    assert set(languages.TOKENISERS) == set(BLEU.TOKENIZERS) - {"spm"}  # an alias that is going away


@pytest.mark.parametrize(
    ("code", "near"),
    [("cn", "zh"), ("jp", "ja"), ("cz", "cs"), ("german", "de"), ("chinese", "zh"), ("dex", "de"), ("zh-Hanz", "zh")],
)
def test_a_code_that_is_not_known_is_told_with_the_nearest_that_is(code, near):
    assert not languages.is_known(code)
    [warning] = languages.unknown_codes(["en", code, code])
    assert f"{code!r} is not a language code that is known (did you mean {near}?)" in warning


@pytest.mark.parametrize("code", ["xx", "xq", "und", "", "  ", "0"])
def test_nothing_is_suggested_where_nothing_is_near(code):
    assert languages.nearest(code) == ""
    assert "did you mean" not in languages.complaint_about(code)


def test_known_codes_make_no_warning():
    assert languages.unknown_codes(["en", "zh_CN", "mul", "qaa", "cmn", "pt-br"]) == ()


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        ("en-de", "en", "de"),
        ("EN-DE", "EN", "DE"),
        ("en-zh-CN", "en", "zh-CN"),
        ("en-zh-cn", "en", "zh-cn"),
        ("zh-Hans-CN-en-US", "zh-Hans-CN", "en-US"),
        ("en-zh_CN", "en", "zh_CN"),
        ("en-pt-BR", "en", "pt-BR"),
        ("en-pt_br", "en", "pt_br"),
        ("sr-Latn-sr-Cyrl", "sr-Latn", "sr-Cyrl"),
        ("en-es-419", "en", "es-419"),
        ("zh-yue", "zh", "yue"),
        ("en-liv", "en", "liv"),
        ("xx-yy", "xx", "yy"),
    ],
)
def test_directions_are_read_in_the_one_way_that_makes_sense(text, source, target):
    assert parse_direction(text) == Direction(source, target)


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        ("en-pt-br", "can be read as en to pt-BR or en-PT to br", "write en-pt_BR or en_PT-br"),
        ("en-de-fr", "can be read as en to de-FR or en-DE to fr", "write en-de_FR or en_DE-fr"),
        ("zh-TW", "'zh-TW' is one language, and a direction has two", "en-zh-TW"),
        ("zh-Hant", "'zh-Hant' is one language, and a direction has two", "en-zh-Hant"),
        ("en", "'en' is not a direction", "SOURCE-TARGET"),
        ("en-", "'en-' is not a direction", "SOURCE-TARGET"),
        ("en--de", "'en--de' is not a direction", "SOURCE-TARGET"),
        ("en-xx-yy", "not a direction between two known languages", "SOURCE-TARGET"),
    ],
)
def test_a_direction_that_is_none_or_several_is_an_error(text, problem, fix):
    with pytest.raises(UserError) as raised:
        parse_direction(text)
    assert problem in raised.value.problem
    assert fix in raised.value.fix


@pytest.mark.parametrize(
    ("wanted", "found", "is_covered"),
    [
        ("en", "en-US", True),
        ("en", "ENG", True),
        ("zh", "cmn_CN", True),
        ("zh-CN", "zho_cn", True),
        ("en-GB", "en", False),
        ("en", "enm", False),
        ("zh", "yue", False),
        ("x1", "X1", True),
    ],
)
def test_a_language_covers_its_varieties(wanted, found, is_covered):
    assert languages.covers(wanted, found) is is_covered


def test_characters_tell_whether_their_script_has_spaces():
    assert all(map(languages.is_written_without_spaces, "中文ひらカタｶﾀไทยລາວខ្មែរမြန်မာབོད㐀𠀀ꀀ"))
    assert not any(map(languages.is_written_without_spaces, "aÄжع한कα1 .-"))


def test_codes_are_read_only_where_one_is_asked_about():
    code = "import sys, mtmoe.languages; sys.exit('langcodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("text", "code", "number"),
    [
        ("the dog sees me", "en", 4),
        ("我爱 NLP 和 GPU 。", "zh-CN", 6),
        ("我爱 NLP", "en", 2),
        ("กินข้าว", "th", 5),
        ("", "ja", 0),
    ],
)
def test_words_are_counted_by_spaces_or_by_letters(text, code, number):
    assert languages.num_words(text, code) == number
