"""Commands that write weights of a run: ``average``, ``export``."""
