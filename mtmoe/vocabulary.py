"""The ids that every vocabulary of this project reserves. No other module writes these numbers."""

from __future__ import annotations

PAD = 0
"""Fills a batch up; never predicted, never attended to, never counted."""
UNK = 1
"""A character that the vocabulary does not know (with byte fallback it does not occur)."""
BOS = 2
"""Begins every target sentence (GNMT)."""
EOS = 3
"""Ends every source and every target sentence."""

NUM_SPECIAL = 4
