"""Batches: sentences of similar length under a token budget, or running text."""
