"""Benchmarks behind ``mtmoe bench``: speed and memory of training, translating and the expert layer."""
