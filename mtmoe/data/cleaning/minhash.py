"""MinHash: short signatures of texts, whose agreement estimates how many n-grams two texts share (Broder 1997).

The n-grams are three characters of what is left of a text when case, punctuation and spacing do not count
(`comparison_key`), with a space at each end. Of each hash function's smallest value one byte is kept (b-bit minwise
hashing, Li and König 2010): two texts of similarity J agree in a share J + (1 - J) / 256 of the bytes, with a standard
deviation of 0.035 at J = 0.8.

Letters: G n-grams of a text, F hash functions, X texts.
"""

from __future__ import annotations

import numpy as np

from mtmoe.data.cleaning.contamination_gate import comparison_key
from mtmoe.system.splitmix64 import mix_array

NUM_HASHES = 128
_CHARACTERS = 3
_BITS = 21  # of a code point: three of them and the side fit into 64 bits
_BY_CHANCE = 1 / 256


def _random_numbers(first: int) -> np.ndarray:
    return mix_array(np.arange(first, first + NUM_HASHES, dtype=np.uint64))


_FACTORS_F = _random_numbers(1) | np.uint64(1)
_ADDENDS_F = _random_numbers(1 + NUM_HASHES)


def ngrams(text: str, side: int = 0) -> np.ndarray:
    """Return the n-grams of a text as numbers (uint64), in order; those of two sides (0, 1) differ."""
    padded = f" {comparison_key(text)} ".ljust(_CHARACTERS)
    codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    numbers = (codes[:-2] << np.uint64(2 * _BITS)) | (codes[1:-1] << np.uint64(_BITS)) | codes[2:]
    found: np.ndarray = numbers | np.uint64(side << (3 * _BITS))
    return found


def signature(ngrams_G: np.ndarray) -> np.ndarray:
    """Return the signature of a set of n-grams, uint8 [F]; one that stands there twice counts once."""
    values_GF = mix_array(ngrams_G.copy())[:, None] * _FACTORS_F + _ADDENDS_F
    # The smallest of many numbers begins with zeros; mixed, every one of its bytes tells it from others.
    return (mix_array(values_GF.min(axis=0)) >> np.uint64(56)).astype(np.uint8)


def text_signature(text: str) -> np.ndarray:
    """Return the signature of one text."""
    return signature(ngrams(text))


def pair_signature(source: str, target: str) -> np.ndarray:
    """Return the signature of a pair: similar pairs are similar on both sides."""
    return signature(np.concatenate([ngrams(source, 0), ngrams(target, 1)]))


def similarities(signature_F: np.ndarray, signatures_XF: np.ndarray) -> np.ndarray:
    """Estimate the Jaccard similarity (shared n-grams as a share of all) of one text to others, from 0 to 1."""
    agreement_X = (signatures_XF == signature_F).mean(axis=1)
    similarity_X: np.ndarray = np.clip((agreement_X - _BY_CHANCE) / (1 - _BY_CHANCE), 0.0, 1.0)
    return similarity_X
