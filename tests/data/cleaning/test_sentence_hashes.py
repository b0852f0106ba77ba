"""Hashes of sentences, and the set that holds them."""

from __future__ import annotations

import random

from mtmoe.data.cleaning.sentence_hashes import HashSet, RecentHashes, hash64


def test_a_hash_set_behaves_like_a_set():
    random_numbers = random.Random(1)
    # Numbers that agree in their low bits collide in every table size.
    numbers = [random_numbers.randrange(1, 1 << 64) for _ in range(3000)] + [i << 40 for i in range(1, 300)]
    ours, reference = HashSet(), set()
    for number in numbers + numbers[::7]:
        assert ours.add(number) == (number not in reference)
        reference.add(number)
    assert len(ours) == len(reference)
    assert all(number in ours for number in reference)
    assert not any(number in ours for number in (random_numbers.randrange(1, 1 << 64) for _ in range(1000)))


def test_a_sentence_has_the_same_hash_on_every_machine():
    assert hash64("Straße") == 0x129AC8E86711EF3E


def test_the_latest_hashes_are_remembered_and_old_ones_forgotten():
    latest = RecentHashes(100)
    assert all(latest.add(number) for number in range(1, 1001))
    assert not any(latest.add(number) for number in range(901, 1001))
    assert all(latest.add(number) for number in range(1, 51))
