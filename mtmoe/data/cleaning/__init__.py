"""Cleaning of sentence pairs: rules, duplicates, held-out sets, language tokens."""
