"""The lexicon of a made-up language pair, and its counts against the obvious way."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from mtmoe.data.prepared import lexicon as module
from mtmoe.data.prepared.corpus import CorpusWriter, ParallelCorpus, Part, chunk_of
from mtmoe.data.prepared.lexicon import learn_lexicon, load_lexicon, log_likelihood_ratio, save_lexicon
from mtmoe.data.prepared.pair_chunks import sampled_pairs
from mtmoe.errors import UserError
from mtmoe.vocabulary import NUM_SPECIAL, PAD

SIZE = 60
WORDS = range(NUM_SPECIAL, NUM_SPECIAL + 20)


def translation_of(word: int) -> int:
    return word + 25


@pytest.fixture
def corpus(tmp_path) -> ParallelCorpus:
    """Word by word in another order, with a word of no meaning in half of the targets."""
    generator = random.Random(1)
    sources = [generator.sample(WORDS, generator.randint(3, 7)) for _ in range(400)]
    targets = []
    for source in sources:
        target = [translation_of(word) for word in reversed(source)]
        targets.append(target + [SIZE - 1] * generator.randint(0, 1))
    with CorpusWriter(tmp_path / "corpus", SIZE) as writer:
        writer.write(chunk_of(sources, targets))
        writer.finish([Part("all", 1.0, len(sources))])
    return ParallelCorpus(tmp_path / "corpus")


def test_the_surest_candidate_of_a_word_is_its_translation(corpus):
    lexicon = learn_lexicon(corpus)
    for word in WORDS:
        assert lexicon.candidates_VC[word, 0] == translation_of(word)
    others = np.setdiff1d(np.arange(SIZE), WORDS)
    assert (lexicon.candidates_VC[others] == PAD).all()
    assert lexicon.frequent_F[0] == SIZE - 1
    assert sorted(lexicon.frequent_F) == sorted([*map(translation_of, WORDS), SIZE - 1])


def test_target_words_are_shared_out_as_in_a_step_of_em(corpus):
    """Dictionaries and loops in place of arrays."""
    pairs = [(set(corpus.source(i).tolist()), set(corpus.target(i).tolist())) for i in range(len(corpus))]
    ratios = {}
    for s in WORDS:
        for t in range(SIZE):
            both = sum(s in source and t in target for source, target in pairs)
            if both:
                with_s, with_t = (sum(word in pair[side] for pair in pairs) for side, word in ((0, s), (1, t)))
                ratios[s, t] = ratio_by_hand(both, with_s, with_t, len(pairs))
    shares = dict.fromkeys(ratios, 0.0)
    for source, target in pairs:
        for t in target:
            total = sum(ratios[s, t] for s in source)
            for s in source:
                shares[s, t] += ratios[s, t] / total if total else 0.0
    lexicon = learn_lexicon(corpus)
    for s in WORDS:
        expected = sorted((t for t in range(SIZE) if shares.get((s, t), 0) > 1e-6), key=lambda t: -shares[s, t])
        found = [t for t in lexicon.candidates_VC[s].tolist() if t != PAD]
        assert found == expected
    assert {len(row[row != PAD]) for row in lexicon.candidates_VC[list(WORDS)]} != {1}


def ratio_by_hand(both: int, with_s: int, with_t: int, total: int) -> float:
    if both * total <= with_s * with_t:
        return 0.0
    expected = [(with_s, with_t), (with_s, total - with_t), (total - with_s, with_t), (total - with_s, total - with_t)]
    cells = [both, with_s - both, with_t - both, total - with_s - with_t + both]
    return 2 * sum(k * math.log(k * total / (r * c)) for k, (r, c) in zip(cells, expected, strict=True) if k)


def test_the_ratio_is_that_of_observed_and_expected_counts():
    both, source, target = np.array([8, 3, 1, 5]), np.array([10, 30, 10, 5]), np.array([9, 10, 40, 5])
    found = log_likelihood_ratio(both, source, target, 50)
    expected = [
        ratio_by_hand(*cells, 50) for cells in zip(both.tolist(), source.tolist(), target.tolist(), strict=True)
    ]
    assert found == pytest.approx(expected)
    assert expected[0] > 10
    assert found[1:3].tolist() == [0, 0], "they meet less often than by chance"


def test_chunks_make_no_difference(corpus, monkeypatch):
    whole = learn_lexicon(corpus)
    monkeypatch.setattr(module, "LINKS_AT_ONCE", 100)
    by_chunks = learn_lexicon(corpus)
    for one, other in zip(whole, by_chunks, strict=True):
        assert np.array_equal(one, other)


def test_a_table_that_is_cut_still_knows_the_common_links(corpus, monkeypatch):
    monkeypatch.setattr(module, "LINKS_AT_ONCE", 1000)
    monkeypatch.setattr(module, "MOST_COUNTED", 60)
    lexicon = learn_lexicon(corpus)
    assert (lexicon.candidates_VC != PAD).sum() <= 60
    known = sum(translation_of(word) in lexicon.candidates_VC[word] for word in WORDS)
    assert known >= 18


def test_of_a_large_corpus_every_nth_pair_is_read(corpus, monkeypatch):
    num_links = int((corpus.source_lengths * corpus.target_lengths).sum())
    monkeypatch.setattr(module, "MOST_LINKS", num_links // 4)
    assert sampled_pairs(corpus, module.MOST_LINKS)[:3].tolist() == [0, 5, 10]
    assert learn_lexicon(corpus).candidates_VC[NUM_SPECIAL, 0] == translation_of(NUM_SPECIAL)


def test_it_is_read_as_it_was_written_and_what_is_wrong_is_told(corpus, tmp_path):
    path = tmp_path / "lexicon.safetensors"
    with pytest.raises(UserError, match=r"there is no such file, and decoding\.shortlist needs it") as error:
        load_lexicon(path, SIZE)
    assert error.value.fix.startswith("run `mtmoe preprocess` into a new directory and copy its lexicon.safetensors")
    lexicon = learn_lexicon(corpus)
    save_lexicon(path, lexicon)
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode  # readable as any new file is
    for one, other in zip(lexicon, load_lexicon(path, SIZE), strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(UserError, match="is for a vocabulary of 60, but the run's has 61"):
        load_lexicon(path, SIZE + 1)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged: "):
        load_lexicon(path, SIZE)
