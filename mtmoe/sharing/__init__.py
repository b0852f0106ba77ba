"""Models that travel: behind ``mtmoe package``, ``mtmoe push`` and ``mtmoe pull``."""
