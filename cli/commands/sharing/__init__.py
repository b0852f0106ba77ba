"""Commands for models that travel: ``package``, ``push``, ``pull``."""
