"""Augmented batches: what they say, and that nothing but (seed, epoch, pair) decides it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mtmoe.config import recipe_from_dict
from mtmoe.config.settings import SubwordSampling
from mtmoe.data.augmentation.augmenter import augmenter_of
from mtmoe.data.augmentation.draws import draws_of
from mtmoe.data.batches.token_batches import BatchStream, Position
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.vocabulary import UNK
from tests.toy import toy_settings

ALL = {"upper": 0.2, "title": 0.2, "lower": 0.2, "noise": 0.05, "no_punctuation": 0.3, "typos": 0.3, "items": 0.3,
       "merged": 0.2}  # fmt: skip


def recipe_with(folder, augmentation, **changes):
    settings = toy_settings(folder)
    settings["data"]["augmentation"] = augmentation
    return recipe_from_dict(settings | changes, folder / "toy.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    prepare(recipe_with(folder, None), folder / "data", folder / "cache")
    return folder


@pytest.fixture(scope="module")
def prepared(folder):
    return open_prepared(folder / "data")


@pytest.fixture(scope="module")
def vocabulary(prepared):
    return load_vocabulary(prepared.subwords_path)


@pytest.fixture(scope="module")
def augmenter(folder, prepared, vocabulary):
    return augmenter_of(recipe_with(folder, ALL), prepared, vocabulary)


def stream(prepared, augmenter, **changes):
    settings = {"batch_tokens": 400, "max_tokens_per_sentence": 60, "seed": 1}
    return BatchStream(prepared.train, augmenter=augmenter, **settings | changes)


def texts(batches, vocabulary):
    rows = ((batch.source_BS.tolist(), batch.target_BT.tolist()) for batch, _ in batches)
    pairs = (pair for sides in rows for pair in zip(*sides, strict=True))
    return [tuple(vocabulary.decode_batch(pair)) for pair in pairs]


def epoch(stream, number, vocabulary):
    batches = itertools.islice(stream.batches(Position(number, 0)), stream.num_batches(number))
    return sorted(texts(batches, vocabulary))


def test_an_epoch_has_every_pair_once_changed_as_drawn_and_all_others_as_they_are(prepared, vocabulary, augmenter):
    indices = np.arange(len(prepared.train))
    drawn = draws_of(indices, 2, 1, recipe_with(prepared.directory.parent, ALL).data.augmentation)
    stored = [
        (vocabulary.decode(prepared.train.source(index)), vocabulary.decode(prepared.train.target(index)))
        for index in indices
    ]
    changed = augmenter.changed(indices, 2)
    assert 0.6 * len(indices) < len(changed) <= int(drawn.any_B.sum())
    expected = list(stored)
    for row, pair in changed.items():
        assert drawn.any_B[row]
        expected[row] = (vocabulary.decode(pair.source), vocabulary.decode(pair.target))
    assert epoch(stream(prepared, augmenter), 2, vocabulary) == sorted(expected)
    assert set(stored) - set(expected)


def test_the_changes_of_a_pair_do_not_depend_on_batch_pool_or_neighbours(prepared, vocabulary, augmenter):
    whole = augmenter.changed(np.arange(200), 1)
    for indices in (np.array([150, 3, 77, 11]), np.arange(199, -1, -1)):
        found = augmenter.changed(indices, 1)
        assert {int(indices[row]): pair for row, pair in found.items()} == {
            index: whole[index] for index in indices.tolist() if index in whole
        }
    one = epoch(stream(prepared, augmenter), 1, vocabulary)
    assert one == epoch(stream(prepared, augmenter, batch_tokens=900, pairs_per_pool=100, seed=5), 1, vocabulary)
    assert one != epoch(stream(prepared, augmenter), 0, vocabulary)


def test_another_seed_changes_other_pairs(folder, prepared, vocabulary, augmenter):
    other = augmenter_of(recipe_with(folder, ALL, seed=2), prepared, vocabulary)
    assert other.changed(np.arange(50), 0) != augmenter.changed(np.arange(50), 0)
    again = augmenter_of(recipe_with(folder, ALL), prepared, vocabulary)
    assert again.changed(np.arange(50), 0) == augmenter.changed(np.arange(50), 0)


@pytest.mark.parametrize("more", [{}, {"sampled": True}])
def test_batches_keep_the_budget_and_resume_anywhere(prepared, vocabulary, augmenter, more):
    sampling = {"subword_sampling": SubwordSampling(), "subword_model": vocabulary} if more else {}
    whole = list(itertools.islice(stream(prepared, augmenter, **sampling).batches(), 40))
    for batch, _ in whole:
        assert len(batch.source_BS) * max(batch.source_BS.shape[1], batch.target_BT.shape[1] - 1) <= 400
    resumed = itertools.islice(stream(prepared, augmenter, **sampling).batches(whole[11][1]), 28)
    for (batch, position), (other, other_position) in zip(whole[12:], resumed, strict=True):
        assert position == other_position
        assert all(one.equal(two) for one, two in zip(batch, other, strict=True))


def test_subwords_are_drawn_of_the_changed_text(prepared, vocabulary, augmenter):
    sampling = {"subword_sampling": SubwordSampling(alpha=0.1), "subword_model": vocabulary}
    sampled = epoch(stream(prepared, augmenter, **sampling), 0, vocabulary)
    assert sampled == epoch(stream(prepared, augmenter), 0, vocabulary)


def test_no_pair_is_longer_than_planned_or_allowed_and_none_has_what_cannot_be_spelt(prepared, vocabulary, augmenter):
    indices = np.arange(len(prepared.train))
    planned = augmenter.planned_lengths(indices, 0)
    changed = augmenter.changed(indices, 0)
    for row, pair in changed.items():
        assert len(pair.source) <= planned.source_B[row] <= 60
        assert len(pair.target) <= planned.target_B[row] <= 60
        assert UNK not in pair.source + pair.target
    unchanged = [index for index in indices.tolist() if index not in changed]
    assert (planned.source_B >= prepared.train.source_lengths)[unchanged].all()


def test_items_are_on_both_sides_and_merged_pairs_are_of_the_corpus(folder, prepared, vocabulary):
    only = dict.fromkeys(ALL, 0.0)
    augmenter = augmenter_of(recipe_with(folder, only | {"items": 1.0}), prepared, vocabulary)
    for pair in augmenter.changed(np.arange(100), 0).values():
        source, target = vocabulary.decode(pair.source), vocabulary.decode(pair.target)
        assert set(source.split()) & set(target.split()) or "<" in source
    augmenter = augmenter_of(recipe_with(folder, only | {"merged": 1.0}), prepared, vocabulary)
    stored = {vocabulary.decode(prepared.train.source(index)) for index in range(len(prepared.train))}
    merged = augmenter.changed(np.arange(100), 0)
    for row, pair in merged.items():
        first = vocabulary.decode(prepared.train.source(row))
        assert vocabulary.decode(pair.source).removeprefix(f"{first} ") in stored
    assert len(merged) > 80


def test_augmentation_is_no_part_of_a_data_directory(folder, prepared):
    again = prepare(recipe_with(folder, ALL), folder / "data", folder / "cache")
    assert again.reused
    assert prepared.data_settings.augmentation is None
    assert prepared.data_settings_for(recipe_with(folder, ALL)).augmentation is not None
    assert "augmentation" not in (folder / "data" / "origin.json").read_text()


def test_without_the_table_there_is_no_augmenter(folder, prepared, vocabulary):
    assert augmenter_of(recipe_with(folder, None), prepared, vocabulary) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upper": 0.5, "lower": 0.6}, r"upper = 0\.5.*exclude each other in a pair, but add up to 1\.1"),
        (dict.fromkeys(ALL, 0.0), "all shares are 0"),
        ({"typos": 0.0, "typo_rate": 0.3}, r"typo_rate = 0\.3 does nothing: typos = 0"),
        ({"typos": 1.5}, "typos"),
        ({"uper": 0.5}, "upper"),
    ],
)
def test_contradictions_are_told(folder, settings, message):
    with pytest.raises(UserError, match=message):
        recipe_with(folder, settings)
