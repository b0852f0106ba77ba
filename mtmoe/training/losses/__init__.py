"""Losses: what the output layer is trained by."""
