"""Inference: translating, searching and scoring with trained models."""
