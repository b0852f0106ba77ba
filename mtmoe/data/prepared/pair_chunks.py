"""Pairs of a corpus to count links of, a chunk at a time: what is learned of them needs bounded time and memory.

A link is a source subword and a target subword of one pair.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtmoe.data.prepared.corpus import ParallelCorpus


def sampled_pairs(corpus: ParallelCorpus, most_links: int) -> np.ndarray:
    """Return the indices of the pairs to count: all, or every n-th where there are more links than that."""
    num_links = _num_links(corpus)
    step = max(1, -(-int(num_links.sum()) // most_links))
    pairs = np.arange(0, len(corpus), step)
    found: np.ndarray = pairs[num_links[pairs] > 0]
    return found


def chunks_of_pairs(corpus: ParallelCorpus, pairs: np.ndarray, links_at_once: int) -> Iterator[np.ndarray]:
    """Yield runs of the pairs with about so many links."""
    chunk_of_pair = _num_links(corpus)[pairs].cumsum() // links_at_once
    borders = np.flatnonzero(np.diff(chunk_of_pair)) + 1
    return (chunk for chunk in np.split(pairs, borders) if len(chunk))


def _num_links(corpus: ParallelCorpus) -> np.ndarray:
    found: np.ndarray = corpus.source_lengths.astype(np.int64) * corpus.target_lengths
    return found
