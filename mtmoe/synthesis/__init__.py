"""Synthesis of training text: back-translation, forward translation, and sequence-level distillation."""
