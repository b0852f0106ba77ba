"""The network. It knows nothing of files, ranks or training.

Letters in tensor names: B sentences, S source positions, T target positions, N tokens that are not
padding, D width, A attention width, E experts, K experts per token, H hidden units, V vocabulary.
"""
