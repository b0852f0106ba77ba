"""Filtering of parallel text, behind ``mtmoe filter``: pairs are measured, weighed, and the good ones kept."""
