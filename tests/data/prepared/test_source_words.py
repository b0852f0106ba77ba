"""Words of the source side: counted in bounded memory, and what is read back is what was written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mtmoe.data.prepared.source_words import count_words, load_source_words, save_source_words
from mtmoe.errors import UserError


def test_words_are_letters_with_their_marks_and_apostrophes() -> None:
    found = count_words(["Don't shout, it's 5 o'clock!", "don't 'quote' e-mail x2 été किताब"])
    assert found == Counter(
        dict.fromkeys(("Don't", "shout", "it's", "o'clock", "don't", "quote", "e", "mail", "x", "été", "किताब"), 1)
    )


def test_where_there_are_too_many_the_rarest_begin_anew() -> None:
    sentences = [f"often {'abcdefghij'[i % 10]}{'abcdefghij'[i // 10]}" for i in range(100)]
    found = count_words(sentences, most_counted=20)
    assert found["often"] == 100
    assert len(found) <= 20


def test_what_is_read_is_what_was_written_the_most_frequent_first(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    save_source_words(path, Counter({"rare": 1, "often": 5, "été": 5}))
    assert path.read_text(encoding="utf-8") == "often\t5\nété\t5\nrare\t1\n"
    assert load_source_words(path) == {"often": 5, "été": 5, "rare": 1}


@pytest.mark.parametrize("content", [b"no tab\n", b"word\tmany\n", b"\xff\t1\n", b"a\tb\tc\n"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_source_words(path)
