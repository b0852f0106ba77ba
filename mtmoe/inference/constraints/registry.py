"""Registry of decoding rules: the one list that a new rule is added to."""

from __future__ import annotations

from mtmoe.inference.constraints.decoding_rule import DecodingRule
from mtmoe.inference.constraints.forced_prefix import ForcedPrefix
from mtmoe.inference.constraints.minimum_length import MinimumLength
from mtmoe.inference.constraints.never_unknown import NeverUnknown
from mtmoe.inference.constraints.no_loops import NoLoops
from mtmoe.inference.constraints.no_repeat_ngram import NoRepeatNgram
from mtmoe.inference.constraints.required_text import RequiredText
from mtmoe.inference.constraints.soft_terms_rule import SoftTermsRule

DECODING_RULES: list[type[DecodingRule]] = [
    SoftTermsRule,
    ForcedPrefix,
    MinimumLength,
    NoRepeatNgram,
    NoLoops,
    RequiredText,
    NeverUnknown,
]
"""In the order in which they are asked. Once one leaves nothing but the words that it proposes, those behind it are not
asked; so what has a mixture stands first."""
