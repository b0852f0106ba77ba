"""Evaluation: the quality of translations."""
