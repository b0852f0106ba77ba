"""Next words: the likeliest of the vocabulary or of a shortlist, or a sample."""
