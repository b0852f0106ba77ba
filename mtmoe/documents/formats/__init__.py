"""Formats of documents, one module each; ``mtmoe/documents/registry.py`` has them all."""
