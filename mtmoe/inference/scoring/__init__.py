"""Scoring: how likely models find given text, and the ranking of what a search found."""
