"""Beam search. Its modules use these letters for shapes, beside those that mean the same everywhere:

Letters: B sentences (sources), Q beams (one or more of each source: beam q belongs to source q // beams of a source), X
active hypotheses (rows of the decoder, sorted by beam, then by rank), C candidates of a hypothesis (EOS, the likeliest
words, words that rules propose), P proposed words, G beams or sources that have active hypotheses.
"""
