"""Rules by which `mtmoe init` sizes a recipe: pure functions of the text's size, the time and the machine's speed.

Where a rule was measured, docs/benchmarks/init.md has the figures. All numbers are tokens of the target side, steps,
pairs and seconds.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Device = Literal["cpu", "cuda"]

LEAST_HELD_OUT = 10
_LARGEST_VALID, _LARGEST_TEST = 500, 2000
_VALID_SHARE, _TEST_SHARE = 0.025, 0.05

_SMALLEST_VOCABULARY, _LARGEST_VOCABULARY = 400, 16_000
_BYTES_AND_SPECIAL_SYMBOLS = 256 + 4
_LARGEST_WHOLE_ALPHABET = 1000
_PAIRS_PER_MINUTE: dict[Device, float] = {"cpu": 20_000, "cuda": 400_000}
"""About as many as a training sees; vocabularies are sized for what will be seen."""

_TOKENS_FOR_WIDE = 30_000_000
_TOKENS_FOR_NARROW = 200_000
_TOKENS_FOR_EXPERTS = 4_000_000
"""Of a training of medium width: with a million a dense network was 0.6 BLEU ahead of 16 experts, with two 2.0."""

MOST_EPOCHS = 100.0
_LEAST_STEPS = 50
_WARMUP_SHARE, _MOST_WARMUP = 1 / 12, 400
_NUM_VALIDATIONS = 8
_VALIDATION_SHARE = 0.06
"""Of the time, for validations and checkpoints."""


class Shape(NamedTuple):
    """A network: width D, LSTM layers of encoder and decoder each, E experts, K of them a token, H units of each; or a
    dense network of K x H units in place of the experts."""

    width: int
    layers: int
    num_experts: int
    experts_per_token: int
    expert_hidden: int
    learning_rate: float
    kind: Literal["mixture", "dense"] = "mixture"


NARROW = Shape(128, 2, 16, 2, 128, 3e-3)
MEDIUM = Shape(256, 2, 16, 2, 256, 2.5e-3)
MEDIUM_DENSE = MEDIUM._replace(kind="dense")
WIDE = Shape(512, 3, 32, 2, 512, 1.5e-3)


def held_out_pairs(num_pairs: int) -> tuple[int, int]:
    """Return the sizes of the dev and the test set that are held out: 2.5 % and 5 % of the pairs, within bounds.

    More of a small text would be missed in training; more of a large one would make no figure surer.
    """
    valid = min(max(round(_VALID_SHARE * num_pairs), LEAST_HELD_OUT), _LARGEST_VALID)
    return valid, min(max(round(_TEST_SHARE * num_pairs), LEAST_HELD_OUT), _LARGEST_TEST)


def character_coverage(alphabet_size: int, num_subwords: int, *, is_whole_text: bool) -> float:
    """Return `subwords.character_coverage`: the share of characters that get symbols of their own.

    All, where they are few. Rare characters of an alphabet like the Chinese would fill the vocabulary, and so might
    those of web text beyond the sample that was looked at; they are spelled as bytes.

    Args:
        alphabet_size: different characters that were seen.
        num_subwords: size of a vocabulary for as much text with a usual alphabet.
    """
    if alphabet_size > _LARGEST_WHOLE_ALPHABET:
        return 0.9995
    has_room = num_subwords >= _BYTES_AND_SPECIAL_SYMBOLS + 10 * alphabet_size
    return 1.0 if is_whole_text or has_room else 0.9999


def vocabulary_size(num_pairs: int, num_characters: int, minutes: float, device: Device) -> int:
    """Return the number of subwords: it grows with the fourth root of the text, 2,000 at 2,000 pairs.

    Each subword must be met often enough to be learned, and the time of the output layer grows with it. Pairs that the
    time does not suffice for do not count. Characters with a symbol of their own beyond an alphabet's hundred come on
    top.
    """
    seen = min(num_pairs, _PAIRS_PER_MINUTE[device] * minutes)
    size: float = 2000 * (seen / 2000) ** 0.25 + max(0, num_characters - 100)
    least = _BYTES_AND_SPECIAL_SYMBOLS + num_characters + 40
    bounded = min(max(size, _SMALLEST_VOCABULARY), _LARGEST_VOCABULARY)
    return math.ceil(max(bounded, least) / 100) * 100


def smaller_vocabulary(largest: int) -> int:
    """Return a size for text from which no more than ``largest`` subwords can be learned."""
    return max(largest * 9 // 10 // 10 * 10, 8)


def choose_shape(text_tokens: float, budget_tokens: float) -> Shape:
    """Return the network for text of so many tokens, and time for so many.

    Wide networks need much text and much time. Where there is hardly time, a narrow one sees the text more often. Each
    of 16 experts reads an eighth of the tokens, and needs many.
    """
    if min(text_tokens, budget_tokens / 2) >= _TOKENS_FOR_WIDE:
        return WIDE
    if budget_tokens < _TOKENS_FOR_NARROW:
        return NARROW
    return MEDIUM_DENSE if budget_tokens < _TOKENS_FOR_EXPERTS else MEDIUM


def dropout(epochs: float) -> float:
    """Return the share that is dropped: the more often the text is seen, the more is needed against learning by
    heart."""
    for least, share in ((30, 0.4), (6, 0.3), (2, 0.2)):
        if epochs >= least:
            return share
    return 0.0  # measured on the demo, which sees its text 1.4 times (docs/benchmarks/lab_book.md)


def batch_tokens(text_tokens: float, device: Device) -> int:
    """Return `training.batch_tokens`. Small batches learn more from as many tokens; a GPU is idle with them."""
    if device == "cuda":
        return 4096 if text_tokens < 10_000_000 else 8192
    return 500 if text_tokens < 50_000 else 1000


class Steps(NamedTuple):
    """How long to train.

    epochs: times that the text is seen. seconds: of training with its validations. limited_by: what the number of steps
    comes from, the time or the text.
    """

    max_steps: int
    warmup_steps: int
    validate_every: int
    epochs: float
    seconds: float
    limited_by: Literal["time", "text"]


def choose_steps(seconds: float, seconds_per_step: float, steps_per_epoch: float) -> Steps:
    """Return as many steps as the time holds, but no more than a hundred epochs.

    Args:
        seconds: for training, validations included.
    """
    step = seconds_per_step / (1 - _VALIDATION_SHARE)
    in_time, in_epochs = seconds / step, MOST_EPOCHS * steps_per_epoch
    max_steps = max(round(min(in_time, in_epochs)), _LEAST_STEPS)
    return Steps(
        max_steps,
        warmup_steps=max(1, min(round(_WARMUP_SHARE * max_steps), _MOST_WARMUP)),
        validate_every=max(1, math.ceil(max_steps / _NUM_VALIDATIONS)),
        epochs=max_steps / steps_per_epoch,
        seconds=max_steps * step,
        limited_by="time" if in_time <= in_epochs else "text",
    )


def longest_sentence(most_characters: int) -> int:
    """Return `data.cleaning.max_characters` for text of which 99.9 % is no longer than this."""
    return min(max(math.ceil(1.5 * most_characters / 50) * 50, 200), 2000)


def largest_length_ratio(usual: float) -> float:
    """Return `data.cleaning.max_length_ratio` for text of which 99.5 % has no larger ratio than this."""
    return min(max(math.ceil(1.5 * usual * 2) / 2, 3.0), 9.0)
