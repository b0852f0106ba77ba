"""Dev and test sets held out of a corpus so that no held-out sentence has a twin in the training text."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from mtmoe.data.cleaning.contamination_gate import comparison_key
from mtmoe.data.cleaning.sentence_hashes import hash64
from mtmoe.data.raw.sentence_pairs import Pair
from mtmoe.errors import UserError
from mtmoe.system.splitmix64 import mix_array

_LARGEST_SHARE = 0.01
_LARGEST_ALWAYS_ALLOWED = 10


class Split(NamedTuple):
    """A corpus in three parts that share no sentence on either side (by `comparison_key`)."""

    train: list[Pair]
    """In the order of the corpus."""
    valid: list[Pair]
    """In random order, so that its beginning is a fair sample of it."""
    test: list[Pair]
    """In random order too."""
    report: dict[str, int]


def split_by_components(
    pairs: list[Pair], num_valid: int, num_test: int, seed: int, *, directions: Sequence[str] = ()
) -> Split:
    """Hold out so many pairs by connected components; a random line would leak.

    Two pairs are connected when their source sentences or their target sentences have the same
    `comparison_key`; with directions, when any sentence of the one, on either side, has the key of
    any of the other: what is a source in one direction is a target in another. Components are held
    out whole. From a held-out component comes one pair for each source sentence (and direction);
    its other pairs are dropped from all parts, and counted. Components of more than 1 % of the pairs
    wanted (but of 10 at any rate) stay in the training text: the set must not hang on a few sentences.

    What is held out depends on the sentences and the seed alone, not on the order of the pairs:
    a corpus that grows keeps most of its test set.

    Args:
        directions: of each pair, such as en-fr, for text of several; none for text of one.

    Raises:
        UserError: there is not enough text, or less would be left to train on than is held out.
    """
    num_wanted = num_valid + num_test
    # Text of one language has empty sources: its sentences alone connect it.
    source_keys = _keys([pair.source or pair.target for pair in pairs])
    target_keys = _keys([pair.target for pair in pairs])
    # Languages are no part of a key: "Taxi!" is the same sentence in all of them, and could leak.
    component_of = _components(source_keys, target_keys, either_way=bool(directions))
    size_of = np.bincount(component_of)
    largest = max(_LARGEST_ALWAYS_ALLOWED, int(_LARGEST_SHARE * num_wanted))
    order = _random_order(_pair_hashes(pairs, directions), source_keys, component_of, seed)
    order = order[size_of[component_of[order]] <= largest]
    sources = list(zip(source_keys.tolist(), directions or itertools.repeat(""), strict=False))
    parts = _deal_out(order, sources, component_of, (num_test, num_valid))

    touched = np.zeros(len(size_of), dtype=bool)
    for part in parts:
        touched[component_of[part]] = True
    train = np.flatnonzero(~touched[component_of])
    num_held_out = sum(map(len, parts))
    if num_held_out < num_wanted or len(train) < num_held_out:
        raise _not_enough(len(pairs), num_held_out, len(train), num_valid, num_test, largest)
    test, valid = parts
    report = {
        "pairs": len(pairs),
        "components": len(size_of),
        "largest_component": int(size_of.max(initial=0)),
        "largest_component_allowed": largest,
        "components_too_large": int((size_of > largest).sum()),
        "pairs_in_components_too_large": int(size_of[size_of > largest].sum()),
        "train": len(train),
        "valid": len(valid),
        "test": len(test),
        "dropped_twins": len(pairs) - len(train) - num_held_out,
    }
    train_pairs, valid_pairs, test_pairs = ([pairs[i] for i in part] for part in (train.tolist(), valid, test))
    return Split(train_pairs, valid_pairs, test_pairs, report)


def _not_enough(
    num_pairs: int, num_held_out: int, num_train: int, num_valid: int, num_test: int, largest: int
) -> UserError:
    problem = (
        f"not enough text to hold out {num_valid:,} dev and {num_test:,} test pairs: of {num_pairs:,} pairs, "
        f"{num_held_out:,} could be held out (groups of more than {largest} that share sentences stay in training), "
        f"which leaves {num_train:,} to train on"
    )
    return UserError(
        problem,
        fix="lower data.held_out.valid_pairs and data.held_out.test_pairs, or name dev and test files",
    )


def _keys(texts: list[str]) -> np.ndarray:
    """Return 64-bit hashes of the comparison keys, as uint64."""
    return np.fromiter((hash64(comparison_key(text)) for text in texts), dtype=np.uint64, count=len(texts))


def _pair_hashes(pairs: list[Pair], directions: Sequence[str]) -> np.ndarray:
    """Return 64-bit hashes of the pairs as they stand, with their directions, as uint64."""
    told = zip(*zip(*pairs, strict=True), directions, strict=True) if directions and pairs else pairs
    return np.fromiter((hash64("\n".join(sides)) for sides in told), dtype=np.uint64, count=len(pairs))


def _components(source_keys: np.ndarray, target_keys: np.ndarray, *, either_way: bool) -> np.ndarray:
    """Number of each pair's component, from 0; union-find over the sentences of both sides.

    ``either_way``: a sentence is the same one on both sides.
    """
    if either_way:
        sentences, sentence_of = np.unique(np.concatenate([source_keys, target_keys]), return_inverse=True)
        source_of, target_of = np.split(sentence_of, 2)
        num_sentences = len(sentences)
    else:
        sources, source_of = np.unique(source_keys, return_inverse=True)
        targets, target_of = np.unique(target_keys, return_inverse=True)
        target_of = target_of + len(sources)
        num_sentences = len(sources) + len(targets)
    parent = list(range(num_sentences))
    for a, b in zip(source_of.tolist(), target_of.tolist(), strict=True):
        root_a, root_b = _root(parent, a), _root(parent, b)
        parent[root_b] = root_a
    roots = np.array([_root(parent, a) for a in range(num_sentences)], dtype=np.int64)
    return np.unique(roots[source_of], return_inverse=True)[1]


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _random_order(pair_hashes: np.ndarray, source_keys: np.ndarray, component_of: np.ndarray, seed: int) -> np.ndarray:
    """Return pair indices: components in random order, in each the source sentences and their translations.

    Random numbers are hashes of the sentences, mixed with the seed. A component's is that of its
    smallest hash, so that a large component comes no sooner than a small one.
    """
    num_components = int(component_of.max(initial=-1)) + 1
    smallest = np.full(num_components, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, component_of, source_keys)
    of_component, of_source = _mixed(smallest, seed)[component_of], _mixed(source_keys, seed)
    return np.lexsort((_mixed(pair_hashes, seed), of_source, of_component))


def _mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Mix numbers and seed by SplitMix64: the same on every machine and with every version of numpy."""
    return mix_array(numbers ^ np.uint64(hash64(f"split {seed}")))


def _deal_out(
    order: np.ndarray, sources: Sequence[Hashable], component_of: np.ndarray, sizes: tuple[int, ...]
) -> list[list[int]]:
    """Fill parts of the given sizes from the order: one pair of equal ``sources``, no component in two parts."""
    parts: list[list[int]] = [[] for _ in sizes]
    seen_sources: set[Hashable] = set()
    part = 0
    component = -1
    for index in order.tolist():
        if component_of[index] != component:
            component = component_of[index]
            while part < len(parts) and len(parts[part]) == sizes[part]:
                part += 1
            if part == len(parts):
                break
        source = sources[index]
        if source not in seen_sources and len(parts[part]) < sizes[part]:
            seen_sources.add(source)
            parts[part].append(index)
    return parts
