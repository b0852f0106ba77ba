"""Vocabularies: SentencePiece models and words, learned, taken over and tried."""
