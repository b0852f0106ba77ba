"""A look at parallel text before a model is trained on it, behind ``mtmoe init``: its format, languages and faults."""
