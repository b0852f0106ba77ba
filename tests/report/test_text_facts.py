"""Facts of text: lengths, words and subwords are those of the text that was prepared."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.report import text_facts
from mtmoe.report.text_facts import lengths_of, subword_facts, subword_times, word_counts
from tests.toy import prepared_toy


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    """The toy's text."""
    return open_prepared(prepared_toy(tmp_path_factory.mktemp("toy"))[1])


def test_counts_are_those_of_the_whole_text(prepared) -> None:
    subwords = SubwordModel(prepared.subwords_path)
    corpus = prepared.train
    texts = [subwords.decode(corpus.source(n).tolist()) for n in range(len(corpus))]
    found = word_counts(corpus, corpus.source_side, subwords)
    assert found.times == Counter(word for text in texts for word in text.split())
    assert (found.num_sentences, found.all_sentences) == (len(corpus), len(corpus))
    times_V = subword_times(corpus.source_side, subwords.size)
    assert times_V.tolist() == np.bincount(corpus.source_side.ids, minlength=subwords.size).tolist()
    lengths = lengths_of(corpus.target_side)
    own = corpus.target_lengths
    assert (lengths.mean, lengths.longest) == (pytest.approx(own.mean()), own.max())
    assert (lengths.median, lengths.most_of_95) == (np.median(own), np.quantile(own, 0.95))


def test_long_text_is_looked_at_in_even_steps(prepared, monkeypatch) -> None:
    monkeypatch.setattr(text_facts, "MOST_SENTENCES", 10)
    monkeypatch.setattr(text_facts, "MOST_LENGTHS", 10)
    corpus = prepared.train
    found = word_counts(corpus, corpus.source_side, SubwordModel(prepared.subwords_path))
    assert (found.num_sentences, found.all_sentences) == (10, len(corpus))
    step = len(corpus) / 10
    places = [int(n * step) for n in range(10)]
    lengths = lengths_of(corpus.source_side)
    assert (lengths.num_sentences, lengths.num_counted) == (len(corpus), 10)
    assert lengths.mean == pytest.approx(np.mean([len(corpus.source(place)) for place in places]))


def test_subwords_of_words_and_single_bytes_are_counted(prepared) -> None:
    pieces = SubwordModel(prepared.subwords_path).pieces
    valid = prepared.valid
    found = subword_facts(prepared.valid_source, valid.source_side, pieces)
    assert found.num_words == sum(len(line.split()) for line in prepared.valid_source)
    assert found.num_subwords == valid.num_source_tokens
    assert found.num_bytes_or_unknown == 0
    as_bytes = ["<0x41>"] * len(pieces)
    assert subword_facts([], valid.source_side, as_bytes).num_bytes_or_unknown == valid.num_source_tokens
