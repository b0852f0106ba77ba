"""Commands that look inside runs: ``report``, ``compare``, ``explain``."""
