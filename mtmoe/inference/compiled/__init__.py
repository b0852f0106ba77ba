"""Compiled inference: encoder, decoder and output layer in C++, for processors."""
