"""Source batching: from id sequences of any lengths to padded tensors, in batches of a bounded number of tokens.

Letters: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mtmoe.vocabulary import EOS, PAD


def pad_with_eos(sentences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Append EOS to each sentence and fill up with PAD.

    Args:
        sentences: at least one; subword ids without special symbols.

    Returns:
        ``source_BS`` (int64) and ``source_lengths_B`` (int64, EOS counted); or the labels of a target.
    """
    lengths = [len(sentence) + 1 for sentence in sentences]
    longest = max(lengths)
    rows = [[*sentence, EOS, *[PAD] * (longest - length)] for sentence, length in zip(sentences, lengths, strict=True)]
    return torch.tensor(rows, device=device), torch.tensor(lengths, device=device)


def batches_by_length(
    sources: Sequence[Sequence[int]], batch_tokens: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield batches of sources of similar length, longest first: indices, ``source_BS``, ``source_lengths_B``.

    Args:
        sources: subword ids without special symbols.
        batch_tokens: tokens of a batch, EOS and padding included.
    """
    for indices in group_by_length([len(source) + 1 for source in sources], batch_tokens):
        yield indices, *pad_with_eos([sources[index] for index in indices])


def runs_of_like_length(lengths: Sequence[int], fewest: int) -> Iterator[slice]:
    """Yield runs of sentences that stand side by side and can be padded together.

    A run ends where at least ``fewest`` have come and the next is shorter than three quarters of the longest so far.
    Every sentence is in exactly one.
    """
    begin = longest = 0
    for place, length in enumerate(lengths):
        if place - begin >= fewest and 4 * length < 3 * longest:
            yield slice(begin, place)
            begin, longest = place, 0
        longest = max(longest, length)
    if begin < len(lengths):
        yield slice(begin, len(lengths))


def group_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield indices of sentences of similar length, so that number x longest <= ``batch_tokens``.

    Longest first, so that what does not fit into memory fails at once. A sentence that is longer than
    ``batch_tokens`` is a group of its own. Every index occurs exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    group: list[int] = []
    for index in order:
        if group and (len(group) + 1) * lengths[group[0]] > batch_tokens:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
