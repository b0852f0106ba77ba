"""Metrics of training: what is measured of a run, and the records it is told in."""
