"""Models of inference: ensembles, shallow fusion, precision."""
