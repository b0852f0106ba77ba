"""Commands that make runs with other experts of a run: ``experts prune``, ``merge``, ``grow``."""
