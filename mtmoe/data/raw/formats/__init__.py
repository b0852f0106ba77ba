"""Formats of training text, a module each; `registry.py` names them."""
