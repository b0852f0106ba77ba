"""The table of translations, against loops over dictionaries."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from mtmoe.data.prepared import translation_table as module
from mtmoe.data.prepared.corpus import CorpusWriter, ParallelCorpus, Part, chunk_of
from mtmoe.data.prepared.translation_table import (
    NOTHING,
    TranslationTable,
    learn_translation_table,
    load_translation_table,
    save_translation_table,
)
from mtmoe.errors import UserError
from mtmoe.vocabulary import NUM_SPECIAL

SIZE = 60
WORDS = range(NUM_SPECIAL, NUM_SPECIAL + 20)
PARTICLE = SIZE - 1


def translation_of(word: int) -> int:
    return word + 25


@pytest.fixture
def corpus(tmp_path: Path) -> ParallelCorpus:
    """Word by word in the same order, with a word that comes from nothing at the end of half of the targets; a pair has
    no source, and one has no target."""
    generator = random.Random(1)
    sources = [generator.choices(WORDS, k=generator.randint(3, 7)) for _ in range(400)]
    targets = [[translation_of(word) for word in source] for source in sources]
    targets = [target + [PARTICLE] * generator.randint(0, 1) for target in targets]
    sources, targets = [*sources, [], [5]], [*targets, [30], []]
    with CorpusWriter(tmp_path / "corpus", SIZE) as writer:
        writer.write(chunk_of(sources, targets))
        writer.finish([Part("all", 1.0, len(sources))])
    return ParallelCorpus(tmp_path / "corpus")


def by_hand(pairs: list[tuple[list[int], list[int]]], num_readings: int) -> dict[tuple[int, int], float]:
    """Return p(made | given) after so many steps of EM, in the words of the module's text."""
    table: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(num_readings):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        for given, made in pairs:
            for j, one in enumerate(made if given else ()):
                near = [math.exp(-4 * abs((i + 0.5) / len(given) - (j + 0.5) / len(made))) for i in range(len(given))]
                weights = [0.92 * each / sum(near) * table[word, one] for each, word in zip(near, given, strict=True)]
                weights.append(0.08 * table[NOTHING, one])
                for word, weight in zip([*given, NOTHING], weights, strict=True):
                    counts[word, one] += weight / sum(weights)
        totals: dict[int, float] = defaultdict(float)
        for (word, _), count in counts.items():
            totals[word] += count
        table = defaultdict(float, {key: count / totals[key[0]] for key, count in counts.items()})
    return {key: probability for key, probability in table.items() if probability >= 1e-3}


def in_both_directions(table: TranslationTable) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Return {(source, target): p(target | source)} and {(target, source): p(source | target)}."""
    rows = list(zip(*(array.tolist() for array in table), strict=True))
    return {(s, t): p for s, t, p, _ in rows if p}, {(t, s): p for s, t, _, p in rows if p}


@pytest.mark.parametrize("links_at_once", [1 << 21, 50])
def test_it_is_learned_by_em_in_both_directions_whatever_the_chunks(corpus, monkeypatch, links_at_once):
    monkeypatch.setattr(module, "LINKS_AT_ONCE", links_at_once)
    pairs = [(corpus.source(i).tolist(), corpus.target(i).tolist()) for i in range(len(corpus))]
    swapped = [(target, source) for source, target in pairs]
    for found, expected in zip(
        in_both_directions(learn_translation_table(corpus)), (by_hand(pairs, 3), by_hand(swapped, 3)), strict=True
    ):
        assert found.keys() == expected.keys()
        assert all(found[key] == pytest.approx(expected[key], rel=1e-5) for key in found)


def test_a_word_is_translated_by_its_translation_and_a_particle_comes_from_nothing(corpus):
    forward, backward = in_both_directions(learn_translation_table(corpus))

    def likeliest(table: dict[tuple[int, int], float], given: int) -> int:
        of_given = {made: p for (one, made), p in table.items() if one == given}
        return max(of_given, key=lambda made: of_given[made])

    for word in WORDS:
        assert likeliest(forward, word) == translation_of(word)
        assert likeliest(backward, translation_of(word)) == word
    assert likeliest(forward, NOTHING) == PARTICLE


def test_pairs_are_in_order_and_what_is_stored_is_what_is_read(corpus, tmp_path):
    table = learn_translation_table(corpus)
    keys = table.source_P.astype(np.int64) * SIZE + table.target_P
    assert (np.diff(keys) > 0).all()
    save_translation_table(tmp_path / "table", table)
    for one, other in zip(load_translation_table(tmp_path / "table", SIZE), table, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_the_least_likely_go_where_there_would_be_too_many(corpus, monkeypatch):
    whole, _ = in_both_directions(learn_translation_table(corpus))
    monkeypatch.setattr(module, "MOST_PAIRS_OF_SUBWORDS", 60)
    cut, _ = in_both_directions(learn_translation_table(corpus))
    assert len(cut) <= 60 < len(whole)
    assert all((word, translation_of(word)) in cut for word in WORDS)


def test_of_a_large_corpus_every_nth_pair_is_read(corpus, monkeypatch):
    whole = learn_translation_table(corpus)
    monkeypatch.setattr(module, "MOST_LINKS", 3000)
    assert not np.array_equal(learn_translation_table(corpus).forward_P, whole.forward_P)


def test_a_corpus_without_links_has_an_empty_table(tmp_path):
    with CorpusWriter(tmp_path / "corpus", SIZE) as writer:
        writer.write(chunk_of([[], [5]], [[6], []]))
        writer.finish([Part("all", 1.0, 2)])
    table = learn_translation_table(ParallelCorpus(tmp_path / "corpus"))
    assert [len(array) for array in table] == [0, 0, 0, 0]


def test_what_is_missing_damaged_or_of_another_vocabulary_is_told(corpus, tmp_path):
    path = tmp_path / "table"
    with pytest.raises(UserError, match="there is no such file"):
        load_translation_table(path, SIZE)
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged"):
        load_translation_table(path, SIZE)
    save_translation_table(path, learn_translation_table(corpus))
    with pytest.raises(UserError, match="has ids from"):
        load_translation_table(path, 40)
