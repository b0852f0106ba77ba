"""Beam search. Shape letters of this package:

B sources, S source positions, T target positions, D model width, V vocabulary, W beam width; Q beams (one or more of
each source: beam q belongs to source q // beams of a source), X active hypotheses (rows of the decoder, sorted by beam,
then by rank), C candidates of a hypothesis (EOS, the likeliest words, words that rules propose), P proposed words, G
beams or sources that have active hypotheses, R numbers of a row on their way from the device.
"""
